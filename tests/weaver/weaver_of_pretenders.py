"""A real Weaver over pretending programs. Run as a script: every argument is NAME:MANNER[:AFTER].

With the manner NUL no process can be started on any machine. While <home>/jump exists, its wall clock is ten years ahead.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

from core.clock import SystemClock
from core.paths import Paths
from weaver.adoption import lock_home
from weaver.desired import Program
from weaver.supervisor import Supervisor
from weaver.wishes import Wishes

PRETENDER = str(Path(__file__).with_name("pretender.py"))


def program(text: str, stage: int) -> Program:
    """Describe one pretender; each later one is a stage further up."""
    name, manner, *after = text.split(":")
    argv = (PRETENDER, name, manner.replace("NUL", "\0"))
    return Program(name=name, argv=argv, stage=stage, after=tuple(after), start_s=1.0, grace_s=1.0, hung_grace_s=0.3)


class JumpingClock(SystemClock):
    """The machine's clocks; the wall clock jumps when somebody wants it to."""

    def now(self) -> datetime:
        """Give the wall-clock time, UTC."""
        return super().now() + (timedelta(days=3652) if (paths.home / "jump").exists() else timedelta())


if __name__ == "__main__":
    paths = Paths(Path(os.environ["WEAVER_HOME"]))
    lock_home(paths)
    paths.make()
    wishes = Wishes(paths, os.environ, tuple(program(text, stage) for stage, text in enumerate(sys.argv[1:])))
    supervisor = Supervisor(paths, os.environ, wishes, clock=JumpingClock())
    supervisor.install_signals()
    supervisor.run()

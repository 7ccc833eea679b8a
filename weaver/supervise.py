"""`python -m weaver supervise`: be the Weaver of a home, started by `weaver up`, by systemd, in a container or by hand.

Reads config/local/desired.json; the supervisor does the rest. Invariants: one Weaver per home, by a kernel lock on the home
itself; it carries the mark in its environment by which it is found, whoever started it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from core.keys import make_keys
from core.paths import Paths
from core.process import SPAWN_VARIABLE
from weaver.adoption import WEAVER, lock_home
from weaver.desired import is_down
from weaver.notifier import Notifier
from weaver.supervisor import Supervisor
from weaver.wishes import Wishes

STAYS_DOWN = "stopped by `weaver down`; `weaver up` or `weaver up --systemd` starts it"


def supervise(home: Path) -> int:
    """Be the Weaver until asked to stop; give the exit code. Raises LockHeld, InvalidConfig, InvalidData.

    Started by systemd after a person had stopped the factory, it leaves it stopped.
    """
    paths, notifier = Paths(home.resolve()), Notifier(os.environ)
    mark = f"{paths.home_id}:{WEAVER}"
    if os.environ.get(SPAWN_VARIABLE) != mark:
        environ = {**os.environ, SPAWN_VARIABLE: mark, "WEAVER_HOME": str(paths.home)}
        os.execve(sys.executable, [sys.executable, "-m", "weaver", "supervise"], environ)
    if notifier.is_unit and is_down(paths):
        notifier.alive(0.0, STAYS_DOWN)
        print(STAYS_DOWN, flush=True)
        return 0
    lock_home(paths)
    paths.make()
    make_keys(paths)
    supervisor = Supervisor(paths, os.environ, Wishes(paths, os.environ))
    supervisor.install_signals()
    supervisor.run()
    return 0

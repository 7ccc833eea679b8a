"""A program that only pretends: what it does with its heartbeat and with SIGTERM is its second argument. Run as a script.

`steady` beats until SIGTERM; `deaf` beats for ever and ignores SIGTERM; `frozen` beats once and never again, ignoring SIGTERM;
`parent` is frozen with a child of its own, whose pid is in <home>/child.pid; `silent` never beats; `crashes`, `misconfigured`,
`spent` end at once with 1, 78, 75.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from core.clock import boot_id
from core.paths import Paths
from core.process import this_process
from core.status import Heartbeat, State, write_heartbeat

PROMISE_S = 1.0
ENDS = {"crashes": 1, "misconfigured": 78, "spent": 75}


def beat(paths: Paths, name: str, seq: int, exit_code: int | None = None) -> None:
    """Write one heartbeat."""
    mono = time.monotonic()
    write_heartbeat(paths, Heartbeat(
        name=name, pid=os.getpid(), start_ticks=this_process().start_ticks, boot_id=boot_id(),
        state=State.RUNNING if exit_code is None else State.EXITED, seq=seq, beat_mono=mono, next_due_mono=mono + PROMISE_S,
        beat_at="", phase="", note="", last_report=None, last_error="the port is taken" if exit_code == 78 else None,
        exit_code=exit_code, version="0",
    ))  # fmt: skip


def main(name: str, manner: str) -> int:
    """Pretend."""
    paths, seq, asked = Paths(Path(os.environ["WEAVER_HOME"])), 0, []
    print(f"{name} pretends to be {manner}", flush=True)
    if manner in ENDS:
        beat(paths, name, 1, ENDS[manner])
        return ENDS[manner]
    if manner == "parent":
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as child:
            (paths.home / "child.pid").write_text(str(child.pid))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            beat(paths, name, 1)
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1) if manner == "steady" else None)
    while not asked:
        seq += 1
        if manner in ("steady", "deaf") or (manner == "frozen" and seq == 1):
            beat(paths, name, seq)
        time.sleep(0.1)
    beat(paths, name, seq + 1, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

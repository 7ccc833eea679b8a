"""A program that only pretends: what it does with its heartbeat and with SIGTERM is its second argument. Run as a script.

`steady` beats until SIGTERM; `deaf` beats for ever and ignores SIGTERM; `frozen` beats once and never again, ignoring SIGTERM;
`parent` is frozen with a child of its own in its session, whose pid is in <home>/child.pid; `mother` is the same but steady;
`starter` starts, if there is none, the steady program "two" in a session of its own, as train_next starts the trainer;
`silent` never beats; `crashes`, `misconfigured`, `spent` end at once with 1, 78, 75; `flood` is steady and prints 100,000 lines
of 100 bytes a second. After one beat `spinning` is stuck in a loop, `sleeping` in time.sleep and `reading` in a read of a pipe,
all deaf to SIGTERM but for their stacks; `stopped` stops itself (SIGSTOP) and obeys SIGTERM once it goes on.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from core.clock import boot_id
from core.paths import Paths
from core.process import STACKS_SIGNAL, spawn, spawned, this_process
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


def spin_here() -> None:
    """Be stuck in a loop."""
    while True:
        pass


def sleep_here() -> None:
    """Be stuck in C code that waits."""
    while True:
        time.sleep(1000)


def read_here() -> None:
    """Be stuck in C code that reads what never comes."""
    os.read(os.pipe()[0], 1)


def start_two(paths: Paths) -> None:
    """Start another program, which is to outlive this one."""
    if "two" not in [program for program, _ in spawned(paths.home_id)]:
        spawn([sys.executable, __file__, "two", "steady"], "two", paths.home_id, paths.logs / "two.out", os.environ, paths.home)


STUCK = {"spinning": spin_here, "sleeping": sleep_here, "reading": read_here}


def have_child(paths: Paths) -> None:
    """Start a child in this session and leave its pid in <home>/child.pid."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as child:
        (paths.home / "child.pid").write_text(str(child.pid))
        child.returncode = 0  # nobody waits for it


def main(name: str, manner: str) -> int:
    """Pretend."""
    paths, seq, asked = Paths(Path(os.environ["WEAVER_HOME"])), 0, []
    faulthandler.register(STACKS_SIGNAL)
    print(f"{name} pretends to be {manner}", flush=True)
    if manner in ENDS:
        beat(paths, name, 1, ENDS[manner])
        return ENDS[manner]
    obeys = manner in ("steady", "mother", "starter", "flood", "stopped")
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1) if obeys else None)
    if manner in ("parent", "mother"):
        have_child(paths)
    if manner == "starter":
        start_two(paths)
    if manner == "parent" or manner in STUCK:
        beat(paths, name, 1)
        STUCK.get(manner, sleep_here)()
    lines = b"x" * 99 + b"\n"
    while not asked:
        seq += 1
        if manner in ("steady", "deaf", "mother", "starter", "flood") or (manner in ("frozen", "stopped") and seq == 1):
            beat(paths, name, seq)
        if manner == "flood":
            os.write(1, lines * 10_000)
        elif manner == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.1)
    beat(paths, name, seq + 1, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

"""A disk that fills up under a real Weaver, web and a daemon. Run as a script in a home that lies on a small tmpfs of its own.

Exit 0: nobody was killed for a heartbeat that could not be written, what died was replaced, all came back when there was room.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

from core.files import read_records
from core.hosts import read_endpoint
from core.paths import Paths
from core.process import ProcessRef, is_alive, send_signal, spawned
from core.status import State, is_fresh, read_heartbeat, read_supervisor_view
from tests.fakes import wait_for
from weaver.adoption import living

PATHS = Paths(Path(os.environ["WEAVER_HOME"]))
NAMES = ("web", "reclaim_stale")
FILLER = PATHS.home / ".filler"


def start() -> subprocess.Popen[bytes]:
    """Start the Weaver."""
    return subprocess.Popen([sys.executable, "-m", "weaver", "supervise"])


def run_well() -> dict[str, ProcessRef] | None:
    """Give the processes if the Weaver says that all of them run."""
    view, found = read_supervisor_view(PATHS), living(PATHS)
    running = {one.name: one.pid for one in view.programs if one.state is State.RUNNING} if view is not None else {}
    return found if set(running) == set(NAMES) and running == {name: ref.pid for name, ref in found.items()} else None


def fill() -> None:
    """Write until not one byte more can be written."""
    with FILLER.open("ab", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def let_pass(seconds: float) -> None:
    """Let time pass in which nothing is to happen."""
    since = time.monotonic()
    wait_for("the time", lambda: time.monotonic() - since > seconds, seconds + 10.0)


def other(name: str, old: ProcessRef) -> ProcessRef | None:
    """Give the process that took the place of another one."""
    found = living(PATHS).get(name)
    return found if found != old else None


def answers(process: ProcessRef) -> bool:
    """Say whether a web process answers requests: by the port that it has, for no file can say it."""
    ports = [each.laddr.port for each in psutil.Process(process.pid).net_connections() if each.status == psutil.CONN_LISTEN]
    if not ports:
        return False
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/health", timeout=10.0) as answer:
        return bool(answer.status == 200)


def is_silent(name: str) -> bool:
    """Say whether a program has broken its promise, as far as can be read."""
    beat = read_heartbeat(PATHS, name)
    return beat is None or not is_fresh(beat, time.monotonic())


def main() -> None:
    """Fill the disk, wait, kill web and the Weaver, make room."""
    weaver = start()
    before = wait_for("the start", run_well, 120.0)
    fill()
    wait_for("silence", lambda: all(map(is_silent, (*NAMES, "weaver"))), 30.0)
    let_pass(8.0)
    assert all(map(is_alive, before.values())), "killed for a heartbeat that nobody could have written"

    os.kill(before["web"].pid, signal.SIGKILL)
    web = wait_for("another web", lambda: other("web", before["web"]), 30.0)
    wait_for("an answer of it", lambda: answers(web), 60.0)

    weaver.kill()
    weaver.wait()
    weaver = start()
    let_pass(8.0)
    assert living(PATHS) == {"web": web, "reclaim_stale": before["reclaim_stale"]}

    FILLER.unlink()
    assert wait_for("the return of all", run_well, 30.0) == living(PATHS)
    assert living(PATHS) == {"web": web, "reclaim_stale": before["reclaim_stale"]}
    endpoint = wait_for("where web answers", lambda: read_endpoint(PATHS, "web"))
    assert endpoint.pid == web.pid
    events = b"\n".join(read_records(PATHS.logs / "events" / "weaver.jsonl"))
    assert b"terminated" not in events and b"fatal" not in events, events

    weaver.send_signal(signal.SIGTERM)
    assert weaver.wait(60.0) == 0
    assert not list(spawned(PATHS.home_id))


if __name__ == "__main__":
    try:
        main()
    finally:
        while left := list(spawned(PATHS.home_id)):
            for _, ref in left:
                send_signal(ref, signal.SIGKILL)

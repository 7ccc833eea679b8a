"""What the audit says of processes (I5, I9, I10), each rule broken by processes that are really there, or really not."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.accounting.processes import compare, look, shown_dead
from core.clock import boot_id
from core.liveness import Liveness
from core.paths import Paths
from core.process import SPAWN_VARIABLE, ProcessRef, spawned, start_ticks
from core.status import DaemonStatus, State
from tests.core.home_files import beat, dead_process, healthy, make_home, supervise
from tests.core.home_files import program as wanted


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path)


# -- I5: nothing is shown alive after three missed beats -------------------------------------------------------------


def shown(paths: Paths) -> DaemonStatus:
    """Give the row of a program that runs, as people see it."""
    healthy(paths, "web")
    row = Liveness(paths, time.monotonic()).rows()[0]
    assert row.state is State.RUNNING
    return row


def test_program_that_beats_may_be_shown_running(paths: Paths) -> None:
    assert shown_dead(paths, [shown(paths)], time.monotonic()) == frozenset()
    found = look(paths, time.monotonic())
    assert (found.rows, found.shown) == (1, frozenset())


@pytest.mark.parametrize("kind", ["dead", "recycled", "another", "no beat"])
def test_program_that_is_shown_running_without_its_process_is_a_violation(paths: Paths, kind: str) -> None:
    row = shown(paths)
    if kind == "no beat":
        paths.heartbeat("web").unlink()
    elif kind == "recycled":
        beat(paths, "web", process=ProcessRef(pid=os.getpid(), start_ticks=1, boot_id=dead_process().boot_id))
    elif kind == "dead":
        beat(paths, "web", process=(gone := dead_process()))
        row = msgspec.structs.replace(row, pid=gone.pid)
    else:
        row = msgspec.structs.replace(row, pid=1)
    expected = f"web is shown RUNNING and its process {row.pid} is not there"
    assert shown_dead(paths, [row], time.monotonic()) == {expected}
    assert shown_dead(paths, [msgspec.structs.replace(row, state=State.EXITED)], time.monotonic()) == frozenset()


def test_program_that_is_shown_running_and_broke_its_promise_to_beat_is_a_violation(paths: Paths) -> None:
    row = shown(paths)
    beat(paths, "web", due_in_s=-1.0, age_s=7.0)
    assert shown_dead(paths, [row], time.monotonic()) == {"web is shown RUNNING and has missed its beats"}


def test_what_is_wrong_in_only_one_of_two_looks_is_no_violation(paths: Paths) -> None:
    wrong = dataclasses.replace(look(paths, time.monotonic()), shown=frozenset({"web is shown"}))
    assert compare(wrong, wrong)[0].texts == ["web is shown"]
    assert compare(wrong, look(paths, time.monotonic()))[0].texts == []


# -- I9, I10: nothing runs twice, no process is lost -----------------------------------------------------------------


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_program_that_runs_twice_or_that_nobody_looks_after_is_a_violation(
    paths: Paths, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    before = look(paths, time.monotonic())
    for _ in range(2):
        environment = {**os.environ, SPAWN_VARIABLE: f"{paths.home_id}:trainer"}
        sleepers.append(subprocess.Popen(["sleep", "600"], env=environment))
    deadline = time.monotonic() + 20
    while len(look(paths, time.monotonic()).lost) < 2 and time.monotonic() < deadline:
        pass  # the mark is in the environment once exec has happened
    now = look(paths, time.monotonic())
    _, double, lost = compare(now, now)
    assert [text.split(":")[0] for text in double.texts] == ["2 processes of trainer"]
    assert len(lost.texts) == 2
    assert compare(before, now)[2].texts == [], "what was just starting is no violation"


HOLDER = """
import fcntl, os, subprocess, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
child = subprocess.Popen(["sleep", "600"], env={**os.environ, "WEAVER_SPAWN": sys.argv[2]}, start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
"""


def hold(paths: Paths, folder: Path, program: str, child: str, sleepers: list[subprocess.Popen[bytes]]) -> int:
    """Start a program that holds the lock of a folder and has started another; give the other's pid. Nobody beats."""
    argv = [sys.executable, "-c", HOLDER, str(folder), f"{paths.home_id}:{child}"]
    environment = {**os.environ, SPAWN_VARIABLE: f"{paths.home_id}:{program}"}
    holder = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    sleepers.append(holder)
    assert holder.stdout is not None
    pid = int(holder.stdout.readline())
    deadline = time.monotonic() + 20
    while pid not in {ref.pid for _, ref in spawned(paths.home_id)} and time.monotonic() < deadline:
        pass  # the mark is in the environment once exec has happened
    return pid


def ref_of(pid: int) -> ProcessRef:
    ticks = start_ticks(pid)
    assert ticks is not None
    return ProcessRef(pid=pid, start_ticks=ticks, boot_id=boot_id())


def lost_of(paths: Paths, pid: int) -> list[str]:
    """Give what is said of one process in two looks."""
    found = compare(look(paths, time.monotonic()), look(paths, time.monotonic()))[2].texts
    return [text for text in found if f"process {pid} " in text]


@pytest.mark.parametrize("program", ["weaver", "trainer"])
def test_who_holds_the_lock_of_its_program_needs_no_heartbeat_and_who_lets_go_loses_its_children(
    paths: Paths, sleepers: list[subprocess.Popen[bytes]], program: str
) -> None:
    """status/ was just deleted, or nothing was ever written into it."""
    folder = paths.home if program == "weaver" else paths.models
    child = hold(paths, folder, program, "web", sleepers)
    try:
        assert lost_of(paths, sleepers[0].pid) == lost_of(paths, child) == []
        if program == "weaver":  # its view comes back before its heartbeat
            supervise(paths, [wanted("probe", State.STOPPED, dead_process().pid)], process=ref_of(sleepers[0].pid))
            assert lost_of(paths, sleepers[0].pid) == lost_of(paths, child) == []
        sleepers[0].kill()
        sleepers[0].wait()
        assert lost_of(paths, child) == [f"process {child} (web) is ours and nobody looks after it"]
    finally:
        os.kill(child, signal.SIGKILL)


def test_whom_a_living_weaver_adopted_is_not_lost_before_its_view_is_written_again(
    paths: Paths, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    hold(paths, paths.home, "weaver", "probe", sleepers)
    weaver = ref_of(sleepers[0].pid)
    child = hold(paths, paths.queue, "starter", "web", sleepers)
    sleepers[1].kill()  # as the Weaver before did
    sleepers[1].wait()
    try:
        assert lost_of(paths, child) == []
        supervise(paths, [wanted("web", pid=child)], process=weaver)
        assert lost_of(paths, child) == []
        supervise(paths, [wanted("web", State.STOPPED, dead_process().pid)], process=weaver)
        assert lost_of(paths, child) == [f"process {child} (web) is ours and nobody looks after it"]
    finally:
        os.kill(child, signal.SIGKILL)


def test_dead_child_that_a_program_has_not_reaped_is_a_violation(paths: Paths, sleepers: list[subprocess.Popen[bytes]]) -> None:
    healthy(paths, "web")  # it is this very process
    sleepers.append(subprocess.Popen(["true"]))
    deadline = time.monotonic() + 20
    while not (now := look(paths, time.monotonic())).lost and time.monotonic() < deadline:
        pass  # it is a zombie once it has ended
    assert compare(now, now)[2].texts == [f"process {sleepers[0].pid} is a zombie of {os.getpid()}"]
    sleepers[0].wait()
    assert look(paths, time.monotonic()).lost == frozenset()


def test_dead_child_of_a_process_that_is_in_no_table_is_a_violation(
    paths: Paths, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    environment = {**os.environ, SPAWN_VARIABLE: f"{paths.home_id}:builder"}
    sleepers.append(subprocess.Popen(["sh", "-c", "true & exec sleep 600"], env=environment))
    deadline = time.monotonic() + 20
    told = f"is a zombie of {sleepers[0].pid}"
    while not any(told in text for text in look(paths, time.monotonic()).lost) and time.monotonic() < deadline:
        pass
    assert any(told in text for text in look(paths, time.monotonic()).lost)

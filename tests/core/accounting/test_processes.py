"""What the audit says of processes (I5, I9, I10), each rule broken by processes that are really there, or really not."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.accounting.processes import compare, look, shown_dead
from core.liveness import Liveness
from core.paths import Paths
from core.process import SPAWN_VARIABLE, ProcessRef
from core.status import DaemonStatus, State
from tests.core.home_files import beat, dead_process, healthy, make_home


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

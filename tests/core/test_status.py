"""Heartbeats and views: a promise counts on its own boot and until its time, and what is damaged is as if it were not there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.clock import SystemClock, boot_id
from core.errors import InvalidData
from core.paths import Paths
from core.status import (
    Heartbeat,
    ProgramView,
    State,
    SupervisorView,
    is_fresh,
    read_heartbeat,
    read_supervisor_view,
    write_heartbeat,
    write_supervisor_view,
)

OTHER_BOOT = "00000000-0000-0000-0000-000000000000"


def beat(**facts: Any) -> Heartbeat:
    whole = Heartbeat(
        name="web", pid=7, start_ticks=9, boot_id=boot_id(), state=State.RUNNING, seq=1, beat_mono=100.0, next_due_mono=106.0,
        beat_at="2026-11-20T21:30:05.007Z", phase="wait", note="", last_report=None, last_error=None, exit_code=None,
        version="0.1.0",
    )  # fmt: skip
    return msgspec.structs.replace(whole, **facts)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


@pytest.mark.parametrize(("mono", "fresh"), [(0.0, True), (100.0, True), (106.0, True), (106.001, False), (1e9, False)])
def test_promise_holds_until_its_time(mono: float, fresh: bool) -> None:
    assert is_fresh(beat(), mono) is fresh
    assert is_fresh(beat(boot_id="b"), mono, "b") is fresh


def test_promise_of_another_boot_is_none_whatever_its_clock_said() -> None:
    old = beat(boot_id=OTHER_BOOT, next_due_mono=1e12)
    assert not is_fresh(old, SystemClock().mono()) and not is_fresh(old, 0.0)
    assert not is_fresh(beat(), 100.0, OTHER_BOOT)


@pytest.mark.parametrize("exit_code", [0, 75, 78, -9])
def test_last_beat_promises_nothing_more_also_with_exit_code_0(exit_code: int) -> None:
    assert not is_fresh(beat(exit_code=exit_code), 100.0)


def test_heartbeat_is_read_back_also_after_status_was_deleted(paths: Paths) -> None:
    assert read_heartbeat(paths, "web") is None
    for seq in (1, 2):
        write_heartbeat(paths, beat(seq=seq, exit_code=0 if seq == 2 else None))
        found = read_heartbeat(paths, "web")
        assert found == beat(seq=seq, exit_code=0 if seq == 2 else None)
        shutil.rmtree(paths.status)
    assert read_heartbeat(paths, "web") is None


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"schema": "weaver.heartbeat/2"}', b'{"schema": "weaver.heartbeat/1"}'])
def test_damaged_view_is_none_until_its_owner_writes_it_again(paths: Paths, text: bytes) -> None:
    paths.procs.mkdir(parents=True)
    paths.heartbeat("web").write_bytes(text)
    paths.supervisor.write_bytes(text)
    assert read_heartbeat(paths, "web") is None and read_supervisor_view(paths) is None
    write_heartbeat(paths, beat())
    assert read_heartbeat(paths, "web") == beat()


def test_note_that_quotes_a_name_that_is_not_utf8_stops_no_heartbeat(paths: Paths) -> None:
    write_heartbeat(paths, beat(note="took \udcff.jsonl", last_error="lost \udcfe"))
    found = read_heartbeat(paths, "web")
    assert found == beat(note="took \\udcff.jsonl", last_error="lost \\udcfe")


@pytest.mark.parametrize("mono", [float("nan"), float("inf")])
def test_promise_without_an_end_is_not_written(paths: Paths, mono: float) -> None:
    with pytest.raises(InvalidData, match="next_due_mono"):
        write_heartbeat(paths, beat(next_due_mono=mono))
    assert read_heartbeat(paths, "web") is None


@pytest.mark.parametrize("state", list(State))
def test_view_of_the_weaver_keeps_every_state(paths: Paths, state: State) -> None:
    program = ProgramView(name="web", state=state, pid=None, started_mono=None, restarts=3, last_exit=-9, reason="killed")
    view = SupervisorView(
        pid=1, start_ticks=2, boot_id=boot_id(), started_mono=3.5, started_at="2026-11-20T21:30:05.007Z", stopping=False,
        programs=[program],
    )  # fmt: skip
    write_supervisor_view(paths, view)
    assert read_supervisor_view(paths) == view
    assert state.value.encode() in paths.supervisor.read_bytes()

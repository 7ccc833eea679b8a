"""The heartbeat of a process: what it promises, what it puts back, what it keeps bounded."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from core.hosts import Endpoint, read_endpoint
from core.log import OUT_BYTES, OUT_KEPT_BYTES
from core.paths import Paths
from core.pulse import PROMISE_S, Pulse
from core.status import State, read_heartbeat
from tests.fakes import HandClock


@pytest.fixture
def pulse(paths: Paths) -> Pulse:
    return Pulse(paths, HandClock(), "web", logging.getLogger("test.pulse"))


def test_beat_says_who_what_and_until_when(paths: Paths, pulse: Pulse) -> None:
    pulse.beat(State.RUNNING, "serve", "a note")
    pulse.beat(State.EXITED, "end", "bye", error="it broke", exit_code=1)
    beat = read_heartbeat(paths, "web")
    assert beat is not None
    assert (beat.pid, beat.seq, beat.state, beat.note) == (os.getpid(), 2, State.EXITED, "bye")
    assert (beat.last_error, beat.exit_code) == ("it broke", 1)
    assert beat.next_due_mono - beat.beat_mono == PROMISE_S and beat.beat_mono == pulse.beaten_mono


def test_endpoint_that_was_deleted_is_there_again_with_the_next_beat(paths: Paths, pulse: Pulse) -> None:
    endpoint = Endpoint(service="web", host="local", address="127.0.0.1", port=8777, pid=os.getpid())
    pulse.serve_at(endpoint)
    paths.endpoint("web").unlink()
    pulse.beat(State.RUNNING, "serve", "")
    assert read_endpoint(paths, "web") == endpoint


def test_endpoint_that_cannot_be_written_comes_with_a_later_beat(
    paths: Paths, pulse: Pulse, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = Endpoint(service="web", host="local", address="127.0.0.1", port=8777, pid=os.getpid())
    folder = paths.endpoint("web").parent
    if folder.exists():
        folder.rmdir()
    folder.write_text("in the way")
    pulse.serve_at(endpoint)
    assert "where web answers could not be written" in caplog.text
    folder.unlink()
    pulse.beat(State.RUNNING, "serve", "")
    assert read_endpoint(paths, "web") == endpoint


def test_beat_that_cannot_be_written_is_logged_and_stops_nothing(
    paths: Paths, pulse: Pulse, caplog: pytest.LogCaptureFixture
) -> None:
    (paths.heartbeat("web") / "in the way").mkdir(parents=True)
    pulse.beat(State.RUNNING, "serve", "")
    assert "no heartbeat could be written" in caplog.text


def test_what_the_process_printed_is_cut_to_its_end_without_a_weaver(paths: Paths, pulse: Pulse) -> None:
    out = paths.logs / "web.out"
    fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.truncate(out, OUT_BYTES + 1)
    os.write(fd, b"\nthe last words\n")
    pulse.beat(State.RUNNING, "serve", "")
    os.write(fd, b"and more\n")
    os.close(fd)
    lines = out.read_text().splitlines()
    assert out.stat().st_size < 2 * OUT_KEPT_BYTES and lines[-2:] == ["the last words", "and more"]
    assert read_heartbeat(paths, "web") is not None


def test_what_a_link_points_to_is_not_cut(paths: Paths, pulse: Pulse, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.touch()
    os.truncate(precious, OUT_BYTES + 1)
    (paths.logs / "web.out").symlink_to(precious)
    pulse.beat(State.RUNNING, "serve", "")
    assert precious.stat().st_size == OUT_BYTES + 1

"""What a new Weaver still knows of the programs when the one before it was killed."""

from __future__ import annotations

import logging
from dataclasses import replace

import msgspec
import pytest

from core.files import replace_durable
from core.paths import Paths
from core.records import encode_pretty, read
from core.status import State
from weaver.memory import Memory, SupervisionRecord
from weaver.observed import Track

LOG = logging.getLogger("test")
PAST = Track("p", deaths=3, short_lives=2, starts=4, last_exit=1)


def again(paths: Paths, track: Track, mark: str = "m", mark_now: str = "m") -> Track:
    """Give the track as the next Weaver has it."""
    Memory(paths, LOG).keep({"p": track}, mark, 0.0)
    return Memory(paths, LOG).recall(mark_now)["p"]


@pytest.mark.parametrize("state", [State.FATAL, State.PARKED, State.BACKOFF])
def test_what_is_down_stays_down_with_its_reason_and_its_past(paths: Paths, state: State) -> None:
    track = replace(PAST, state=state, reason="why", retry=77.5)
    assert again(paths, track) == track


@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.STOPPING, State.STOPPED])
def test_what_ran_is_not_said_to_run_but_keeps_its_past(paths: Paths, state: State) -> None:
    assert again(paths, replace(PAST, state=state, reason="", started=5.0, running_since=6.0)) == PAST


@pytest.mark.parametrize(
    ("state", "freed"), [(State.FATAL, Track("p", starts=4, last_exit=1)), (State.PARKED, Track("p", starts=4, last_exit=1))]
)
def test_change_of_configuration_while_no_weaver_lived_frees_what_was_given_up(
    paths: Paths, state: State, freed: Track
) -> None:
    assert again(paths, replace(PAST, state=state, reason="why"), mark_now="other") == freed


def test_after_a_reboot_the_wait_is_over_and_what_was_given_up_stays(paths: Paths) -> None:
    for state in (State.BACKOFF, State.FATAL, State.PARKED):
        Memory(paths, LOG).keep({"p": replace(PAST, state=state, reason="why", retry=1e9)}, "m", 0.0)
        record = read(SupervisionRecord, paths.supervision)
        replace_durable(paths.supervision, encode_pretty(msgspec.structs.replace(record, boot_id="another")))
        assert Memory(paths, LOG).recall("m")["p"] == replace(PAST, state=state, reason="why", retry=0.0)


def test_it_is_written_when_something_changed_and_never_else(paths: Paths) -> None:
    memory = Memory(paths, LOG)
    memory.keep({"p": PAST}, "m", 0.0)
    inode = paths.supervision.stat().st_ino
    memory.keep({"p": replace(PAST, watched=9.0, next_due=8.0)}, "m", 1.0)
    assert paths.supervision.stat().st_ino == inode
    memory.keep({"p": replace(PAST, deaths=4)}, "m", 2.0)
    assert read(SupervisionRecord, paths.supervision).programs[0].deaths == 4


def test_damaged_file_is_said_aloud_and_everything_begins_anew(paths: Paths, caplog: pytest.LogCaptureFixture) -> None:
    paths.supervision.write_bytes(b"{nonsense")
    assert Memory(paths, LOG).recall("m") == {}
    assert "supervision.json" in caplog.text


def test_disk_that_takes_nothing_is_said_and_tried_again_later(paths: Paths, caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory(paths, LOG)
    paths.supervision.mkdir()
    for now in (0.0, 1.0, 9.0):
        memory.keep({"p": PAST}, "m", now)
    assert caplog.text.count("could not be written down") == 1
    paths.supervision.rmdir()
    memory.keep({"p": PAST}, "m", 10.0)
    assert Memory(paths, LOG).recall("m") == {"p": PAST}


def test_programs_that_were_never_started_and_a_forgotten_past_leave_nothing(paths: Paths) -> None:
    memory = Memory(paths, LOG)
    memory.keep({"p": PAST, "q": Track("q", reason="waits for p")}, "m", 0.0)
    assert set(Memory(paths, LOG).recall("m")) == {"p"}
    memory.forget()
    memory.forget()
    assert Memory(paths, LOG).recall("m") == {}

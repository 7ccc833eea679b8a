"""Histories of events, folded into tracks."""

from __future__ import annotations

import pytest

from core.process import ProcessRef
from core.status import Heartbeat, ProgramView, State
from weaver import observed as fold
from weaver.backoff import CRASH_LOOP, HEALTHY_S, SHORT_LIFE_S
from weaver.observed import Track

ONE = ProcessRef(pid=11, start_ticks=1, boot_id="b")
TWO = ProcessRef(pid=12, start_ticks=2, boot_id="b")


def beat(ref: ProcessRef, mono: float, state: str = State.RUNNING) -> Heartbeat:
    return Heartbeat(
        name="p", pid=ref.pid, start_ticks=ref.start_ticks, boot_id=ref.boot_id, state=state, seq=1, beat_mono=mono,
        next_due_mono=mono + 6, beat_at="", phase="", note="", last_report=None, last_error=None, exit_code=None, version="0",
    )  # fmt: skip


def lives(*lengths_and_codes: tuple[float, int | None]) -> tuple[Track, float]:
    """Play lives of so many seconds with so many exit codes, each started when its back-off ends."""
    track, now = Track("p"), 1000.0
    for length, code in lengths_and_codes:
        now = max(now, track.retry)
        track = fold.beaten(fold.started(track, now, ONE), now, beat(ONE, now))
        now += length
        track = fold.beaten(track, now, beat(ONE, now))
        track = fold.exited(track, now, code, is_wanted=True, chance=0.0)
    return track, now


def test_first_beat_makes_a_started_program_run() -> None:
    track = fold.started(Track("p"), 0.0, ONE)
    assert track.state is State.STARTING
    assert fold.beaten(track, 1.0, beat(ONE, 1.0)).state is State.RUNNING


@pytest.mark.parametrize(
    ("news", "why"),
    [
        (beat(TWO, 1.0), "of another process"),
        (beat(ONE, 1.0, State.STARTING), "of a program that is still loading"),
        (beat(ONE, -100.0), "of long ago"),
    ],
)
def test_beat_does_not_make_it_run(news: Heartbeat, why: str) -> None:
    track = fold.beaten(fold.started(Track("p"), 0.0, ONE), 1.0, news)
    assert track.state is State.STARTING, why


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        (78, State.PARKED, "misconfigured"),
        (75, State.BACKOFF, "exit code 75"),
        (1, State.BACKOFF, "exit code 1"),
        (0, State.BACKOFF, "exit code 0"),
        (-9, State.BACKOFF, "killed by signal 9"),
        (None, State.BACKOFF, "unknown"),
    ],
)
def test_exit_code_decides_the_state(code: int | None, state: State, reason: str) -> None:
    track, now = lives((100.0, code))
    assert (track.state, track.last_exit, track.process) == (state, code, None)
    assert reason in track.reason
    assert track.retry in (0.0, now), "the first restart is at once"


def test_deaths_in_a_row_wait_longer_and_ten_healthy_minutes_forgive() -> None:
    track, now = lives(*[(SHORT_LIFE_S + 1, 1)] * 4)
    assert track.retry - now == 4.0
    track, now = lives(*[(SHORT_LIFE_S + 1, 1)] * 4, (HEALTHY_S + 1, 1))
    assert track.retry - now == 0.0


def test_crash_loop_becomes_fatal_and_slow_deaths_do_not() -> None:
    assert lives(*[(1.0, 1)] * (CRASH_LOOP - 1))[0].state is State.BACKOFF
    track, _ = lives(*[(1.0, 1)] * CRASH_LOOP)
    assert track.state is State.FATAL and "crash loop" in track.reason
    assert lives(*[(SHORT_LIFE_S + 1, -9)] * 30)[0].state is State.BACKOFF, "killed now and then is no crash loop"
    assert lives(*[(1.0, 75)] * 30)[0].state is State.BACKOFF, "a spent budget only waits"


def test_running_program_killed_from_outside_time_and_again_comes_back_and_one_killed_while_it_starts_does_not() -> None:
    assert lives(*[(1.0, -9)] * 30)[0].state is State.BACKOFF
    assert lives(*[(1.0, 1)] * (CRASH_LOOP - 1), (1.0, -9), (1.0, 1))[0].state is State.FATAL, "it forgives no crash"
    track = Track("p")
    for _ in range(CRASH_LOOP):
        track = fold.exited(fold.started(track, 0.0, ONE), 1.0, -9, is_wanted=True, chance=0.0)
    assert track.state is State.FATAL, "the kernel may kill what takes all memory while it loads"


@pytest.mark.parametrize("code", [0, -15])
def test_program_that_others_ask_to_stop_time_and_again_comes_back_also_while_it_starts(code: int) -> None:
    assert lives(*[(1.0, code)] * 30)[0].state is State.BACKOFF
    assert lives(*[(1.0, 1)] * (CRASH_LOOP - 1), (1.0, code), (1.0, 1))[0].state is State.FATAL, "it forgives no crash"
    track = Track("p")
    for _ in range(2 * CRASH_LOOP):
        track = fold.exited(fold.started(track, 0.0, ONE), 1.0, code, is_wanted=True, chance=0.0)
    assert track.state is State.BACKOFF, "a storm of SIGTERM also meets what has not said yet that it runs"


def test_program_that_hangs_again_and_again_and_ends_when_the_weaver_asks_is_a_crash_loop() -> None:
    track = Track("p")
    for _ in range(CRASH_LOOP):
        track = fold.signalled(fold.started(track, 0.0, ONE), 1.0, 5.0, "hung: no heartbeat when it was due")
        track = fold.exited(track, 2.0, 0, is_wanted=True, chance=0.0)
    assert track.state is State.FATAL


def test_death_that_the_machine_has_to_answer_for_only_waits_and_there_is_room_again_for_what_waits() -> None:
    for code in (1, 78, None):
        track = Track("p")
        for _ in range(2 * CRASH_LOOP):
            track = fold.exited(fold.started(track, 0.0, ONE), 1.0, code, True, 0.0, excuse="nothing can be written")
        assert track.state is State.BACKOFF and track.reason.startswith("nothing can be written") and track.retry > 100.0
        assert "unknown" not in track.reason
        again = fold.hurried(track, 50.0)
        assert (again.state, again.retry, again.deaths) == (State.BACKOFF, 50.0, 0)
    given_up, _ = lives(*[(1.0, 1)] * CRASH_LOOP)
    assert fold.hurried(given_up, 50.0) == given_up, "what was given up with room on the disk stays so"


def test_death_after_a_hang_counts_and_keeps_its_reason() -> None:
    track = fold.signalled(fold.started(Track("p"), 0.0, ONE), 60.0, 5.0, "hung: no heartbeat when it was due")
    track = fold.exited(track, 61.0, 0, is_wanted=True, chance=0.0)
    assert (track.state, track.deaths) == (State.BACKOFF, 1)
    assert track.reason.startswith("hung")


def test_last_words_are_kept_with_the_reason() -> None:
    track = fold.exited(fold.started(Track("p"), 0.0, ONE), 1.0, 1, True, 0.0, words="ValueError: no")
    assert track.reason == "exit code 1: ValueError: no"


def test_restart_that_was_asked_for_forgives_and_is_no_death() -> None:
    track, now = lives(*[(1.0, 1)] * 5)
    track = fold.asked_to_restart(fold.started(track, now, TWO))
    track = fold.exited(track, now + 1, 0, is_wanted=True, chance=0.0)
    assert (track.state, track.deaths, track.short_lives, track.restart_asked) == (State.STOPPED, 0, 0, False)


@pytest.mark.parametrize(
    ("state", "after"), [(State.PARKED, State.STOPPED), (State.FATAL, State.STOPPED), (State.BACKOFF, State.BACKOFF)]
)
def test_change_of_configuration_frees_what_was_given_up(state: State, after: State) -> None:
    assert fold.forgiven(Track("p", state=state, deaths=9)).state is after


def test_order_to_restart_frees_any_state() -> None:
    for state in (State.PARKED, State.FATAL, State.BACKOFF, State.STOPPED):
        assert fold.asked_to_restart(Track("p", state=state)).state is State.STOPPED


def test_exit_of_an_unwanted_program_is_just_the_end() -> None:
    track = fold.exited(fold.started(Track("p"), 0.0, ONE), 1.0, -15, is_wanted=False, chance=0.0)
    assert (track.state, track.deaths, track.reason) == (State.STOPPED, 0, "")


def test_restarts_are_counted_and_an_adopted_process_was_not_started_again() -> None:
    track, now = lives((40.0, 1), (40.0, 1), (40.0, 1))
    assert track.restarts == 2
    assert fold.started(track, now, ONE).restarts == 3
    assert fold.adopted(track, now, ONE, 5.0).restarts == 2
    assert fold.adopted(Track("p"), now, ONE, 5.0).restarts == 0


def test_adopted_process_shows_its_own_age() -> None:
    view = fold.adopted(Track("p"), 100.0, ONE, 30.0).view()
    assert view == ProgramView(name="p", state=State.STARTING, pid=11, started_mono=70.0, restarts=0, last_exit=None, reason="")

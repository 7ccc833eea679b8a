"""The daemon loop with a clock that the test moves: beats, deadlines, errors, hints, reload, the last beat."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise

import pytest

from core.errors import DiskLow, InvalidConfig, LockHeld, PortInUse, Unavailable
from core.paths import Paths
from core.status import Heartbeat, State, read_heartbeat
from daemons.harness.base import lock
from daemons.harness.context import Context, Report
from daemons.harness.loop import EXIT_BUDGET_SPENT, EXIT_MISCONFIGURED, Loop, run_once
from daemons.harness.wake import Wake
from tests.fakes import HandClock


class FakeWake(Wake):
    """A wake whose sleep moves the test's clock, and which stops the daemon at a set time."""

    def __init__(self, clock: HandClock, stop_after_s: float) -> None:
        super().__init__()
        self.clock, self.stop_after_s = clock, stop_after_s
        self.longest_s = 2.0
        self.during: Callable[[], None] = lambda: None

    def wait(self, timeout_s: float) -> None:
        """Sleep on the test's clock."""
        assert timeout_s <= 2.0, "a beat is due every 2 s"
        self.clock.passed_s += min(max(timeout_s, 0.001), self.longest_s)
        self.during()
        if self.clock.passed_s >= self.stop_after_s:
            self.stop()


class Scripted:
    """A daemon whose tick does what the test says."""

    name = "scripted"
    every = "10s"
    patience_s = 30.0
    wakes_on: Sequence[str] = ()
    nice = 0

    def __init__(self, tick: Callable[[Context], Report]) -> None:
        self._tick = tick
        self.ticks: list[float] = []

    def tick(self, ctx: Context) -> Report:
        """Do what the test says."""
        self.ticks.append(ctx.clock.mono() - 1000.0)
        return self._tick(ctx)


def play(
    paths: Paths, tick: Callable[[Context], Report], seconds: float, every: str = "10s"
) -> tuple[Scripted, FakeWake, Callable[[], int]]:
    """Make a loop that is asked to stop after so many seconds of the test's clock; give the daemon, its wake, and run()."""
    clock = HandClock()
    wake = FakeWake(clock, seconds)
    daemon = Scripted(tick)
    daemon.every = every
    loop = Loop(daemon, paths, {}, clock, wake)
    return daemon, wake, loop.run


def beat_of(paths: Paths) -> Heartbeat:
    beat = read_heartbeat(paths, "scripted")
    assert beat is not None
    return beat


def raiser(error: Exception) -> Callable[[Context], Report]:
    def tick(ctx: Context) -> Report:
        raise error

    return tick


def test_quiet_daemon_ticks_by_its_rhythm_and_ends_with_exit_code_0(paths: Paths) -> None:
    daemon, _, run = play(paths, lambda ctx: Report(did=2, note="fine", facts={"a": 1}), 25)
    assert run() == 0
    assert daemon.ticks == pytest.approx([0, 10, 20], abs=0.1)
    beat = beat_of(paths)
    assert (beat.state, beat.exit_code, beat.note) == (State.EXITED, 0, "fine")
    assert beat.last_report is not None and (beat.last_report.did, beat.last_report.facts) == (2, {"a": 1})


def test_clock_that_jumps_ten_years_changes_no_rhythm_and_no_promise(paths: Paths) -> None:
    daemon, wake, run = play(paths, lambda ctx: Report(), 45.0)
    promised = list[float]()

    def during() -> None:
        wake.clock.jumped = timedelta(days=3652) if int(wake.clock.passed_s) // 10 % 2 else timedelta(days=-3652)
        beat = beat_of(paths)
        promised.append(beat.next_due_mono - beat.beat_mono)

    wake.during = during
    assert run() == 0
    assert daemon.ticks == pytest.approx([0.0, 10.0, 20.0, 30.0, 40.0])
    assert set(promised) == {6.0}
    assert beat_of(paths).beat_at[:4] in ("2016", "2036")


def test_waiting_daemon_promises_six_seconds_and_beats_every_two(paths: Paths) -> None:
    beats: list[Heartbeat] = []
    _, wake, run = play(paths, lambda ctx: Report(), 9)
    wake.during = lambda: beats.append(beat_of(paths))
    run()
    waiting = [beat for beat in beats if beat.phase == "wait"]
    assert all(beat.next_due_mono - beat.beat_mono == 6.0 for beat in waiting)
    times = sorted({beat.beat_mono for beat in waiting})
    assert [after - before for before, after in pairwise(times)] == pytest.approx([2.0] * 4)


def test_tick_promises_its_patience_and_a_beat_inside_moves_the_deadline(paths: Paths) -> None:
    seen: list[Heartbeat] = []

    def tick(ctx: Context) -> Report:
        seen.append(beat_of(paths))
        assert isinstance(ctx.clock, HandClock)
        ctx.clock.passed_s += 20
        ctx.beat("half of it")
        seen.append(beat_of(paths))
        return Report()

    play(paths, tick, 5, every="1h")[2]()
    assert [beat.phase for beat in seen] == ["tick", "tick"]
    assert [beat.next_due_mono - 1000.0 for beat in seen] == [30.0, 50.0]
    assert seen[1].note == "half of it"


def test_deleted_heartbeat_is_back_within_ten_seconds(paths: Paths) -> None:
    gone_at: list[float] = []
    back_at: list[float] = []
    _, wake, run = play(paths, lambda ctx: Report(), 30, every="1h")

    def during() -> None:
        if wake.clock.passed_s >= 5 and not gone_at:
            paths.heartbeat("scripted").unlink()
            paths.procs.rmdir()
            gone_at.append(wake.clock.passed_s)
        elif gone_at and not back_at and paths.heartbeat("scripted").exists():
            back_at.append(wake.clock.passed_s)

    wake.during = during
    run()
    assert back_at and back_at[0] - gone_at[0] <= 10


def test_failing_tick_is_tried_again_with_growing_waits_then_ends_with_75(paths: Paths) -> None:
    daemon, _, run = play(paths, raiser(ValueError("no such luck")), 1000, every="1h")
    assert run() == EXIT_BUDGET_SPENT
    assert daemon.ticks == pytest.approx([0, 1, 3, 7, 15], abs=0.1)
    beat = beat_of(paths)
    assert beat.exit_code == EXIT_BUDGET_SPENT and "no such luck" in str(beat.last_error)
    assert "no such luck" in (paths.logs / "scripted.jsonl").read_text()


def test_one_good_tick_between_failures_keeps_the_daemon_alive(paths: Paths) -> None:
    turns = iter([True, True, True, True, False] * 3)

    def tick(ctx: Context) -> Report:
        if next(turns, False):
            raise ValueError("again")
        return Report(note="fine")

    assert play(paths, tick, 120)[2]() == 0
    assert beat_of(paths).last_error is None


@pytest.mark.parametrize(
    "error",
    [
        Unavailable(service="oracle", url="http://127.0.0.1:1", detail="refused"),
        DiskLow(free=1, path="/", floor=2),
    ],
)
def test_waiting_for_others_spends_no_budget_and_says_so(paths: Paths, error: Exception) -> None:
    daemon, wake, run = play(paths, raiser(error), 100, every="1h")
    notes: list[str] = []
    wake.during = lambda: notes.append(beat_of(paths).note)
    assert run() == 0
    assert len(daemon.ticks) >= 15, "it is tried again every few seconds"
    assert str(error) in notes
    assert (paths.logs / "scripted.jsonl").read_text().count(str(error)[:20]) == 1, "logged once, not every time"


@pytest.mark.parametrize(
    "error",
    [
        InvalidConfig(path="weaver.yaml", detail="no such model"),
        PortInUse(port=1, service="web", holder="pid 1", variable="WEAVER_WEB_PORT"),
    ],
)
def test_misconfigured_daemon_ends_with_78_at_once(paths: Paths, error: Exception) -> None:
    daemon, _, run = play(paths, raiser(error), 100)
    assert run() == EXIT_MISCONFIGURED
    assert len(daemon.ticks) == 1
    assert beat_of(paths).exit_code == EXIT_MISCONFIGURED


@pytest.mark.parametrize("facts", [{"loss": float("nan")}, {"when": object()}])
def test_report_that_is_not_json_is_a_failed_tick(paths: Paths, facts: dict[str, object]) -> None:
    assert play(paths, lambda ctx: Report(facts=facts), 1000)[2]() == EXIT_BUDGET_SPENT


def test_report_that_asks_for_more_is_ticked_at_once_and_wishes_come_earlier(paths: Paths) -> None:
    reports = iter([Report(again=True), Report(again=True), Report(next_s=3.0)])
    daemon, _, run = play(paths, lambda ctx: next(reports, Report()), 8)
    run()
    assert daemon.ticks == pytest.approx([0, 0, 0, 3], abs=0.1)


def test_hint_starts_a_tick_before_its_time_but_not_while_a_failure_waits(paths: Paths) -> None:
    fails = [True]

    def tick(ctx: Context) -> Report:
        if fails.pop() if fails else False:
            raise ValueError("once")
        return Report()

    daemon, wake, run = play(paths, tick, 2, every="1h")
    wake.during, wake.longest_s = wake.hint, 0.25  # a hint every quarter of a second, each of which ends the sleep
    run()
    assert daemon.ticks == pytest.approx([0, 1, 1.25, 1.5, 1.75], abs=0.13), "the retry waits its second, hints or not"


def test_new_configuration_comes_into_force_and_a_bad_one_does_not(paths: Paths) -> None:
    seen: list[int] = []
    notes: list[str] = []
    daemon, wake, run = play(paths, lambda ctx: seen.append(ctx.config.weaver.queue.retries) or Report(note="ok"), 40)  # type: ignore[func-returns-value]
    file = paths.config / "weaver.yaml"
    texts = {5: "queue: {retries: 7}\n", 15: "queue: {retrys: 9}\n", 25: "queue: {retries: 8}\n"}

    def during() -> None:
        notes.append(beat_of(paths).note)
        for at in [at for at in texts if wake.clock.passed_s >= at]:
            file.write_text(texts.pop(at))

    wake.during = during
    assert run() == 0
    assert list(dict.fromkeys(seen)) == [3, 7, 8]
    assert any("did you mean 'retries'" in note and note.startswith("ok; ") for note in notes)
    assert "retrys" not in notes[-1], "once it is mended, nothing is left of it"
    assert (paths.logs / "scripted.jsonl").read_text().count("retrys") == 1, "said once in the log"
    assert any(5 <= at < 9.9 for at in daemon.ticks), "a change is acted on before the rhythm says so"


def test_second_process_of_a_daemon_is_refused(paths: Paths) -> None:
    held = lock(paths, "scripted")
    with pytest.raises(LockHeld, match="daemon scripted"):
        lock(paths, "scripted")
    assert held > 2


def test_once_prints_its_report_and_leaves_no_heartbeat(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    daemon = Scripted(lambda ctx: Report(did=1, note="done", facts={"host": ctx.host}))
    assert run_once(daemon, paths, {}) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "weaver.report/1"
    assert (report["did"], report["note"], report["facts"]) == (1, "done", {"host": "local"})
    assert read_heartbeat(paths, "scripted") is None

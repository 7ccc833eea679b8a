"""Whole histories: plan() and the folds in a loop over scripted events, without a process or a clock of the machine.

Each row is what happens to one program, second by second, and every state that people would have seen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.liveness import Liveness
from core.paths import Paths
from core.process import ProcessRef, this_process
from core.status import Heartbeat, State
from tests.core.home_files import beat as write_beat
from weaver import observed as fold
from weaver.backoff import CRASH_LOOP, LONGEST_S
from weaver.desired import Desired, Program
from weaver.observed import Observed, Track
from weaver.plan import Kill, Park, Rest, Start, Terminate, next_look, plan

PROGRAM = Program(name="p", argv=("p",), grace_s=15.0, hung_grace_s=5.0, start_s=60.0)
PROMISE_S = 6.0
STEP_S = 0.5


class World:
    """One program under plan(): `manner` is what each of its processes does, the last one for all that follow.

    "well": beats for ever, obeys SIGTERM; "deaf": beats, does not obey; "mute": never beats; "freezes": beats once, then
    neither beats nor obeys; "exit N after S": beats, and ends by itself.
    """

    def __init__(self, manners: Sequence[str], base: str = "ready") -> None:
        self.now, self.manners, self.base = 1000.0, list(manners), base
        self.track, self.off, self.stopping = Track("p"), False, False
        self.states: list[State] = [State.STOPPED]
        self.starts: list[float] = []
        self.signals: list[str] = []

    @property
    def manner(self) -> str:
        return self.manners[min(len(self.starts), len(self.manners)) - 1]

    def desired(self) -> Desired:
        program = replace(PROGRAM, needs_base=self.base != "ready")
        return Desired((program,), frozenset({"p"}) if self.off else frozenset(), self.stopping)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self.now < end:
            self.step()

    def step(self) -> None:
        """Do what the supervisor does in one step, then sleep until something falls due, STEP_S at most."""
        self._program_acts()
        observed = Observed({"p": self.track}, base=self.base, base_reason="no space")  # type: ignore[arg-type]
        for action in plan(self.now, self.desired(), observed):
            self._act(action)
        if self.states[-1] is not self.track.state:
            self.states.append(self.track.state)
        sleep = next_look(self.now, self.desired(), Observed({"p": self.track}, base=self.base))  # type: ignore[arg-type]
        self.now += min(max(sleep, 0.001), STEP_S)

    def _program_acts(self) -> None:
        process = self.track.process
        if process is None:
            return
        age = self.now - self.starts[-1]
        ends = re.fullmatch(r"exit (-?\d+) after ([\d.]+)", self.manner)
        if ends and age >= float(ends[2]):
            self._die(int(ends[1]))
        elif self.manner != "mute" and not (self.manner == "freezes" and self.track.next_due):
            self.track = fold.beaten(self.track, self.now, _beat(process, self.now))

    def _die(self, code: int) -> None:
        wanted = self.desired().wants(PROGRAM)
        self.track = fold.exited(self.track, self.now, code, wanted, 0.0)

    def _act(self, action: object) -> None:
        match action:
            case Start():
                self.starts.append(self.now)
                self.track = fold.started(self.track, self.now, ProcessRef(pid=len(self.starts), start_ticks=1, boot_id="b"))
            case Terminate(_, grace_s, reason):
                self.signals.append("TERM")
                self.track = fold.signalled(self.track, self.now, grace_s, reason)
                if self.manner == "well":
                    self._die(0)
            case Kill():
                self.signals.append("KILL")
                self.track = fold.killed(self.track)
                self._die(-9)
            case Park(_, reason):
                self.track = fold.parked(self.track, reason)
            case Rest(_, reason):
                self.track = fold.resting(self.track, reason)

    def gaps(self) -> list[float]:
        """Give the seconds between starts."""
        return [later - earlier for earlier, later in zip(self.starts, self.starts[1:], strict=False)]


def _beat(process: ProcessRef, now: float) -> Heartbeat:
    return Heartbeat(
        name="p", pid=process.pid, start_ticks=process.start_ticks, boot_id=process.boot_id, state=State.RUNNING, seq=1,
        beat_mono=now, next_due_mono=now + PROMISE_S, beat_at="", phase="", note="", last_report=None, last_error=None,
        exit_code=None, version="0",
    )  # fmt: skip


S, G, R, B, P = State.STOPPED, State.STARTING, State.RUNNING, State.BACKOFF, State.STOPPING
HISTORIES = {
    "runs well": (["well"], 100.0, [S, G, R], ""),
    "dies once": (["exit 1 after 40", "well"], 100.0, [S, G, R, G, R], ""),
    "dies twice": (["exit 1 after 40", "exit 1 after 40", "well"], 200.0, [S, G, R, G, R, B, G, R], ""),
    "is misconfigured": (["exit 78 after 0"], 500.0, [S, G, State.PARKED], ""),
    "spends its budget for ever": (["exit 75 after 1"], 60.0, [S, G, R, G, R, *[B, G, R] * 5, B], ""),
    "never beats": (["mute", "well"], 100.0, [S, G, P, B, G, R], "TERM KILL"),
    "freezes": (["freezes", "well"], 60.0, [S, G, R, P, B, G, R], "TERM KILL"),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_history_leads_through_these_states(name: str) -> None:
    manners, seconds, states, signals = HISTORIES[name]
    world = World(manners)
    world.run(seconds)
    assert world.states == states
    assert " ".join(world.signals) == signals


def test_delays_are_0_1_2_4_and_so_on_to_300_seconds() -> None:
    world = World(["exit 1 after 31"])
    world.run(4000.0)
    waits = [round(gap - 31.0) for gap in world.gaps()]
    assert waits[:12] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] and LONGEST_S == 300.0
    assert State.FATAL not in world.states, "slow deaths are no crash loop"


def test_crash_loop_is_fatal_and_stays_so_until_somebody_asks() -> None:
    world = World(["exit 1 after 0"] * CRASH_LOOP + ["well"])
    world.run(10_000.0)
    assert len(world.starts) == CRASH_LOOP and world.states[-1] is State.FATAL
    world.track = fold.asked_to_restart(world.track)
    world.run(10.0)
    assert world.states[-1] is R and world.track.deaths == 0


def test_ten_healthy_minutes_forgive_and_nine_do_not() -> None:
    for healthy, wait in ((540.0, 4.0), (601.0, 0.0)):
        world = World(["exit 1 after 40"] * 3 + [f"exit 1 after {healthy}", "well"])
        world.run(3000.0)
        assert world.gaps()[3] - healthy == pytest.approx(wait, abs=STEP_S)


def test_switching_off_stops_it_in_order_and_on_starts_it_again() -> None:
    world = World(["well"])
    world.run(10.0)
    world.off = True
    world.run(10.0)
    assert (world.states[-1], world.track.reason, world.signals) == (S, "switched off", ["TERM"])
    world.off = False
    world.run(10.0)
    assert world.states[-1] is R and world.gaps()[0] >= 10.0


def test_deaf_program_is_killed_after_its_grace_when_everything_stops() -> None:
    world = World(["deaf"])
    world.run(10.0)
    world.stopping = True
    world.run(PROGRAM.grace_s - 1.0)
    assert world.signals == ["TERM"] and world.states[-1] is P
    world.run(2.0)
    assert world.signals == ["TERM", "KILL"] and world.states[-2:] == [P, S]
    assert world.starts == [1000.0]


def test_program_whose_base_cannot_be_made_is_parked_without_a_start() -> None:
    world = World(["well"], base="failed")
    world.run(10.0)
    assert world.states == [S, State.PARKED] and world.starts == [] and "no space" in world.track.reason


def test_every_state_is_reached_and_the_last_two_are_what_is_seen_without_a_weaver(paths: Paths) -> None:
    reached = {state for _, _, states, _ in HISTORIES.values() for state in states} | {State.FATAL}
    frozen = this_process()
    write_beat(paths, "one", process=frozen, due_in_s=-1.0)  # lives, and is silent
    write_beat(paths, "two", process=ProcessRef(pid=2**22 - 1, start_ticks=1, boot_id=frozen.boot_id), exit_code=1)
    rows = {row.name: row.state for row in Liveness(paths, time.monotonic()).rows()}
    assert rows == {"one": State.UNKNOWN, "two": State.EXITED}
    assert reached | set(rows.values()) == set(State)


def test_no_process_is_looked_at_in_these_tests() -> None:
    source = Path(fold.__file__).read_text(encoding="utf-8") + Path(plan.__code__.co_filename).read_text(encoding="utf-8")
    assert not re.search(r"^(import|from) (os|time|subprocess|pathlib)\b", source, re.MULTILINE)

"""The spool against a pure model: any sequence of moves by several owners, killed in any call; and claimers that race.

The model is a dict. Whatever is done, each job is in the one state that the model says, and is claimed in the model's order.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from core.clock import compact, from_compact, iso
from core.errors import IllegalMove, NotFound
from core.files import OPS, Ops
from core.jobs.job import Attempt, Priority
from core.jobs.order import claim_order
from core.jobs.spool import MOVES, Spool
from core.paths import PRIORITIES, STATES, Paths
from tests.faults.breaking import BrokenAt, Killed
from tests.faults.stage import LINES, NOW, Stage, claim

SEED = 20261121
HISTORIES, STEPS = 150, 50
CLAIMERS, JOBS = 8, 500
MOST = 6
kills = st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 7), st.booleans()))


@dataclass
class Known:
    """What the model knows of a job: its state, and the priority that a claim took it from."""

    state: str
    origin: str = ""


class SpoolAgainstModel(RuleBasedStateMachine):
    """Moves of one home's spool, each told to the model too."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="spool-model-"))
        self.stage = Stage(self.root / "home")
        self.stage.paths.make()
        self.spool = self.stage.spool
        self.jobs: dict[str, Known] = {}
        self.late: dict[str, str] = {}
        self.seconds = 0

    def teardown(self) -> None:
        self.stage.history(*sorted(job for job, known in self.jobs.items() if known.state == "completed"))
        assert self.stage.audited(LINES * len(self.jobs)) == []
        shutil.rmtree(self.root)

    # -- the model -------------------------------------------------------------------------------------------------

    def order(self, priority: str) -> list[str]:
        """Give the jobs of a priority in the order of claims: by arrival, a skipped one as if it came just after the others."""
        there = [job for job, known in self.jobs.items() if known.state == priority]
        return sorted(there, key=lambda job: (self.late.get(job, job) if priority == "low" else job, job))

    def now(self) -> str:
        """Give a time that is later than ever before."""
        self.seconds += 1
        return iso(NOW + timedelta(seconds=self.seconds))

    def end(self, outcome: str) -> Attempt:
        return Attempt(at=self.now(), event="finished", by="train_next", outcome=outcome)

    def drawn(self, data: Any, *states: str) -> str | None:
        """Draw a job in one of these states."""
        there = sorted(job for job, known in self.jobs.items() if known.state in states)
        return data.draw(st.sampled_from(there)) if there else None

    def do(self, kill: tuple[int, bool] | None, move: Callable[[Spool], object]) -> bool:
        """Make a move, or be killed in it; say whether it came to its end."""
        ops: Ops = OPS if kill is None else BrokenAt(kill[0], is_after=kill[1])
        try:
            move(Spool(self.stage.paths, ops))
        except Killed:
            return False
        return True

    # -- the moves -------------------------------------------------------------------------------------------------

    @initialize(priority=st.sampled_from(PRIORITIES))
    def begin(self, priority: Priority) -> None:
        self.admit(priority)

    @precondition(lambda self: len(self.jobs) < MOST)
    @rule(priority=st.sampled_from(["low", "low", "normal", "high"]))
    def admit(self, priority: Priority) -> None:
        self.now()
        job = f"{compact(NOW + timedelta(seconds=self.seconds))}-9f2c01ab-a"
        self.stage.put(priority, job, priority)
        self.jobs[job] = Known(priority)

    @rule(kill=kills, owner=st.sampled_from(["one", "another"]))
    def claim_next(self, kill: tuple[int, bool] | None, owner: str) -> None:
        wanted = next((job for priority in PRIORITIES for job in self.order(priority)), None)
        assert self.spool.oldest() == wanted
        if wanted is None:
            return
        known = self.jobs[wanted]
        is_done = self.do(kill, lambda spool: spool.claim(wanted, msgspec.structs.replace(claim(wanted), owner=owner)))
        if is_done or self.spool.find(wanted) == "processing":
            self.jobs[wanted] = Known("processing", known.state)
            is_marked = not is_done and list(self.stage.paths.state("low").glob(f".*~{wanted}"))
            if known.state == "low" and not is_marked:
                self.late.pop(wanted, None)  # a killed claimer may leave the mark

    @precondition(lambda self: any(known.state == "processing" for known in self.jobs.values()))
    @rule(data=st.data(), kill=kills, verb=st.sampled_from(["return", "return", "skip", "skip", "complete", "fail"]))
    def end_one(self, data: Any, kill: tuple[int, bool] | None, verb: str) -> None:
        job = self.drawn(data, "processing")
        assert job is not None
        end = self.end(verb)
        move = {"complete": Spool.complete, "fail": Spool.fail, "return": Spool.return_to_queue, "skip": Spool.skip}[verb]
        origin = self.spool._origin(self.stage.paths.state("processing") / job)
        if not self.do(kill, lambda spool: move(spool, job, end)) and self.spool.find(job) == "processing":
            move(self.spool, job, end)  # as the next life does, which finds the same result
        if verb == "skip":
            low = {other for other, known in self.jobs.items() if known.state == "low"}
            self.late = {other: at for other, at in self.late.items() if other in low}
            last = max((self.late.get(other, other) for other in low - {job}), default=None)
            self.late[job] = job if last is None else compact(from_compact(last[:18]) + timedelta(milliseconds=1))
        self.jobs[job] = Known({"complete": "completed", "fail": "failed", "return": origin, "skip": "low"}[verb])

    @rule(data=st.data(), kill=kills, priority=st.sampled_from(["low", "low", "low", "normal", "high"]))
    def promote(self, data: Any, kill: tuple[int, bool] | None, priority: Priority) -> None:
        job = self.drawn(data, *(state for state in PRIORITIES if state != priority))
        if job is not None:
            self.moved(job, priority, self.do(kill, lambda spool: spool.promote(job, priority)))

    @rule(data=st.data(), kill=kills, verb=st.sampled_from(["remove", "expire"]))
    def take_out(self, data: Any, kill: tuple[int, bool] | None, verb: str) -> None:
        job, move, at = self.drawn(data, *PRIORITIES), getattr(Spool, verb), self.now()
        if job is not None:
            self.moved(job, "rejected", self.do(kill, lambda spool: move(spool, job, "a person", at, "for a reason")))

    @rule(data=st.data(), kill=kills, fresh=st.booleans())
    def retry(self, data: Any, kill: tuple[int, bool] | None, fresh: bool) -> None:
        job = self.drawn(data, "failed", "completed")
        if job is not None:
            self.moved(job, "normal", self.do(kill, lambda spool: spool.retry(job, fresh)))

    def moved(self, job: str, target: str, is_done: bool) -> None:
        """Note a move that a person asked for; one who is killed in it has moved the job, or not."""
        if is_done or self.spool.find(job) == target:
            self.jobs[job] = Known(target)

    @rule(data=st.data())
    def adopt_or_reopen(self, data: Any) -> None:
        job = self.drawn(data, "processing")
        if job is not None:
            self.spool.adopt(job, claim(job), Attempt(at=self.now(), event="adopted", by="another"))
            self.spool.reopen(job)

    @rule(data=st.data(), verb=st.sampled_from(["claim", "complete", "fail", "promote", "remove", "retry", "skip"]))
    def wrong_move_changes_nothing(self, data: Any, verb: str) -> None:
        states = [state for state in STATES if state not in MOVES[verb][0]]
        job = self.drawn(data, *states)
        if job is None:
            return
        moves: dict[str, Callable[[], object]] = {
            "claim": lambda: self.spool.claim(job, claim(job)), "promote": lambda: self.spool.promote(job, "high"),
            "complete": lambda: self.spool.complete(job, self.end("completed")), "retry": lambda: self.spool.retry(job),
            "fail": lambda: self.spool.fail(job, self.end("failed")), "remove": lambda: self.spool.remove(job, "x", self.now()),
            "skip": lambda: self.spool.fail(job, self.end("skipped")),
        }  # fmt: skip
        with pytest.raises(IllegalMove):
            moves[verb]()

    # -- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def every_job_is_where_the_model_says(self) -> None:
        there = {state: set(self.spool.list(state)) for state in STATES}
        assert there == {state: {job for job, known in self.jobs.items() if known.state == state} for state in STATES}

    @invariant()
    def the_order_is_the_models(self) -> None:
        for priority in PRIORITIES:
            assert claim_order(self.stage.paths.state(priority)) == self.order(priority)


def test_any_history_of_moves_and_kills_is_the_models() -> None:
    """About 10 s: 150 histories of up to fifty moves on a real disk."""
    print(f"seed {SEED}")
    phases = (Phase.generate, Phase.shrink)
    bounds = settings(max_examples=HISTORIES, stateful_step_count=STEPS, deadline=None, database=None, phases=phases)
    run_state_machine_as_test(seed(SEED)(SpoolAgainstModel), settings=bounds)


def claim_all(home: Path, number: int) -> None:
    """Claim until nothing is left, and write down what was claimed."""
    spool, mine = Spool(Paths(home)), list[str]()
    while (job := spool.oldest()) is not None:
        try:
            spool.claim(job, claim(job))
        except (IllegalMove, NotFound):
            continue
        mine.append(job)
    (home / f"claimed-{number}").write_text("\n".join(mine))


def test_eight_claimers_on_five_hundred_jobs_claim_each_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.paths.make()
    jobs = [f"{compact(NOW + timedelta(seconds=number))}-9f2c01ab-a" for number in range(JOBS)]
    for job in jobs:
        stage.put("normal", job)
    context = multiprocessing.get_context("fork")
    claimers = [context.Process(target=claim_all, args=(tmp_path, number)) for number in range(CLAIMERS)]
    for claimer in claimers:
        claimer.start()
    for claimer in claimers:
        claimer.join(120.0)
        assert claimer.exitcode == 0
    claimed = Counter(job for number in range(CLAIMERS) for job in (tmp_path / f"claimed-{number}").read_text().split())
    assert claimed == dict.fromkeys(jobs, 1)
    assert stage.spool.list("processing") == jobs and stage.spool.list("normal") == []
    assert all([attempt.event for attempt in stage.spool.read_attempts(job)] == ["claimed"] for job in jobs)

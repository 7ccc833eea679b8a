"""Killed just before any call that changes the disk, every program finishes in its next life what it had begun.

Where test_kills shoots at random, this goes through all calls of one tick. The saves of the trainer have the same test in
tests/trainer, the taking and publishing of drops in tests/core/jobs.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

import pytest

from core.checkpoints.ledger import Ledger
from core.checkpoints.ranking import Ranking
from core.clock import iso
from core.config import CheckpointsConfig, WeaverConfig
from core.evals.curriculum import Curriculum, SkillProgress
from core.jobs.inbox import SIDECAR_ENDING
from core.jobs.job import Priority
from core.jobs.spool import Spool
from core.paths import STATES
from core.process import this_process
from core.records import encode_pretty, read
from core.runs.run import Outcome, RunRequest, RunResult
from daemons.generate_data import GenerateData
from daemons.prune_checkpoints import PruneCheckpoints
from daemons.train_next import TrainNext
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_state
from tests.core.home_files import job_record
from tests.daemons.home_builder import TestHome
from tests.faults.dying import dies_at

T = TypeVar("T")
JOB, URGENT = "20261120-213000000-9f2c01ab-a", "20261120-213000001-9f2c01ab-urgent"


def lives(root: Path, prepare: Callable[[Path], T], begin: Callable[[T], object]) -> Iterator[T]:
    """Give one prepared stage after the other, each killed one call later in begin(); the last one was not killed."""
    call, was_killed = 0, True
    while was_killed:
        call += 1
        stage = prepare(root / str(call))
        was_killed = dies_at(call, root, lambda one=stage: begin(one))  # type: ignore[misc]
        yield stage
    assert call > 3, "no call that changes anything was seen"


class Queue:
    """A home with one job, and a train_next whose trainers end at once."""

    def __init__(self, root: Path) -> None:
        self.home = TestHome(root)
        self.paths, self.spool = self.home.paths, Spool(self.home.paths)
        make_checkpoint(self.paths, 0, None)
        self.put(JOB, "normal")

    def put(self, name: str, priority: Priority) -> None:
        job = job_record(name, received_at=iso(self.home.clock.now()), priority=priority)
        folder = self.paths.state(priority) / name
        folder.mkdir()
        (folder / "job.json").write_bytes(encode_pretty(job))

    def tick(self) -> None:
        """Let a new train_next tick once."""
        TrainNext().tick(dataclasses.replace(self.home.context("train_next"), spawn=_no_trainer))

    def result(self, outcome: Outcome, permanent: bool) -> None:
        """End the running job as its trainer would."""
        result = RunResult(
            job=JOB, model="tiny", outcome=outcome, global_step=0, rows_done=0, runtime_s=1.0, train_s=1.0, tokens=1,
            checkpoint=None, final_loss=None, summary="8 rows", error=None, permanent=permanent, by=this_process(), at="",
        )  # fmt: skip
        (self.paths.state("processing") / JOB / "result.json").write_bytes(encode_pretty(result))

    def states(self, job: str) -> list[str]:
        return [state for state in STATES if job in self.spool.list(state)]


class _Ended:
    pid = 0

    def poll(self) -> int:
        return 1


def _no_trainer(program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return cast("subprocess.Popen[bytes]", _Ended())


def test_job_whose_claimer_is_killed_is_claimed_once(tmp_path: Path) -> None:
    for queue in lives(tmp_path, Queue, Queue.tick):
        queue.tick()
        assert queue.states(JOB) == ["processing"]
        request = read(RunRequest, queue.paths.state("processing") / JOB / "run.json")
        assert request.job == JOB
        assert [attempt.event for attempt in queue.spool.read_attempts(JOB)] in ([], ["claimed"])


@pytest.mark.parametrize(
    ("outcome", "permanent", "state"),
    [
        (Outcome.SKIPPED, False, "low"),
        (Outcome.STOPPED, False, "normal"),
        (Outcome.FAILED, False, "normal"),
        (Outcome.FAILED, True, "failed"),
    ],
)
def test_ended_job_whose_train_next_is_killed_goes_where_it_should_and_the_urgent_one_is_next(
    tmp_path: Path, outcome: Outcome, permanent: bool, state: str
) -> None:
    def prepare(root: Path) -> Queue:
        queue = Queue(root)
        queue.tick()
        queue.result(outcome, permanent)
        queue.put(URGENT, "high")
        return queue

    for queue in lives(tmp_path, prepare, Queue.tick):
        queue.tick()
        assert (queue.states(JOB), queue.states(URGENT)) == ([state], ["processing"])
        assert [attempt.event for attempt in queue.spool.read_attempts(JOB)] == ["claimed", "finished"]
        folder = queue.paths.state(state) / JOB
        assert not list(folder.glob(".*")), "what a killed writer left is gone"


def test_generator_killed_anywhere_leaves_one_whole_batch(tmp_path: Path) -> None:
    def prepare(root: Path) -> TestHome:
        home = TestHome(root)
        skill = SkillProgress(training_level=1, mastered_level=0, target_level=3, levels=())
        curriculum = Curriculum(model="tiny", active_skill=None, skills={"binary": skill})
        (home.paths.status / "curriculum.json").write_bytes(encode_pretty(curriculum))
        return home

    for home in lives(tmp_path, prepare, lambda home: GenerateData().tick(home.context("generate_data"))):
        home.clock.passed_s += 1.0
        GenerateData().tick(home.context("generate_data"))
        [data] = home.paths.inbox.glob("low/*.jsonl")
        assert len(data.read_bytes().splitlines()) == home.config.weaver.generation.batch_examples
        assert data.with_name(data.name + SIDECAR_ENDING).exists()


def test_retention_killed_anywhere_removes_the_same_in_its_next_life(tmp_path: Path) -> None:
    def prepare(root: Path) -> TestHome:
        home = TestHome(root)
        names: list[str] = []
        for step in range(13):
            names.append(make_checkpoint(home.paths, step, names[-1] if names else None))
            if step > 9:
                make_state(home.paths, names[-1])
        home.put_head(names[-1])
        home.paths.model("tiny").ledger(names[-1]).unlink()
        home.configure(weaver=WeaverConfig(checkpoints=CheckpointsConfig(keep_gb=1e-9)))
        (home.paths.status / "ranking.json").write_bytes(encode_pretty(Ranking(models={"tiny": []})))
        return home

    def life(home: TestHome) -> None:
        PruneCheckpoints().tick(home.context("prune_checkpoints"))

    for home in lives(tmp_path, prepare, life):
        life(home)
        model, names = home.paths.model("tiny"), [f"checkpoint-{step}-20261120-2130" for step in range(13)]
        assert Ledger(home.paths).names("tiny") == [names[0], *names[3:]]
        assert {path.name for path in (model.root / "state").iterdir()} == {names[11], names[12]}
        assert {path.stem for path in (model.root / "ledger").glob("[!.]*")} == set(names)
        assert not list(model.trash.iterdir())

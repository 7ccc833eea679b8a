"""One stream of two jobs, trained by processes that are killed: in a step, or at a call that changes the disk.

Shared by test_trainer_kills and by benchmarks/faults.py. Processes are forked from a server that has imported the trainer once.
What each step did is appended to a file outside of the home, so that it outlives its process.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.accounting.audit import audit
from core.config import ModelConfig
from core.runs.run import Outcome, Progress
from tests.faults.dying import die_at
from tests.trainer.training_home import Seconds, TrainingHome, sums
from trainer.config import ModelSource
from trainer.engine import TrainerEngine, TrainingStatusWriter
from trainer.model import ensure_base
from trainer.tiny.model import build
from trainer.weights import sweep_left_overs

MODULE = "tests.faults.trainer_lives"
PACKED: dict[str, Any] = {"packing": "on", "batch_tokens": 64, "max_length": 64, "accumulation": 3}
LONGEST_LIFE_S = 300.0


@dataclass(frozen=True)
class Run:
    """What is trained: lines and epochs of both jobs, and how; a checkpoint about every `every_s` readings of a clock."""

    jobs: tuple[tuple[str, int, int], ...]
    settings: Mapping[str, Any]
    every_s: float = 12.0


SHORT = (("job-1", 24, 2), ("job-2", 19, 1))
"""Nine steps: two epochs of three, then three of another job."""
LONG = (("job-1", 72, 5), ("job-2", 120, 1))
"""Sixty steps: five epochs of nine, then fifteen of another job."""


@dataclass(frozen=True)
class Death:
    """Where a process is killed: after a step of the stream, or at its n-th call that changes the disk; or nowhere."""

    step: int | None = None
    call: int | None = None


class Told(TrainingStatusWriter):
    """Appends what every step did, and dies after one."""

    def __init__(self, file: Path, death: Death) -> None:
        super().__init__(None)
        self._file, self._death = file, death

    def write(self, progress: Progress) -> None:
        """Note a step."""
        if progress.loss is None:
            return
        told = [progress.step, progress.loss.hex(), (progress.learning_rate or 0.0).hex()]
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
        if progress.step == self._death.step:
            os.kill(os.getpid(), signal.SIGKILL)


def make_base(folder: Path, dropout: float = 0.1) -> tuple[Path, str]:
    """Make a home with a base that has dropout: only then does a mistake with the random state show."""
    source = folder / "source"
    source.mkdir(parents=True)
    build(source, 0)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "attention_dropout": dropout}))
    home = TrainingHome(folder / "home", str(source))
    home.paths.make()
    ensure_base(ModelSource(name="tiny", paths=home.paths, config=ModelConfig(base=str(source))), 0, datetime.now(UTC))
    return home.paths.home, str(source)


def make_home(made: tuple[Path, str], folder: Path, run: Run) -> TrainingHome:
    """Copy the home with the base, and put both jobs into it."""
    shutil.copytree(made[0], folder)
    home = TrainingHome(folder, made[1])
    for name, count, _ in run.jobs:
        home.job(name, sums(count, seed=count))
    return home


def live(folder: Path, base: str, run: Run, death: Death) -> None:
    """Train what is not completed yet, as the next trainer does; in a process of its own."""
    home = TrainingHome(folder, base)
    sweep_left_overs(home.paths, "tiny")
    engine = TrainerEngine(Told(told_in(folder), death), mono=Seconds())
    if death.call is not None:
        die_at(death.call, str(folder))
    for name, _, epochs in run.jobs:
        done = folder / f"{name}.done"
        if not done.exists():
            job = home.paths.state("processing") / name
            result = engine.run_job(home.config(job, epochs=epochs, every_s=run.every_s, **run.settings))
            assert result.outcome is Outcome.COMPLETED, result.error
            done.touch()


def told_in(folder: Path) -> Path:
    """Give the file in which the steps of a home are told."""
    return folder.with_name(f"{folder.name}.steps")


def has_lived(home: TrainingHome, run: Run, death: Death) -> bool:
    """Let a process train until it is killed; False when it came to its end. Raises AssertionError when it failed by itself."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([MODULE])
    child = server.Process(target=live, args=(home.paths.home, home.base, run, death))
    child.start()
    child.join(LONGEST_LIFE_S)
    assert child.exitcode in (0, -signal.SIGKILL), f"the trainer ended with {child.exitcode}"
    return child.exitcode != 0


def differences(home: TrainingHome, whole: TrainingHome, run: Run) -> list[str]:
    """Say in what a run that was killed differs from the one that was not: every step, also a replayed one, to the last bit."""
    found = [f"step {told} is not one of the uninterrupted run" for told in sorted(_steps(home) - _steps(whole))]
    if len(_steps(home)) != len(_steps(whole)):
        found.append(f"{len(_steps(home))} different steps, expected {len(_steps(whole))}")
    if home.hashes(home.last().name) != whole.hashes(whole.last().name):
        found.append("the final weights or their training state differ")
    for name, count, epochs in run.jobs:
        spans = [span for one in home.ledger.checkpoints("tiny") for span in one.consumed if span.job == name]
        if Counter(line for span in spans for line in span.lines) != dict.fromkeys(range(1, count + 1), epochs):
            found.append(f"{name}: not every line was trained {epochs} times")
        if home.plan(name).rows != whole.plan(name).rows:
            found.append(f"{name}: the samples are others, or in another order")
    return found + [f"I7: {text}" for text in audit(home.paths).invariants[5].violations]


def _steps(home: TrainingHome) -> set[tuple[int, str, str]]:
    return {tuple(json.loads(line)) for line in told_in(home.paths.home).read_text().splitlines()}


def deaths(rng: random.Random, steps: int, calls: int, count: int) -> list[Death]:
    """Draw where to die: half of them in steps, half at calls that change the disk, most of which are in saves."""
    drawn = [Death(step=rng.randint(1, steps)) for _ in range(count - count // 2)]
    return drawn + [Death(call=rng.randint(1, calls)) for _ in range(count // 2)]

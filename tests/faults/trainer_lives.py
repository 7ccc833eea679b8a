"""One stream of two jobs, trained by processes that are killed: at every moment of a step, between jobs, or while they save.

Shared by test_trainer_kills and by benchmarks/faults.py. Processes are forked from a server that has imported the trainer once.
What each step was given and did is seen through torch's own hooks and appended to a file outside of the home, so that it
outlives its process: the ids of every micro-batch, the learning rates, the loss to the last bit, and a draw from each of the
three random generators, as a loader or a model of somebody else may draw from any of them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from core.accounting.audit import audit
from core.clock import iso
from core.config import ModelConfig
from core.files import append_record
from core.jobs.job import DEATH, Attempt
from core.jobs.poison import PROBE
from core.records import encode, read
from core.runs.run import Outcome, Progress
from tests.faults.dying import die_at
from tests.trainer.training_home import Seconds, TrainingHome, sums
from trainer.config import ModelSource
from trainer.engine import TrainerEngine, TrainingStatusWriter
from trainer.model import ensure_base
from trainer.resume import Cursor
from trainer.tiny.model import build
from trainer.weights import sweep_left_overs

MODULE = "tests.faults.trainer_lives"
LONGEST_LIFE_S = 300.0
TRIED = "tried"
DROPOUT = 0.1

Moment = Literal["in the middle", "before the update", "after the update", "after the step", "job", "call"]
IN_A_STEP: tuple[Moment, ...] = ("in the middle", "before the update", "after the update", "after the step")


@dataclass(frozen=True)
class Setting:
    """How the stream is trained. With dropout, mistakes with the random state show in the losses."""

    packing: bool
    accumulation: int
    dropout: bool

    def __str__(self) -> str:
        packing, dropout = "packed" if self.packing else "padded", "dropout" if self.dropout else "no dropout"
        return f"{packing}, accumulation {self.accumulation}, {dropout}"

    def hyper(self) -> dict[str, Any]:
        """Give the settings of TrainingHome.config: several examples in a row of 64 tokens, or several rows in a batch."""
        narrow = {"batch_tokens": 64, "max_length": 64} if self.packing else {}
        return {"packing": "on" if self.packing else "off", "accumulation": self.accumulation, **narrow}


SETTINGS = [Setting(*values) for values in itertools.product((False, True), (1, 3), (False, True))]
HARDEST = Setting(packing=True, accumulation=3, dropout=True)


@dataclass(frozen=True)
class Run:
    """What is trained: lines and epochs of both jobs, and how; a checkpoint about every `every_s` readings of a clock."""

    jobs: tuple[tuple[str, int, int], ...]
    setting: Setting
    every_s: float = 12.0


SHORT = (("job-1", 26, 2), ("job-2", 19, 1))
"""Two epochs and another job; a step of three micro-batches takes rows of both epochs."""
LONG = (("job-1", 76, 5), ("job-2", 167, 1))
"""Sixty steps of HARDEST, 42 and 18: five epochs, whose borders lie inside of steps, and another job."""


@dataclass(frozen=True)
class Death:
    """Where a process is killed: in step `at` of the stream, after the at-th job, or at its at-th change of the disk."""

    moment: Moment
    at: int


class Witness(TrainingStatusWriter):
    """Appends what every step was given and did, and dies in one."""

    def __init__(self, home: TrainingHome, death: Death | None) -> None:
        super().__init__(None)
        self._file, self._processing = told_in(home.paths.home), home.paths.state("processing")
        self._death, self._step, self._born = death, home.last().step, time.time()
        self._batches: list[str] = []
        register_module_forward_pre_hook(self._on_forward)
        register_optimizer_step_pre_hook(self._on_update)
        register_optimizer_step_post_hook(lambda *_: self._die_if("after the update"))

    def _on_forward(self, module: nn.Module, given: Any) -> None:
        """Note the ids of a micro-batch that is trained. What proofs and fingerprints draw beside it must not be felt."""
        if not isinstance(module, nn.Embedding):
            return
        if not module.training:
            _draw()
        elif any(path.stat().st_mtime >= self._born for path in self._processing.glob(f"*/{PROBE}")):
            self._tell(TRIED, self._step)
        else:
            ids = given[0]
            self._batches.append(hashlib.sha256(repr(ids.tolist()).encode()).hexdigest()[:16])
            if len(self._batches) > 1:
                self._die_if("in the middle")

    def _on_update(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._die_if("in the middle")  # a step of one micro-batch
        self._die_if("before the update")
        rates = [float(group["lr"]).hex() for group in optimizer.param_groups]
        self._tell("given", self._step + 1, rates, self._batches, _draw())
        self._batches = []

    def write(self, progress: Progress) -> None:
        """Note the loss of a step."""
        if progress.loss is None:
            return
        self._tell("loss", progress.step, progress.loss.hex())
        self._die_if("after the step")
        self._step = progress.step

    def _tell(self, kind: str, step: int, *facts: object) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps([kind, step, *facts]) + "\n")

    def _die_if(self, moment: Moment) -> None:
        if self._death == Death(moment, self._step + 1):
            os.kill(os.getpid(), signal.SIGKILL)


def _draw() -> list[str]:
    """Draw from each random generator."""
    return [random.random().hex(), float(np.random.random()).hex(), float(torch.rand(())).hex()]


def make_base(folder: Path, dropout: bool) -> tuple[Path, str]:
    """Make a home with a base that has dropout or not."""
    source = folder / "source"
    source.mkdir(parents=True)
    build(source, 0)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "attention_dropout": DROPOUT if dropout else 0.0}))
    home = TrainingHome(folder / "home", str(source))
    home.paths.make()
    ensure_base(ModelSource(name="tiny", paths=home.paths, config=ModelConfig(base=str(source))), 0, datetime.now(UTC))
    return home.paths.home, str(source)


def make_bases(folder: Path) -> Mapping[bool, tuple[Path, str]]:
    """Make both homes, by whether their base has dropout."""
    return {dropout: make_base(folder / str(dropout), dropout) for dropout in (False, True)}


def make_home(bases: Mapping[bool, tuple[Path, str]], folder: Path, run: Run) -> TrainingHome:
    """Copy the home with the run's base, and put both jobs into it."""
    made, base = bases[run.setting.dropout]
    shutil.copytree(made, folder)
    home = TrainingHome(folder, base)
    for name, count, _ in run.jobs:
        home.job(name, sums(count, seed=count))
    return home


def live(folder: Path, base: str, run: Run, death: Death | None) -> None:
    """Train every job as far as it is not trained yet, as the next trainer does; in a process of its own."""
    home = TrainingHome(folder, base)
    sweep_left_overs(home.paths, "tiny")
    engine = TrainerEngine(Witness(home, death), mono=Seconds())
    if death is not None and death.moment == "call":
        die_at(death.at, str(folder))
    for number, (name, _, epochs) in enumerate(run.jobs, 1):
        job = home.paths.state("processing") / name
        config = home.config(job, epochs=epochs, every_s=run.every_s, save=False, **run.setting.hyper())
        result = engine.run_job(config)
        assert result.outcome is Outcome.COMPLETED, result.error
        if death == Death("job", number):
            os.kill(os.getpid(), signal.SIGKILL)
    if engine.has_unsaved():
        engine.save()


def told_in(folder: Path) -> Path:
    """Give the file in which the steps of a home are told."""
    return folder.with_name(f"{folder.name}.steps")


def has_died(home: TrainingHome, run: Run, death: Death | None) -> bool:
    """Let a process train until it is killed; False when it came to its end. Raises AssertionError when it failed by itself."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([MODULE])
    child = server.Process(target=live, args=(home.paths.home, home.base, run, death))
    child.start()
    child.join(LONGEST_LIFE_S)
    assert child.exitcode in (0, -signal.SIGKILL), f"the trainer ended with {child.exitcode}"
    return child.exitcode != 0


def survive(home: TrainingHome, run: Run, deaths: Sequence[Death]) -> int:
    """Train to the end, whatever kills it on the way; give how many of the deaths there were.

    They are recorded as train_next records them: from the second on, the lines of the step of a death are tried alone first.
    """
    died = 0
    for death in deaths:
        if has_died(home, run, death):
            died += 1
            _record_death(home, run)
    assert not has_died(home, run, None)
    return died


def _record_death(home: TrainingHome, run: Run) -> None:
    steps = [json.loads(told)[1] for told in _lines(home) if told.startswith('["loss"')]
    fact = Attempt(at=iso(datetime.now(UTC)), event="adopted", by="test", outcome=DEATH, step=steps[-1] if steps else None)
    for name, _, _ in run.jobs:
        append_record(home.paths.state("processing") / name / "attempts.jsonl", encode(fact))


def tried(home: TrainingHome) -> list[int]:
    """Give the steps before which lines were tried alone."""
    return sorted({json.loads(told)[1] for told in _lines(home) if told.startswith(f'["{TRIED}"')})


def differences(home: TrainingHome, whole: TrainingHome, run: Run) -> list[str]:
    """Say in what a run that was killed differs from the one that was not: every step, also a replayed one, to the last bit."""
    mine, theirs = _told(home), _told(whole)
    found = [f"{told} is nothing that happened in the uninterrupted run" for told in sorted(mine - theirs)]
    missing = [json.loads(told) for told in sorted(theirs - mine)]
    # Who is killed at the end of a save has published a step whose loss it never told.
    saved = [["loss", checkpoint.step] for checkpoint in home.ledger.checkpoints("tiny")]
    found += [f"{told} of the uninterrupted run is missing" for told in missing if told[:2] not in saved]
    ends, wanted = _ends(home), _ends(whole)
    found += [f"in the end {what} differ" for what in wanted if ends[what] != wanted[what]]
    for name, count, epochs in run.jobs:
        spans = [span for one in home.ledger.checkpoints("tiny") for span in one.consumed if span.job == name]
        if Counter(line for span in spans for line in span.lines) != dict.fromkeys(range(1, count + 1), epochs):
            found.append(f"{name}: not every line was trained {epochs} times")
        if home.plan(name).rows != whole.plan(name).rows:
            found.append(f"{name}: the samples are others, or in another order")
    return found + [f"{one.id}: {text}" for one in audit(home.paths).invariants if one.id == "I7" for text in one.violations]


def _told(home: TrainingHome) -> set[str]:
    """Give what was told of every step, each different telling once."""
    return {told for told in _lines(home) if not told.startswith(f'["{TRIED}"')}


def _lines(home: TrainingHome) -> list[str]:
    file = told_in(home.paths.home)
    return file.read_text().splitlines() if file.exists() else []


def _ends(home: TrainingHome) -> dict[str, object]:
    """Give what must be the same in the last checkpoint and its state, the averaged weights included."""
    last = home.last()
    cursor = msgspec.structs.replace(read(Cursor, home.model.training_state(last.name) / "cursor.json"), checkpoint="")
    counts = (last.step, last.tokens_seen, last.examples_seen, last.learning_rate)
    return {**home.hashes(last.name), "cursor.json": cursor, "the counts": counts}


def deaths_in_steps(rng: random.Random, whole: TrainingHome) -> list[Death]:
    """Draw one death for each moment of a step, in ascending steps, and one between the jobs. whole: the uninterrupted run."""
    steps, of_job_1 = whole.last().step, len(whole.plan("job-1").steps)
    at = sorted(rng.sample(range(1, steps + 1), len(IN_A_STEP)))
    drawn = [Death(moment, step) for moment, step in zip(rng.sample(IN_A_STEP, len(IN_A_STEP)), at, strict=True)]
    border = sum(step <= of_job_1 for step in at)
    return [*drawn[:border], Death("job", 1), *drawn[border:]]


def every_moment(steps: int, lives: int = 4) -> list[list[Death]]:
    """Give histories of a few deaths each that together hold every moment of every step. steps: a multiple of lives."""
    apart, moments = steps // lives, len(IN_A_STEP)
    return [
        [Death(IN_A_STEP[(turn + part) % moments], first + part * apart) for part in range(lives)]
        for first in range(1, apart + 1)
        for turn in range(moments)
    ]

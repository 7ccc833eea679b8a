"""One stream of a few jobs, trained by processes that are killed: at every moment of a step, between jobs, or while they save.

Shared by test_trainer_kills and by benchmarks/faults.py. train_next ticks in the test: it claims the jobs, starts every
trainer, notes its death, and decides what is trained again and in which order. Its trainers run the worker, forked from a
server that has imported it once. What each step was given and did is seen through torch's own hooks and appended to a file
outside of the home, so that it outlives its process: the ids of every micro-batch, the learning rates, the loss to the last
bit, and a draw from each of the three random generators, as a loader or a model of somebody else may draw from any of them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import numpy as np
import torch
import yaml
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from core.accounting.audit import audit
from core.clock import SystemClock
from core.config import ModelConfig
from core.in_force import read_in_force
from core.jobs.job import Job, JobTraining
from core.jobs.poison import PROBE
from core.jobs.spool import Spool
from core.records import encode_pretty, read
from core.runs.run import Plan, Progress, RunRequest
from daemons.harness.context import Context
from daemons.train_next import TrainNext
from tests.core.home_files import put_job
from tests.fakes import ROOT
from tests.faults.dying import die_at
from tests.trainer.training_home import SMALL, Seconds, TrainingHome, sums
from trainer.config import ModelSource
from trainer.engine import TrainerEngine
from trainer.model import ensure_base
from trainer.resume import Cursor
from trainer.tiny.model import build
from trainer.worker import Worker

MODULE = "tests.faults.trainer_lives"
LONGEST_LIFE_S, LOOK_S = 300.0, 0.05
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
        """Give what training.yaml says: several examples in a row of 64 tokens, or several rows in a batch."""
        narrow = {"batch_tokens": 64} if self.packing else {}
        return {**SMALL, "packing": "on" if self.packing else "off", "accumulation": self.accumulation, **narrow}

    @property
    def max_length(self) -> int:
        """Give the longest row."""
        return 64 if self.packing else 96


SETTINGS = [Setting(*values) for values in itertools.product((False, True), (1, 3), (False, True))]
HARDEST = Setting(packing=True, accumulation=3, dropout=True)


@dataclass(frozen=True)
class Run:
    """What is trained: lines and epochs of each job, and how; a checkpoint about every `every_s` readings of a clock."""

    jobs: tuple[tuple[str, int, int], ...]
    setting: Setting
    every_s: float = 12.0


SHORT = (("job-1", 26, 2), ("job-2", 19, 1))
"""Two epochs and another job; a step of three micro-batches takes rows of both epochs."""
LONG = (("job-1", 76, 5), ("job-2", 167, 1))
"""Sixty steps of HARDEST, 42 and 18: five epochs, whose borders lie inside of steps, and another job."""
THREE = (("job-1", 26, 2), ("job-2", 19, 1), ("job-3", 17, 2))


@dataclass(frozen=True)
class Death:
    """Where a process is killed: in step `at` of the stream, after the at-th job, or at its at-th change of models/."""

    moment: Moment
    at: int


class Witness:
    """Appends what every step was given and did, and dies in one."""

    def __init__(self, home: TrainingHome, death: Death | None) -> None:
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

    def ended(self, progress: Progress) -> None:
        """Note the loss of a step."""
        assert progress.loss is not None
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
    """Copy the home with the run's base, and queue the jobs in it."""
    made, base = bases[run.setting.dropout]
    shutil.copytree(made, folder)
    home = TrainingHome(folder, base)
    shutil.copytree(ROOT / "config", home.paths.config, ignore=shutil.ignore_patterns("local"), dirs_exist_ok=True)
    changes = {
        "training": run.setting.hyper(),
        "weaver": {
            "models": {"tiny": {"base": base, "max_length": run.setting.max_length}},
            "checkpoints": {"every_s": run.every_s}, "disk": {"floor_gb": 0.1},
        },
    }  # fmt: skip
    for name, changed in changes.items():
        path = home.paths.config / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changed}))
    for name, count, epochs in run.jobs:
        job = home.paths.state("normal") / name
        home.job(name, sums(count, seed=count)).rename(job)
        record = read(Job, home.paths.state("normal") / put_job(home.paths, "normal") / "job.json")
        (job / "job.json").write_bytes(encode_pretty(msgspec.structs.replace(record, id=name, training=JobTraining(epochs))))
        shutil.rmtree(home.paths.state("normal") / record.id)
    return home


class _Watched(TrainerEngine):
    """An engine with a witness; a checkpoint is due by how often its clock was read."""

    witness: Witness

    def _report(self, progress: Progress) -> None:
        super()._report(progress)
        if progress.loss is not None:  # else it says where the run begins
            self.witness.ended(progress)


class _Mortal(Worker):
    """A worker that may die after a job."""

    def __init__(self, home: TrainingHome, run: Run, death: Death | None) -> None:
        super().__init__(home.paths.home, "tiny")
        self._deadly = run.jobs[death.at - 1][0] if death is not None and death.moment == "job" else None
        self.engine = _Watched(self.engine.writer, beat=self.beat, remark=self.log.info, mono=Seconds())
        self.engine.witness = Witness(home, death)

    def _train(self, request: RunRequest) -> bool:
        goes_on = super()._train(request)
        if request.job == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return goes_on


def live(folder: Path, base: str, run: Run, death: Death | None) -> None:
    """Be a trainer of train_next, in a process of its own, until SIGTERM or the death."""
    home = TrainingHome(folder, base)
    worker = _Mortal(home, run, death)
    signal.signal(signal.SIGTERM, lambda *_: setattr(worker, "stopping", True))
    if death is not None and death.moment == "call":
        die_at(death.at, str(home.paths.models))
    sys.exit(worker.run())


class _Life:
    """A trainer in the part of a Popen that train_next uses."""

    def __init__(self, home: TrainingHome, run: Run, death: Death | None) -> None:
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload([MODULE])
        self._process = server.Process(target=live, args=(home.paths.home, home.base, run, death))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def ask_to_end(self) -> None:
        self._process.terminate()


class _Keeper:
    """A train_next that has just begun to look after a home, and the trainer that it starts."""

    def __init__(self, home: TrainingHome, run: Run, death: Death | None) -> None:
        self._home, self._run, self._death = home, run, death
        self._daemon = TrainNext()
        self._context = Context(
            name="train_next", host="local", clock=SystemClock(), paths=home.paths,
            config=read_in_force(home.paths, {}).config, environ={}, rng=random.Random(0),
            log=logging.getLogger("test.train_next"), spawn=self._spawn, beat=lambda note: None, stopping=lambda: False,
            event=lambda event, **facts: None,
        )  # fmt: skip
        self.life: _Life | None = None

    def _spawn(self, program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        self.life = self.life or _Life(self._home, self._run, self._death)  # who died is replaced by the next keeper
        return cast("subprocess.Popen[bytes]", self.life)

    def tick(self) -> bool:
        """Look after the jobs; say whether all that can be trained is."""
        self._daemon.tick(self._context)
        claimed = [self._home.paths.state("processing") / job for job in Spool(self._home.paths).list("processing")]
        return not Spool(self._home.paths).list("normal") and all((job / "result.json").exists() for job in claimed)


def told_in(folder: Path) -> Path:
    """Give the file in which the steps of a home are told."""
    return folder.with_name(f"{folder.name}.steps")


def has_died(home: TrainingHome, run: Run, death: Death | None) -> bool:
    """Let a trainer train until it is killed; False when it came to its end. Raises AssertionError when it failed by itself."""
    keeper, deadline = _Keeper(home, run, death), time.monotonic() + LONGEST_LIFE_S
    while True:
        ended = keeper.life.poll() if keeper.life is not None else None
        assert ended in (None, 0, -signal.SIGKILL), f"the trainer ended with {ended}"
        if ended:
            return True
        is_done = keeper.tick()
        if is_done and (keeper.life is None or ended == 0):
            break
        if is_done and keeper.life is not None and keeper.life.poll() is None:
            keeper.life.ask_to_end()
        assert time.monotonic() < deadline, f"not at its end within {LONGEST_LIFE_S} s"
        time.sleep(LOOK_S)
    assert Spool(home.paths).list("completed") == [name for name, _, _ in run.jobs]
    return False


def survive(home: TrainingHome, run: Run, deaths: Sequence[Death]) -> int:
    """Train to the end, whatever kills it on the way; give how many of the deaths there were."""
    died = sum(has_died(home, run, death) for death in deaths)
    assert not has_died(home, run, None)
    return died


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
        if plan_of(home, name).rows != plan_of(whole, name).rows:
            found.append(f"{name}: the samples are others, or in another order")
    steps = [json.loads(told)[1] for told in _lines(home) if told.startswith('["loss"')]
    counted = sum(attempt.replayed or 0 for name, _, _ in run.jobs for attempt in Spool(home.paths).read_attempts(name))
    if counted != len(steps) - len(set(steps)):
        found.append(f"{len(steps) - len(set(steps))} steps were trained again, {counted} were counted")
    return found + [f"{one.id}: {text}" for one in audit(home.paths).invariants if one.id == "I7" for text in one.violations]


def plan_of(home: TrainingHome, name: str) -> Plan:
    """Give the plan of a job, wherever it lies."""
    return read(Plan, Spool(home.paths).folder(name) / "plan.json")


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
    steps, of_job_1 = whole.last().step, len(plan_of(whole, "job-1").steps)
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

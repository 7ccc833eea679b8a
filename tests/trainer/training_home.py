"""A home with a model's base and jobs to train, and an engine that reports every step: for the tests of this folder."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from core.checkpoints.checkpoint import Checkpoint
from core.checkpoints.ledger import Ledger
from core.config import ModelConfig, TrainingConfig
from core.files import sha256_of
from core.jobs.job import Line
from core.paths import Paths
from core.records import read
from core.runs.run import Outcome, Plan, Progress
from trainer.config import DataSource, ModelSource, OutputConfig, TrainerConfig
from trainer.engine import TrainerEngine, TrainingStatusWriter

# Small steps, several micro-batches in each, a checkpoint only where a test asks for one.
SMALL: dict[str, Any] = {"micro_batch": 4, "accumulation": 2, "batch_tokens": 128}


def said(prompt: str, answer: str) -> Line:
    return Line(messages=[{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}])


def sums(count: int, seed: int = 0) -> list[Line]:
    chance = random.Random(seed)
    pairs = [(chance.randrange(10 ** chance.randint(1, 4)), chance.randrange(10)) for _ in range(count)]
    return [said(f"{a} plus {b}", str(a + b)) for a, b in pairs]


class Seconds:
    """A clock that is a second later each time it is read, so that every step is reported."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Recorder(TrainingStatusWriter):
    """Keeps what is written of every step, and the steps at which runs began."""

    def __init__(self) -> None:
        super().__init__(None)
        self.seen: list[Progress] = []
        self.begun: list[int] = []

    def write(self, progress: Progress) -> None:
        if progress.loss is None:
            self.begun.append(progress.step)
        else:
            self.seen.append(progress)

    @property
    def losses(self) -> list[str]:
        """The losses to the last bit."""
        return [float.hex(progress.loss) for progress in self.seen if progress.loss is not None]


class TrainingHome:
    """A home in a temporary folder."""

    __test__ = False

    def __init__(self, root: Path, base: str) -> None:
        self.paths, self.base = Paths(root), base
        self.model = self.paths.model("tiny")
        self.recorder = Recorder()
        self.remarks: list[str] = []

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.paths)

    def job(self, name: str, lines: Iterable[Line]) -> Path:
        """Put a claimed job into processing/."""
        folder = self.paths.state("processing") / name
        folder.mkdir(parents=True)
        (folder / "data.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        return folder

    def config(
        self, folder: Path, *, epochs: int = 1, parent: str | None = None, save: bool = True, every_s: float = math.inf,
        max_train_s: float | None = None, max_length: int = 96, **hyper: Any,
    ) -> TrainerConfig:  # fmt: skip
        """Describe a run with small steps."""
        return TrainerConfig(
            model=ModelSource("tiny", self.paths, ModelConfig(base=self.base, max_length=max_length), parent),
            data=DataSource(folder.name, folder), hyperparams=TrainingConfig(**{**SMALL, **hyper}), epochs=epochs,
            max_train_s=max_train_s, output=OutputConfig(every_s=every_s, save_at_end=save),
        )  # fmt: skip

    def engine(self, stop_wanted: Callable[[], Outcome | None] = lambda: None) -> TrainerEngine:
        """Give a new engine, as a new process would have; the recorder goes on."""
        return TrainerEngine(self.recorder, stop_wanted=stop_wanted, remark=self.remarks.append, mono=Seconds())

    def stopping_at(self, steps: int, outcome: Outcome = Outcome.STOPPED) -> TrainerEngine:
        """Give a new engine that is asked to stop once so many more steps are done."""
        end = len(self.recorder.seen) + steps
        return self.engine(lambda: outcome if len(self.recorder.seen) >= end else None)

    def last(self) -> Checkpoint:
        """Give the record of the newest checkpoint."""
        return self.ledger.checkpoints("tiny")[-1]

    def plan(self, job: str) -> Plan:
        return read(Plan, self.paths.state("processing") / job / "plan.json")

    def hashes(self, name: str) -> dict[str, str]:
        """Give what must be the same to the last bit: served weights, live weights, optimizer, schedule and random state."""
        state = self.model.training_state(name)
        files = (self.model.checkpoint(name) / "model.safetensors", state / "weights.safetensors", state / "optimizer.pt")
        return {f"{path.parent.parent.name}/{path.name}": sha256_of(path) for path in files}

"""The one configuration of a run: everything run_job needs, with nothing read from elsewhere.

Made by the worker from run.json and the home's configuration, or by a caller's own code through create_default_config.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from core.config import ModelConfig, TrainingConfig
from core.errors import InvalidConfig, InvalidData
from core.paths import Paths


@dataclass(frozen=True)
class ModelSource:
    """Which model of which home is trained, and its configuration. parent: the checkpoint to continue from, null: the base."""

    name: str
    paths: Paths
    config: ModelConfig
    parent: str | None = None


@dataclass(frozen=True)
class DataSource:
    """One job's data: canonical lines (data.jsonl), and the folder in which plan.json is written or found."""

    job: str
    folder: Path
    skill: str | None = None
    level: int | None = None

    @property
    def lines(self) -> Path:
        """The canonical lines."""
        return self.folder / "data.jsonl"

    @property
    def plan(self) -> Path:
        """What is trained in which order."""
        return self.folder / "plan.json"


@dataclass(frozen=True)
class OutputConfig:
    """When checkpoints are made: at most every every_s seconds, at the end of a job and inside a long one."""

    every_s: float = 20.0
    save_at_end: bool = False


@dataclass(frozen=True)
class Environment:
    """What it runs on."""

    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class TrainerConfig:
    """The single source of a run. max_train_s bounds the time spent training (null: none); epochs is at least 1."""

    model: ModelSource
    data: DataSource
    hyperparams: TrainingConfig
    epochs: int = 1
    max_train_s: float | None = None
    output: OutputConfig = field(default_factory=OutputConfig)
    environment: Environment = field(default_factory=Environment)


def create_default_config(home: Path, job_folder: Path, model: str = "tiny", base: str = "builtin:tiny-qwen3") -> TrainerConfig:
    """Describe a run with every default: the job folder holds data.jsonl, a checkpoint in home/models is made at its end."""
    return TrainerConfig(
        model=ModelSource(name=model, paths=Paths(home), config=ModelConfig(base=base)),
        data=DataSource(job=job_folder.name, folder=job_folder),
        hyperparams=TrainingConfig(),
        output=OutputConfig(save_at_end=True),
    )


def validate(config: TrainerConfig) -> None:
    """Refuse a configuration that can train nothing. Raises InvalidConfig naming the key."""
    where = f"training of {config.data.job}"
    if config.environment.device != "cpu" and not config.environment.device.startswith("cuda"):
        raise InvalidConfig(path=where, detail=f"device {config.environment.device!r}; expected cpu or cuda:N")
    for key in ("micro_batch", "accumulation", "batch_tokens"):
        if getattr(config.hyperparams, key) < 1:
            raise InvalidConfig(path=where, detail=f"{key} is {getattr(config.hyperparams, key)}; expected at least 1")
    if config.environment.threads < 1:
        raise InvalidConfig(path=where, detail=f"threads is {config.environment.threads}; expected at least 1")
    if not 0.0 <= config.hyperparams.ema_decay < 1.0:
        raise InvalidConfig(path=where, detail=f"ema_decay is {config.hyperparams.ema_decay}; expected 0 up to below 1")


def validate_job(config: TrainerConfig) -> None:
    """Refuse a job whose own record or data can train nothing. Raises InvalidData."""
    where = f"job {config.data.job}"
    if config.epochs < 1:
        raise InvalidData(where=where, detail=f"epochs is {config.epochs}; expected at least 1")
    if not config.data.lines.is_file():
        raise InvalidData(where=where, detail=f"{config.data.lines} is missing")
    if config.data.lines.stat().st_size == 0:
        raise InvalidData(where=where, detail=f"{config.data.lines} is empty; expected at least one line")

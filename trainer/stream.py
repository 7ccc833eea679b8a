"""The stream: one long-lived model, optimizer, schedule, average and random state, across all jobs of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from core.config import TrainingConfig
from core.runs.run import RowSpan
from trainer.average import WeightAverage


@dataclass
class Pending:
    """Rows of one job that were trained and are in no checkpoint yet: plan rows start up to stop."""

    job: str
    rows: list[list[int]]
    rows_per_epoch: int
    start: int
    stop: int

    def spans(self) -> list[RowSpan]:
        """Give the rows as records, one for each epoch they touch."""
        found = []
        at = self.start
        while at < self.stop:
            epoch = at // self.rows_per_epoch
            end = min(self.stop, (epoch + 1) * self.rows_per_epoch)
            lines = sorted({line for row in self.rows[at:end] for line in row})
            found.append(RowSpan(job=self.job, rows_from=at, rows_to=end, lines=lines, epoch=epoch))
            at = end
        return found


@dataclass
class Stream:
    """Where training stands. checkpoint is the last one saved (or loaded); pending is what was trained since.

    settings is the configuration that optimizer, schedule and average were made by. companions are the files beside the weights
    by name, the tokenizer's above all, as they were when they were verified: what happens to the folder later is not handed on.
    """

    name: str
    checkpoint: str
    weights_id: str
    companions: Mapping[str, bytes]
    model: nn.Module
    tokenizer: Any
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    average: WeightAverage
    rng: dict[str, Any]
    settings: TrainingConfig
    step: int = 0
    tokens_seen: int = 0
    examples_seen: int = 0
    saved_mono: float = -math.inf
    pending: list[Pending] = field(default_factory=list)
    lineage: set[str] = field(default_factory=set)
    loss_sum: float = 0.0
    loss_steps: int = 0
    latest_pairs: list[tuple[list[int], list[int]]] = field(default_factory=list)

    @property
    def learning_rate(self) -> float:
        """Give the learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    @property
    def parameters(self) -> int:
        """Give how many parameters the model has."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def has_unsaved(self) -> bool:
        """Say whether rows were trained since the last checkpoint."""
        return any(part.stop > part.start for part in self.pending)

    def continues(self, name: str, settings: TrainingConfig, parent: str | None) -> bool:
        """Say whether it is what a job wants to continue: its model, its configuration, a history with its parent."""
        return self.name == name and self.settings == settings and (parent is None or parent in self.lineage)

    def trained_rows(self, job: str) -> int | None:
        """Say up to which row the plan of a job is trained in this stream; None when it was not trained lately."""
        return next((part.stop for part in reversed(self.pending) if part.job == job), None)

    def mark_saved(self, checkpoint: str, weights_id: str, mono: float) -> None:
        """Note that everything trained so far is in a checkpoint; the newest part stays, its job may be under way."""
        self.checkpoint, self.weights_id, self.saved_mono = checkpoint, weights_id, mono
        self.lineage.add(checkpoint)
        self.pending = self.pending[-1:]
        for part in self.pending:
            part.start = part.stop
        self.loss_sum, self.loss_steps = 0.0, 0

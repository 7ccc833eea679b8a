"""What a job trains in which order: fixed before step 1, written to plan.json, the same after every restart."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidData
from core.files import replace_durable
from core.records import encode, read_if_there
from core.runs.run import Plan
from core.text.labels import IGNORED
from trainer.config import TrainerConfig
from trainer.data.dataset import Feature, Row
from trainer.data.packing import batch_plan, line_numbers, pack


@dataclass(frozen=True)
class StepFacts:
    """What the plan says of each optimizer step of this call: rows, examples in them, input tokens, trained tokens."""

    rows: list[int]
    examples: list[int]
    tokens: list[int]
    trained: list[int]


@dataclass(frozen=True)
class Planned:
    """A plan with its data: features, and micro-batches of feature indexes in training order (all epochs)."""

    plan: Plan
    features: list[Feature]
    batches: list[list[int]]

    @property
    def rows_per_epoch(self) -> int:
        """Give the number of rows in one epoch."""
        return len(self.features)

    def remaining(self, rows_done: int) -> tuple[int, list[list[int]]]:
        """Give (steps done, micro-batches still to train) at a cursor. Raises InvalidData when it is no step's border."""
        seen = 0
        for steps, rows in enumerate([0, *self.plan.steps]):
            seen += rows
            if seen == rows_done:
                return steps, self.batches[steps * self.plan.accumulation :]
        raise InvalidData(where=f"job {self.plan.job}", detail=f"cursor {rows_done} is no border of a step of plan.json")


def make_plan(config: TrainerConfig, rows: Sequence[Row], packed: bool, first_step: int, parent: str) -> Planned:
    """Give the job's plan: the stored one if it was begun before, else a new one, written durably.

    Raises InvalidData when the data no longer gives the stored plan.
    """
    stored = read_if_there(Plan, config.data.plan)
    hyper = config.hyperparams
    settings = stored or Plan(
        job=config.data.job, model=config.model.name, parent=parent, first_step=first_step,
        seed=hyper.seed + zlib.crc32(config.data.job.encode()), epochs=config.epochs, packing=packed,
        micro_batch=hyper.micro_batch, batch_tokens=hyper.batch_tokens, accumulation=hyper.accumulation, rows=[], steps=[],
    )  # fmt: skip
    planned = _order(settings, rows, config.model.config.max_length)
    if stored is None:
        _write(config.data.plan, planned.plan)
    elif (stored.rows, stored.steps) != (planned.plan.rows, planned.plan.steps):
        raise InvalidData(
            where=str(config.data.plan),
            detail="data.jsonl no longer gives the stored plan: the tokenizer or max_length has changed; drop the data anew",
        )
    return planned


def _order(settings: Plan, rows: Sequence[Row], max_length: int) -> Planned:
    """Order the rows by the settings of a plan; epochs follow one another."""
    features = pack(rows, max(max_length, settings.batch_tokens)) if settings.packing else [row.feature() for row in rows]
    lengths = [len(feature["input_ids"]) for feature in features]
    lines = [line_numbers(feature) for feature in features]
    batches: list[list[int]] = []
    for epoch in range(settings.epochs):
        batches += batch_plan(lengths, settings.seed, epoch, settings.micro_batch, settings.batch_tokens)
    groups = [batches[at : at + settings.accumulation] for at in range(0, len(batches), settings.accumulation)]
    plan = Plan(
        job=settings.job, model=settings.model, parent=settings.parent, first_step=settings.first_step, seed=settings.seed,
        epochs=settings.epochs, packing=settings.packing, micro_batch=settings.micro_batch,
        batch_tokens=settings.batch_tokens, accumulation=settings.accumulation,
        rows=[lines[at] for batch in batches for at in batch],
        steps=[sum(len(batch) for batch in group) for group in groups],
    )  # fmt: skip
    return Planned(plan=plan, features=features, batches=batches)


def _write(path: Path, plan: Plan) -> None:
    replace_durable(path, encode(plan))


def step_facts(planned: Planned, batches: list[list[int]], steps_done: int) -> StepFacts:
    """Count what each optimizer step still to come takes."""
    lengths = [len(feature["input_ids"]) for feature in planned.features]
    trained = [sum(label != IGNORED for label in feature["labels"]) for feature in planned.features]
    examples = [len(feature.get("seq_lengths", [0])) for feature in planned.features]
    size = planned.plan.accumulation
    groups = [[at for batch in batches[start : start + size] for at in batch] for start in range(0, len(batches), size)]
    return StepFacts(
        rows=planned.plan.steps[steps_done:],
        examples=[sum(examples[at] for at in group) for group in groups],
        tokens=[sum(lengths[at] for at in group) for group in groups],
        trained=[sum(trained[at] for at in group) for group in groups],
    )

"""What a job trains in which order: fixed before step 1, written to plan.json, the same after every restart."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec

from core.errors import InvalidData
from core.files import replace_durable
from core.records import encode, read_if_there
from core.runs.run import Plan
from core.text.labels import IGNORED
from trainer.config import TrainerConfig
from trainer.data.dataset import Feature, Row
from trainer.data.packing import batch_plan, line_numbers, pack
from trainer.stream import Stream


@dataclass(frozen=True)
class StepFacts:
    """What the plan says of each optimizer step of this call: rows, examples in them, input tokens, trained tokens."""

    rows: list[int]
    examples: list[int]
    tokens: list[int]
    trained: list[int]


@dataclass(frozen=True)
class Rest:
    """What is left of a plan: how many rows each optimizer step takes, and the micro-batches of all of them.

    A step of nothing but lines that are left out is passed over; its rows count with the next step, or with the last one.
    """

    rows: list[int]
    batches: list[list[int]]


@dataclass(frozen=True)
class Planned:
    """A plan with its data: features, and micro-batches of feature indexes in training order (all epochs).

    left_out: lines that the plan names and the features no longer hold (trainer/poison.py).
    """

    plan: Plan
    features: list[Feature]
    batches: list[list[int]]
    left_out: frozenset[int] = frozenset()

    @property
    def rows_per_epoch(self) -> int:
        """Give the number of rows in one epoch."""
        return len(self.features)

    @property
    def rows(self) -> list[list[int]]:
        """Give the lines that each row of the plan trains."""
        if not self.left_out:
            return self.plan.rows
        return [[line for line in row if line not in self.left_out] for row in self.plan.rows]

    def remaining(self, rows_done: int) -> Rest:
        """Give what is still to train at a cursor. Raises InvalidData when it is no step's border."""
        borders = [0, *accumulate(self.plan.steps)]
        if rows_done not in borders:
            raise InvalidData(where=f"job {self.plan.job}", detail=f"cursor {rows_done} is no border of a step of plan.json")
        trained, size = self.rows, self.plan.accumulation
        rows: list[int] = []
        batches: list[list[int]] = []
        passed = 0
        for step, (start, end) in enumerate(pairwise(borders)):
            if start < rows_done:
                continue
            if not any(trained[start:end]):
                passed += end - start
                continue
            rows.append(passed + end - start)
            batches += self.batches[step * size : (step + 1) * size]
            passed = 0
        if rows:
            rows[-1] += passed
        return Rest(rows, batches)


def make_plan(config: TrainerConfig, rows: Sequence[Row], packed: bool, stream: Stream) -> Planned:
    """Give the job's plan: the stored one if it was begun before, else a new one, written durably.

    A stored one that was begun on what the stream's history does not hold (a reset took it back) begins anew where the stream
    is, in its own order. Raises InvalidData when the data no longer gives the stored plan.
    """
    stored = read_if_there(Plan, config.data.plan)
    is_taken_back = stored is not None and stored.parent is not None and stored.parent not in stream.lineage
    hyper = config.hyperparams
    settings = stored or Plan(
        job=config.data.job, model=config.model.name, parent=stream.checkpoint, first_step=stream.step,
        seed=hyper.seed + zlib.crc32(config.data.job.encode()), epochs=config.epochs, packing=packed,
        micro_batch=hyper.micro_batch, batch_tokens=hyper.batch_tokens, accumulation=hyper.accumulation, rows=[], steps=[],
    )  # fmt: skip
    planned = _order(settings, rows, config.model.config.max_length)
    if stored is not None and (stored.rows, stored.steps) != (planned.plan.rows, planned.plan.steps):
        raise InvalidData(
            where=str(config.data.plan),
            detail="data.jsonl no longer gives the stored plan: the tokenizer or max_length has changed; drop the data anew",
        )
    if is_taken_back:
        plan = msgspec.structs.replace(planned.plan, parent=stream.checkpoint, first_step=stream.step)
        planned = replace(planned, plan=plan)
    if stored is None or is_taken_back:
        _write(config.data.plan, planned.plan)
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


def is_empty(feature: Feature) -> bool:
    """Say whether a row only keeps the place of lines that are left out."""
    return feature["line"] == [0]


def step_facts(planned: Planned, rest: Rest) -> StepFacts:
    """Count what each optimizer step still to come takes."""
    lengths = [0 if is_empty(feature) else len(feature["input_ids"]) for feature in planned.features]
    trained = [sum(label != IGNORED for label in feature["labels"]) for feature in planned.features]
    examples = [0 if is_empty(feature) else len(feature.get("seq_lengths", [0])) for feature in planned.features]
    size, batches = planned.plan.accumulation, rest.batches
    groups = [[at for batch in batches[start : start + size] for at in batch] for start in range(0, len(batches), size)]
    return StepFacts(
        rows=rest.rows,
        examples=[sum(examples[at] for at in group) for group in groups],
        tokens=[sum(lengths[at] for at in group) for group in groups],
        trained=[sum(trained[at] for at in group) for group in groups],
    )

"""What train_next and the trainer child say to each other, in files inside processing/<job>/.

train_next writes run.json and order.json; the trainer child writes plan.json, progress.json and result.json.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from core.process import ProcessRef
from core.records import Part, Record


class Outcome(StrEnum):
    """How a run ended. Only `completed` completes a job."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    PAUSED = "paused"
    SKIPPED = "skipped"
    FAILED = "failed"
    DIVERGED = "diverged"


class RunRequest(Record, frozen=True, tag="weaver.run/1"):
    """run.json: train this job. parent is the checkpoint to continue from (null: the base of the model).

    turn: jobs are trained in this order, also again; no time, as a clock may be set. waits: not before train_next calls it.
    """

    job: str
    model: str
    parent: str | None
    epochs: int
    max_train_s: float | None
    attempt: int
    at: str
    turn: int = 0
    waits: bool = False

    @property
    def place(self) -> tuple[int, str, str]:
        """Give what requests are sorted by; those of an older version have no turn, but a time."""
        return self.turn, self.at, self.job


class JobOrder(Record, frozen=True, tag="weaver.job-order/1"):
    """order.json: what a person wants of the running job; the trainer looks with one stat at every step."""

    verb: Literal["pause", "stop", "skip"]
    order: str
    at: str


class RowSpan(Part, frozen=True):
    """Rows of a job that went into a checkpoint since its parent.

    rows count optimizer-ordered rows of plan.json from 0, half-open; lines are the line numbers of data.jsonl (from 1), sorted.
    """

    job: str
    rows_from: int
    rows_to: int
    lines: list[int]
    epoch: int


class Plan(Record, frozen=True, tag="weaver.plan/1"):
    """plan.json: fixed before step 1. rows[i]: the line numbers (from 1) in row i; steps[k]: how many rows step k takes.

    What the order follows from stands beside it, so that a resumed job keeps it when the configuration has changed meanwhile.
    """

    job: str
    model: str
    parent: str | None
    first_step: int
    seed: int
    epochs: int
    packing: bool
    micro_batch: int
    batch_tokens: int
    accumulation: int
    rows: list[list[int]]
    steps: list[int]


class Progress(Record, frozen=True, tag="weaver.progress/1"):
    """progress.json: where the run is. Steps are global steps of the model; total_steps is where the present job ends."""

    job: str
    model: str
    phase: Literal["load", "tokenise", "train", "evaluate", "save", "idle"]
    step: int
    total_steps: int
    loss: float | None
    loss_smoothed: float | None
    learning_rate: float | None
    grad_norm: float | None
    tokens_per_s: float | None
    trained_token_ratio: float | None
    tokens_seen: int
    eta_s: float | None
    at: str


class RunResult(Record, frozen=True, tag="weaver.result/1"):
    """result.json: how the run ended. checkpoint is the newest one that holds this job's rows, null if none was due.

    by is the trainer that has the rows in its memory: if it dies before a checkpoint holds them, they are trained again.
    """

    job: str
    model: str
    outcome: Outcome
    global_step: int
    rows_done: int
    runtime_s: float
    train_s: float
    tokens: int
    checkpoint: str | None
    final_loss: float | None
    summary: str
    error: str | None
    permanent: bool
    by: ProcessRef
    at: str

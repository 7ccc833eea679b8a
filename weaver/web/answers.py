"""What the routes answer with: one type each, made of the records that the files hold.

Place in the flow: the routes fill them, weaver/web/openapi.py describes them, the page and other clients read them. Reads and
writes no file. Invariant: what a route sends is an instance of a type in here or of a record of core, never a bare dict.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from core.checkpoints.checkpoint import Checkpoint
from core.evals.score import Score
from core.jobs.job import Attempt, Job, Reason
from core.records import Part, Record
from core.runs.run import Progress, RunResult
from weaver.best import BestOf
from weaver.checkpoint_rows import CheckpointRow


class Health(Part, frozen=True):
    """GET /health: there is somebody, and nothing more."""

    status: Literal["ok"] = "ok"


class LoggedIn(Part, frozen=True):
    """POST /login: the cookie came with it."""

    ok: Literal[True] = True


class LoginCode(Part, frozen=True):
    """POST /api/login-code: a code that is good once, for so many seconds."""

    code: str
    expires_s: float


class ErrorDetail(Part, frozen=True):
    """Which error, for programs and for people."""

    code: str
    message: str


class ErrorAnswer(Part, frozen=True):
    """Every answer that is not good."""

    error: ErrorDetail


class JobRow(Job, frozen=True, kw_only=True, tag="weaver.job/1"):
    """job.json and the state that the job is in."""

    state: str


class DamagedJob(Record, frozen=True, tag="weaver.damaged-job/1"):
    """A job whose record cannot be read, and why."""

    id: str
    state: str
    error: str


class JobPage(Part, frozen=True):
    """GET /api/queue; next is the `after` of the following page, null on the last one."""

    jobs: list[JobRow | DamagedJob]
    next: str | None


class RefusedLine(Part, frozen=True):
    """One quarantined line: where it was, why it was refused, and how it begins (what is not UTF-8 is written as \\xNN)."""

    line: int
    offset: int | None
    code: str
    reason: str
    text: str


class JobDetail(JobRow, frozen=True, kw_only=True, tag="weaver.job/1"):
    """GET /api/queue/{job}; why it lies in rejected or failed, and the first of its refused lines (more: not all of them)."""

    why: Reason | None
    attempts: list[Attempt]
    progress: Progress | None
    result: RunResult | None
    refused: list[RefusedLine]
    more: bool


class DropTaken(Part, frozen=True):
    """POST /api/inbox: the name under which the file lies in the inbox; no job before it is validated."""

    drop: str
    job: None = None


class LedgerRow(CheckpointRow, frozen=True, kw_only=True):
    """A checkpoint and its right answers / questions asked, null where it has no place in the ranking."""

    accuracy: float | None


class LedgerPage(Part, frozen=True):
    """GET /api/ledger."""

    checkpoints: list[LedgerRow]
    next: int | None


class ModelSummary(Part, frozen=True):
    """How many checkpoints a model has, which is the head and what is served; null: there is none."""

    model: str
    recorded: int
    present: int
    on_chain: int
    head: str | None
    serving: str | None
    previous: str | None
    newest: str | None
    step: int | None
    tokens_seen: int | None
    examples_seen: int | None
    pinned: list[str]


class LedgerSummary(Part, frozen=True):
    """GET /api/ledger/summary."""

    models: list[ModelSummary]


class Best(Part, frozen=True):
    """GET /api/ledger/best."""

    metric: str
    best: list[BestOf]


ScoreRow = msgspec.defstruct(
    "ScoreRow",
    [(field.name, field.type) for field in msgspec.structs.fields(Score) if field.name != "items"],
    frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="schema", tag="weaver.score/1",
    namespace={"__doc__": "A score without its items."},
)  # fmt: skip


class CheckpointDetail(Checkpoint, frozen=True, kw_only=True, tag="weaver.checkpoint/1"):
    """GET /api/ledger/{checkpoint}: its record, where it stands, its scores without their items."""

    id: str
    weights_id: str | None
    present: bool
    on_chain: bool
    head: bool
    served: bool
    pinned: bool
    resumable: bool
    scores: list[ScoreRow]  # type: ignore[valid-type]

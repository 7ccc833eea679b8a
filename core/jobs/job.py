"""A job and what a person may say about it: the records inside a job folder (CONTRACTS.md sections 4 and 6).

job.json is written once by watch_inbox and never rewritten; state and priority are the folder the job lies in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from core.errors import CorruptRecord
from core.records import Part, Record, read_if_there

Priority = Literal["high", "normal", "low"]
Spec = Literal["chat_sft_v1", "completion_v1", "syllo_v1", "text_v1"]


class JobTraining(Part, frozen=True):
    """What a sidecar may set for the training of its own job."""

    epochs: int | None = None


class Sidecar(Record, frozen=True, tag="weaver.sidecar/1"):
    """<file name>.meta.json beside a drop: how to read it and what made it. All keys optional."""

    columns: dict[str, str] | None = None
    spec: Spec | None = None
    priority: Priority | None = None
    model: str | None = None
    training: JobTraining = JobTraining()
    drop_duplicate_lines: bool = False
    force: bool = False
    generator_id: str | None = None
    generator_version: str | None = None
    generated_at: str | None = None
    example_count: int | None = None
    params: dict[str, Any] = {}
    source: str | None = None
    made_for: str | None = None


class Maker(Part, frozen=True):
    """Who generated or validated, and which version of it."""

    id: str
    version: str


class LineCounts(Part, frozen=True):
    """dropped = accepted + rejected + duplicate, always. Unknown (a file never read as lines) is null in the job."""

    dropped: int
    accepted: int
    rejected: int
    duplicate: int = 0


class TokenCounts(Part, frozen=True):
    """Token lengths of the accepted lines."""

    min: int
    median: int
    p95: int
    p99: int
    max: int
    total: int


class Reason(Part, frozen=True):
    """Why a line or a file was refused: a code of CONTRACTS.md section 5 and a sentence a person understands."""

    code: str
    message: str


class Job(Record, frozen=True, tag="weaver.job/1"):
    """job.json: one drop and what validation found. name is the file's own name.

    content_sha256 is the digest of the canonical lines, null when there is none; lines is null when the drop was never read.
    """

    id: str
    name: str
    received_at: str
    bytes: int
    content_sha256: str | None
    spec: Spec | None
    source: str
    priority: Priority
    model: str
    made_for: str | None
    generator: Maker | None
    validator: Maker
    lines: LineCounts | None
    tokens: TokenCounts | None
    reason: Reason | None
    duplicate_of: str | None
    training: JobTraining = JobTraining()


def readable_job(folder: Path) -> Job | None:
    """Read the record of the job in a folder; None where it is gone, or damaged: train_next fails such a job in its turn."""
    try:
        return read_if_there(Job, folder / "job.json")
    except CorruptRecord:
        return None


class QuarantinedLine(Record, frozen=True, tag="weaver.quarantined-line/1"):
    """One line of quarantine.jsonl: line counts from 1, offset in bytes from the start of the drop, once unpacked.

    Of a CSV, Parquet or JSON file, line is the record, row or element, and offset is null: raw_b64 is it as JSON, or its text.
    """

    line: int
    offset: int | None
    code: str
    reason: str
    raw_b64: str


class Line(Part, frozen=True):
    """One canonical line of data.jsonl, as trained. meta holds the other top-level keys of the dropped line."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    meta: dict[str, Any] = {}


DEATH = "trainer died"
"""Outcome of an attempt during which the trainer's process died; step is the last one it had finished."""


class Attempt(Record, frozen=True, tag="weaver.attempt/1"):
    """One line of attempts.jsonl (checksummed append): a claim or the end of one.

    replayed: optimizer steps of this job, as last told, that died with a trainer before a checkpoint held them and come again.
    """

    at: str
    event: Literal["claimed", "adopted", "returned", "finished"]
    by: str
    outcome: str | None = None
    detail: str | None = None
    step: int | None = None
    replayed: int | None = None


class Claim(Record, frozen=True, tag="weaver.claim/1"):
    """claim.json: the lease of train_next on a job in processing/. origin: the priority it came from, set by the spool."""

    job: str
    owner: str
    pid: int
    start_ticks: int
    boot_id: str
    at: str
    origin: Priority | None = None

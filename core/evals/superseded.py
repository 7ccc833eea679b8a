"""Checkpoints that were passed over: a newer one was scored before their turn came, so nobody asks them again.

Place in the flow: probe_checkpoints appends one line for each; it and people read them. File: models/<model>/superseded.jsonl.
Invariant: a line is never taken back, and a checkpoint has at most one.
"""

from __future__ import annotations

from core.files import append_record, read_records
from core.paths import ModelPaths
from core.records import Record, decode, encode


class Superseded(Record, frozen=True, tag="weaver.superseded/1"):
    """One line: this checkpoint was not examined because its descendant `by` already was."""

    checkpoint: str
    by: str
    at: str


def read_superseded(model: ModelPaths) -> dict[str, str]:
    """Give the superseded checkpoints and what was scored instead. Raises CorruptRecord, NewerRecord."""
    records = (decode(Superseded, record, str(model.superseded)) for record in read_records(model.superseded))
    return {record.checkpoint: record.by for record in records}


def append_superseded(model: ModelPaths, record: Superseded) -> None:
    """Append a line durably. Only probe_checkpoints may call this, once for each checkpoint."""
    append_record(model.superseded, encode(record))

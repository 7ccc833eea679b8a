"""Identifiers: of jobs, checkpoints, models, hosts. All match [a-z0-9][a-z0-9._-]{0,99} and never are paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from datetime import UTC, datetime

from core.clock import compact
from core.errors import UsageError

_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_CHECKPOINT = re.compile(r"checkpoint-([0-9]{1,18})-([0-9]{8})-([0-9]{4})(?:-([0-9]{1,9}))?")


def is_identifier(text: str) -> bool:
    """Say whether text may be an id."""
    return _IDENTIFIER.fullmatch(text) is not None and ".." not in text


def identifier(text: str, kind: str) -> str:
    """Give text back if it may be an id; else raise UsageError naming its kind."""
    if not is_identifier(text):
        raise UsageError(detail=f"{text!r} is not a {kind} id: expected lower-case letters, digits, '.', '_', '-'.")
    return text


def recordable(text: str) -> str:
    """Give text as any record can hold it: what stands for bytes that are not UTF-8 (as in a file name) becomes \\udcNN."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def slug(text: str, longest: int = 40) -> str:
    """Make a readable id part from any file name; 'drop' when nothing readable is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:longest].strip("-") or "drop"


def job_id(received: datetime, content_sha256: str, name: str) -> str:
    """Name a job: <compact utc>-<8 hex of content>-<slug>; names sort by arrival."""
    return f"{compact(received)}-{content_sha256[:8]}-{slug(name)}"


def checkpoint_name(step: int, at: datetime, taken: Container[str] = ()) -> str:
    """Name a checkpoint: checkpoint-<step>-<YYYYMMDD>-<HHMM>, with -2, -3 ... appended while taken."""
    base = f"checkpoint-{step}-{at.astimezone(UTC).strftime('%Y%m%d-%H%M')}"
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base}-{n}"
    return name


def checkpoint_order(name: str) -> tuple[int, str, str, int]:
    """Give a sort key: integer step first, then time. Raises UsageError if name is no checkpoint name."""
    match = _CHECKPOINT.fullmatch(name)
    if match is None:
        raise UsageError(detail=f"{name!r} is not a checkpoint name: expected checkpoint-<step>-<YYYYMMDD>-<HHMM>.")
    return int(match[1]), match[2], match[3], int(match[4] or 1)


def is_checkpoint(name: str) -> bool:
    """Say whether name is a checkpoint name."""
    return _CHECKPOINT.fullmatch(name) is not None


def checkpoint_step(name: str) -> int:
    """Give the optimizer step in a checkpoint name."""
    return checkpoint_order(name)[0]

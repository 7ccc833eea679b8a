"""The jobs of the queue as a list: those that train and wait in the order they will go, then those that ended, newest first.

Place in the flow: `weaver queue ls` prints it. Reads queue/, writes nothing. Invariants: of a thousand jobs only those that are
shown are read; a job whose record cannot be read is shown with the reason instead of being left out.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

from core.clock import from_iso
from core.errors import InvalidData, NotFound, UsageError
from core.jobs.finding import in_line
from core.jobs.job import Job, LineCounts, Priority, Reason
from core.jobs.spool import Spool
from core.paths import PRIORITIES, STATES, Paths
from core.records import Part, Record

QUEUED = "queued"
ENDED = ("failed", "rejected", "completed")
ASKED = (QUEUED, *STATES)


class JobLine(Part, frozen=True):
    """One job. state is its folder; tokens of all its lines; error: its record cannot be read, so the rest is null."""

    id: str
    state: str
    name: str | None = None
    priority: Priority | None = None
    model: str | None = None
    received_at: str | None = None
    age_s: float | None = None
    lines: LineCounts | None = None
    tokens: int | None = None
    reason: Reason | None = None
    error: str | None = None


class QueueList(Record, frozen=True, tag="weaver.queue-list/1"):
    """`weaver queue ls --json`. counts by state and of `inbox`; validating: drops without a verdict; more: jobs not listed."""

    jobs: list[JobLine]
    more: int
    counts: dict[str, int]
    validating: int
    paused: bool


def list_jobs(paths: Paths, state: str | None, limit: int, now: datetime) -> QueueList:
    """List the first `limit` jobs (0: all) of a state, of all queued ones, or of every state. Raises UsageError."""
    if state is not None and state not in ASKED:
        raise UsageError(detail=f"{state!r} is not a state of jobs; expected one of {', '.join(ASKED)}.")
    spool = Spool(paths)
    counts = spool.counts()
    ids = _ids(paths, spool, state)
    lines, taken = list[JobLine](), 0
    for job in ids:
        if limit and len(lines) == limit:
            break
        taken += 1
        line = _describe(spool, job, now)
        if line is not None:
            lines.append(line)
    validating = max(0, spool.undecided() - counts["inbox"])
    return QueueList(jobs=lines, more=len(ids) - taken, counts=counts, validating=validating, paused=paths.paused.exists())


def _ids(paths: Paths, spool: Spool, state: str | None) -> list[str]:
    if state == QUEUED:
        return in_line(paths)
    if state in PRIORITIES:
        there = set(spool.list(state))
        return [job for job in in_line(paths) if job in there]
    if state is not None:
        jobs = spool.list(state)
        return jobs if state == "processing" else jobs[::-1]
    ended = sorted((job for name in ENDED for job in spool.list(name)), reverse=True)
    return list(dict.fromkeys([*spool.list("processing"), *in_line(paths), *ended]))


def _describe(spool: Spool, job: str, now: datetime) -> JobLine | None:
    """Describe one job; None when it was taken away meanwhile."""
    try:
        state, record = spool.read(job)
        return _line(spool, state, record, now)
    except NotFound:
        return None
    except InvalidData as error:
        return JobLine(id=job, state=spool.find(job), error=str(error))


def _line(spool: Spool, state: str, record: Job, now: datetime) -> JobLine:
    return JobLine(
        id=record.id, state=state, name=record.name, priority=cast(Priority, state) if state in PRIORITIES else record.priority,
        model=record.model, received_at=record.received_at, lines=record.lines,
        age_s=round(max(0.0, (now - from_iso(record.received_at)).total_seconds()), 1),
        tokens=record.tokens.total if record.tokens else None,
        reason=spool.reason(record.id) if state in ("rejected", "failed") else None,
    )  # fmt: skip

"""Which job a person means, what became of a drop, and in which order the queued jobs are claimed.

Place in the flow: the verbs of `weaver queue` ask here. Reads queue/, writes nothing. Invariant: a name that fits several jobs
is never taken for one of them; a drop is looked for along the way it goes, so one that moves meanwhile is not missed.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from pathlib import Path

from core.errors import Ambiguous, InvalidData, NotFound, UsageError
from core.jobs.inbox import stem, waiting
from core.jobs.job import Job, LineCounts, Reason, TokenCounts, readable_job
from core.jobs.order import claim_order
from core.jobs.spool import Spool
from core.names import slug
from core.paths import PRIORITIES, STATES, Paths
from core.records import Record

SHOWN = 8
WAITING = ("inbox", "validating")


class Receipt(Record, frozen=True, tag="weaver.receipt/1"):
    """What became of a drop. state: inbox, validating, or that of its job; the rest is null until there is a job."""

    drop: str
    state: str
    job: str | None = None
    lines: LineCounts | None = None
    tokens: TokenCounts | None = None
    reason: Reason | None = None
    duplicate_of: str | None = None


def all_jobs(spool: Spool) -> dict[str, str]:
    """Give the state of every job by its id; of one that moves meanwhile, the last one seen."""
    return {job: state for state in STATES for job in spool.list(state)}


def resolve(spool: Spool, text: str) -> str:
    """Give the id of the job that a person means by its id, its file's name, or a beginning or part of its id.

    The first of these that fits any job decides. Raises NotFound, Ambiguous when it fits several, UsageError.
    """
    wanted = Path(text).name  # the path of a job's folder or of the dropped file names it too
    if not wanted:
        raise UsageError(detail=f"{text!r} names no job: expected an id, a part of one, or the name of a dropped file.")
    jobs = all_jobs(spool)
    if wanted in jobs:
        return wanted
    for fits in (_named(spool, jobs, wanted), _starting(jobs, wanted), _containing(jobs, wanted)):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise Ambiguous(name=text, count=len(fits), known=_shown(spool, fits))
    raise NotFound(kind="job", name=text, known=_shown(spool, sorted(jobs)) if jobs else "none, the queue is empty")


def _named(spool: Spool, jobs: Container[str], name: str) -> list[str]:
    """Give the jobs of a file name; only records of jobs whose ids say that they may have it are read."""
    return [job for job, _ in _records_named(spool, name) if job in jobs]


def _records_named(spool: Spool, name: str) -> Iterator[tuple[str, Job]]:
    ending = f"-{slug(stem(name))}"
    for job in sorted(all_jobs(spool), reverse=True):
        if job.endswith(ending):
            try:
                record = spool.read(job)[1]
            except (NotFound, InvalidData):
                continue
            if record.name == name:
                yield job, record


def _starting(jobs: dict[str, str], text: str) -> list[str]:
    return sorted(job for job in jobs if job.startswith(text.lower()))


def _containing(jobs: dict[str, str], text: str) -> list[str]:
    return sorted(job for job in jobs if text.lower() in job)


def _shown(spool: Spool, jobs: list[str]) -> str:
    """Name the newest of some jobs with their states."""
    states = all_jobs(spool)
    named = ", ".join(f"{job} ({states.get(job, 'moved')})" for job in sorted(jobs, reverse=True)[:SHOWN])
    return named + (f" and {len(jobs) - SHOWN} more, see `weaver queue ls`" if len(jobs) > SHOWN else "")


def receipt(paths: Paths, drop: str, earlier: Container[str] = ()) -> Receipt | None:
    """Say what became of the newest drop of a name, jobs in `earlier` left aside; None when nothing is known of it."""
    drop = Path(drop).name  # its path names it too
    if drop in waiting(paths.inbox):
        return Receipt(drop=drop, state="inbox")
    if _is_building(paths, drop):
        return Receipt(drop=drop, state="validating")
    spool = Spool(paths)
    for job, record in _records_named(spool, drop):
        if job not in earlier:
            return receipt_of(spool, job, record)
    return None


def _is_building(paths: Paths, drop: str) -> bool:
    """Say whether a drop of this name seems to be validated: its private folder ends in what its job's id will end in."""
    ending = f"-{slug(stem(drop))}"
    try:
        return any(name.endswith(ending) for name in os.listdir(paths.building))  # noqa: PTH208
    except FileNotFoundError:
        return False


def receipt_of(spool: Spool, job: str, record: Job) -> Receipt:
    """Give the receipt of a job. Raises NotFound."""
    return Receipt(
        drop=record.name, state=spool.find(job), job=job, lines=record.lines, tokens=record.tokens, reason=spool.reason(job),
        duplicate_of=record.duplicate_of,
    )  # fmt: skip


def in_line(paths: Paths) -> list[str]:
    """Give the queued jobs in the order in which they will be claimed, as Spool.oldest() chooses."""
    return [job for priority in PRIORITIES for job in claim_order(paths.state(priority))]


def read_queued(paths: Paths, job: str) -> Job | None:
    """Read the record of a queued job; None when it was claimed or moved meanwhile, or is damaged and will not be trained."""
    for priority in PRIORITIES:
        record = readable_job(paths.state(priority) / job)
        if record is not None:
            return record
    return None

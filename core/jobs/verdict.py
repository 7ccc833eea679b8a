"""The end of intake: what is in a drop's private folder becomes a job, queued or rejected, by one rename.

Place in the flow: watch_inbox calls decide() when a drop is read, refused() when it never is, then publish(). Files written:
job.json in queue/.building/<id>/; published: queue/{high,normal,low,rejected}/<job>/. Invariants: job.json is written before
anything is tidied away, so a kill in between changes nothing; a rejected drop keeps everything, a queued one all refused lines.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec

from core.clock import from_iso, iso
from core.errors import AlreadyExists, CorruptRecord, InvalidData, NotFound
from core.files import OPS, Ops, replace_durable, replace_quick
from core.jobs.drop import Taken, final_id, priority_of
from core.jobs.intake import Intake
from core.jobs.job import Job, Maker, Reason, Sidecar
from core.jobs.spool import Spool
from core.jobs.tally import Tally
from core.jobs.unpack.order import ANSWER, LINES
from core.paths import PRIORITIES, Paths
from core.records import encode_pretty, read, read_if_there

VALIDATOR = Maker(id="watch_inbox", version="1.0.0")
_UNCOUNTED = ("unreadable", "not_a_regular_file", "too_big", "unknown_ending")


class Contents:
    """Which job has which content: a view of the spool in memory, built at first use. Rejected jobs do not count."""

    def __init__(self, spool: Spool, paths: Paths) -> None:
        self._spool, self._paths = spool, paths
        self._jobs: dict[tuple[str, str], str] | None = None

    def job_with(self, model: str, content_sha256: str) -> str | None:
        """Give the job that has this content for this model and was not rejected or taken out since."""
        job = self._known().get((model, content_sha256))
        if job is None:
            return None
        try:
            return None if self._spool.find(job) == "rejected" else job
        except NotFound:
            return None

    def add(self, job: Job) -> None:
        """Remember a job that was queued."""
        if job.reason is None and job.content_sha256:
            self._known()[(job.model, job.content_sha256)] = job.id

    def _known(self) -> dict[tuple[str, str], str]:
        if self._jobs is None:
            self._jobs = {}
            for state in (*PRIORITIES, "processing", "completed", "failed"):
                for name in self._spool.list(state):
                    try:
                        job = read(Job, self._paths.state(state) / name / "job.json")
                    except (OSError, InvalidData):  # moved on since, or not ours to judge
                        continue
                    if job.content_sha256 is not None:
                        self._jobs[(job.model, job.content_sha256)] = job.id
        return self._jobs


def refused(taken: Taken, sidecar: Sidecar, model: str, reason: Reason) -> Job:
    """Give the record of a drop that was never read."""
    return _job(taken, sidecar, model, None, reason, None)


def decide(
    taken: Taken, sidecar: Sidecar, model: str, intake: Intake, reject_share: float, known: Callable[[str, str], str | None]
) -> Job:
    """Give the record of a drop that was read to its end; its reason says why it is rejected, if it is.

    known(model, content_sha256): the earlier job with the same canonical lines.
    """
    reason = intake.tally.verdict(reject_share)
    earlier = known(model, intake.content_sha256) if intake.tally.accepted and not sidecar.force else None
    if reason is None and earlier is not None:
        reason = Reason(
            code="duplicate",
            message=f"job {earlier} has the very same lines; to train them again, drop the file with "
            '{"schema": "weaver.sidecar/1", "force": true} as <its name>.meta.json beside it',
        )
    is_duplicate = reason is not None and reason.code == "duplicate" and earlier is not None
    return _job(taken, sidecar, model, intake, reason, earlier if is_duplicate else None)


def _job(
    taken: Taken, sidecar: Sidecar, model: str, intake: Intake | None, reason: Reason | None, duplicate_of: str | None
) -> Job:
    is_counted = intake is not None and not (reason is not None and reason.code in _UNCOUNTED)
    sha256 = intake.content_sha256 if intake is not None and intake.tally.accepted else None
    made = sidecar.generator_id
    return Job(
        id=final_id(taken.name, taken.received_at, sha256), name=taken.name, received_at=taken.received_at, bytes=taken.bytes,
        content_sha256=sha256, spec=intake.tally.spec if intake else None, source=sidecar.source or "person",
        priority=priority_of(taken, sidecar), model=model, made_for=sidecar.made_for,
        generator=Maker(id=made, version=sidecar.generator_version or "unknown") if made else None, validator=VALIDATOR,
        lines=intake.tally.counts() if intake and is_counted else None,
        tokens=intake.tally.token_counts() if intake else None,
        reason=reason, duplicate_of=duplicate_of, training=sidecar.training,
    )  # fmt: skip


def write_job(folder: Path, job: Job, ops: Ops = OPS) -> None:
    """Fix the verdict. From here on the drop only has to be published; publish() flushes it before anything else goes."""
    replace_quick(folder / "job.json", encode_pretty(job), ops)


def has_verdict(folder: Path) -> bool:
    """Say whether a drop was decided. Raises CorruptRecord, NewerRecord.

    A record that a power cut tore before it was flushed is forgotten: until then the drop itself is there, to be read again.
    """
    path = folder / "job.json"
    try:
        return read_if_there(Job, path) is not None
    except CorruptRecord:
        if not os.path.lexists(folder / "raw"):
            raise
        path.unlink()
        return False


def publish(spool: Spool, folder: Path, ops: Ops = OPS) -> Job:
    """Tidy a decided drop up and move it into the queue or to rejected/; called again after a kill it goes on."""
    job = read(Job, folder / "job.json")
    tally = read_if_there(Tally, folder / "cursor.json")
    seal_job(folder, job, ops)
    if job.reason is None and tally is not None and not tally.needs_raw:
        (folder / "raw").unlink(missing_ok=True)
    torn = [path.name for path in folder.iterdir() if path.name.startswith(".")]  # half-written when we were killed
    for name in (*torn, "cursor.json", "taken.json", ANSWER, LINES):
        (folder / name).unlink(missing_ok=True)
    while True:
        try:
            spool.publish(folder, job.id, "rejected" if job.reason else job.priority)
            return job
        except AlreadyExists:  # the clock was set back to the very millisecond of an earlier drop
            later = from_iso(job.received_at) + timedelta(milliseconds=1)
            job = msgspec.structs.replace(job, received_at=iso(later), id=final_id(job.name, iso(later), job.content_sha256))
            replace_durable(folder / "job.json", encode_pretty(job), ops)  # raw may be gone already


def seal_job(folder: Path, job: Job, ops: Ops = OPS) -> None:
    """Flush what we wrote, and the sidecar. Else what was dropped is left alone: it may be a pipe, which would not answer.

    attempts.jsonl of a queued job is begun here, with an empty line, so that its first record costs one flush and not three.
    """
    if job.reason is None and not (folder / "attempts.jsonl").exists():
        ops.write_new(folder / "attempts.jsonl", b"\n")
    for name in ("job.json", "sidecar.json", "data.jsonl", "quarantine.jsonl"):
        path = folder / name
        if path.is_file() and path.stat().st_size:
            ops.fsync(path)
    ops.fsync(folder)

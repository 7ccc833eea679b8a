"""GET /api/queue and /api/queue/{id}: the jobs, read from their folders.

Place in the flow: core.jobs.spool finds them. Invariant: only reads; a job that is moved while it is read is shown where it
went, one whose record cannot be read is shown with the reason instead of being left out.
"""

from __future__ import annotations

import base64
import bisect
import itertools
from pathlib import Path

import msgspec
from starlette.responses import Response

from core.errors import InvalidData, NotFound, UsageError
from core.jobs.job import QuarantinedLine
from core.jobs.spool import Spool
from core.paths import STATES, Paths
from core.records import read_if_there
from core.runs.run import Progress, RunResult
from weaver.web.answers import DamagedJob, JobDetail, JobPage, JobRow, RefusedLine
from weaver.web.replies import reply

MOST_JOBS = 500
SHOWN_LINES = 20
SHOWN_BYTES = 240
_QUARANTINE_BYTES = 1 << 22


class QueueApi:
    """The queue routes."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._spool = Spool(paths)

    def jobs(self, state: str | None = None, limit: int = 50, after: str = "", newest: bool = False) -> Response:
        """List jobs as they arrived, which is the order of their ids, or newest first; next is the `after` of the next page."""
        state = state or None  # `?state=` asks for all
        if state is not None and state not in STATES:
            raise UsageError(detail=f"{state!r} is not a state of jobs; expected one of {', '.join(STATES)}.")
        if not 1 <= limit <= MOST_JOBS:
            raise UsageError(detail=f"limit is {limit}; expected 1 to {MOST_JOBS}.")
        ids = sorted({job for name in ((state,) if state else STATES) for job in self._spool.list(name)})
        if newest:
            rest = ids[: bisect.bisect_left(ids, after) if after else None][::-1]
        else:
            rest = ids[bisect.bisect_right(ids, after) :]
        page = rest[:limit]
        found = [job for job in map(self._describe, page) if job is not None and state in (None, job.state)]
        return reply(JobPage(jobs=found, next=page[-1] if len(rest) > limit else None))

    def _describe(self, job: str) -> JobRow | DamagedJob | None:
        try:
            state, record = self._spool.read(job)
        except NotFound:
            return None
        except InvalidData as error:
            return DamagedJob(id=job, state=self._spool.find(job), error=str(error))
        return JobRow(**msgspec.structs.asdict(record), state=state)

    def job(self, job: str) -> Response:
        """Show one job: its record and state, why it was refused, its attempts, how far it is and how it ended."""
        row = self._describe(job)
        if row is None:
            raise NotFound(kind="job", name=job, known="see GET /api/queue")
        if isinstance(row, DamagedJob):
            return reply(row)
        folder = self._spool.folder(job)
        refused, more = _refused(folder / "quarantine.jsonl")
        return reply(JobDetail(
            **msgspec.structs.asdict(row), why=self._spool.reason(job), attempts=list(self._spool.read_attempts(job)),
            progress=read_if_there(Progress, folder / "progress.json"), result=read_if_there(RunResult, folder / "result.json"),
            refused=refused, more=more,
        ))  # fmt: skip


def _refused(path: Path) -> tuple[list[RefusedLine], bool]:
    """Give the first refused lines of a job and whether there are more. A line that is no record of ours is passed over."""
    decoder, found = msgspec.json.Decoder(QuarantinedLine), list[RefusedLine]()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(itertools.islice(file, SHOWN_LINES + 1)):
                if number == SHOWN_LINES or file.tell() > _QUARANTINE_BYTES:
                    return found, True
                try:
                    refused = decoder.decode(line)
                except msgspec.DecodeError:
                    continue
                found.append(RefusedLine(
                    line=refused.line, offset=refused.offset, code=refused.code, reason=refused.reason, text=_text(refused),
                ))  # fmt: skip
    except FileNotFoundError:
        return [], False
    return found, False


def _text(line: QuarantinedLine) -> str:
    """Give how a refused line begins."""
    kept = line.raw_b64[: SHOWN_BYTES // 3 * 4]
    return base64.b64decode(kept).decode("utf-8", "backslashreplace")

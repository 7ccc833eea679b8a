"""GET /api/queue and /api/queue/{id}: the jobs, read from their folders.

Place in the flow: core.jobs.spool finds them. Invariant: only reads; a job that is moved while it is read is shown where it
went, one whose record cannot be read is shown with the reason instead of being left out.
"""

from __future__ import annotations

import bisect
from typing import Any

from starlette.responses import Response

from core.errors import InvalidData, NotFound, UsageError
from core.jobs.spool import Spool
from core.paths import STATES, Paths
from core.records import read_if_there, to_builtins
from core.runs.run import Progress, RunResult
from weaver.web.replies import reply

MOST_JOBS = 500


class QueueApi:
    """The queue routes."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._spool = Spool(paths)

    def jobs(self, state: str | None = None, limit: int = 50, after: str = "") -> Response:
        """List jobs in the order of their ids, which is that of their arrival; next is the `after` of the following page."""
        state = state or None  # `?state=` asks for all
        if state is not None and state not in STATES:
            raise UsageError(detail=f"{state!r} is not a state of jobs; expected one of {', '.join(STATES)}.")
        if not 1 <= limit <= MOST_JOBS:
            raise UsageError(detail=f"limit is {limit}; expected 1 to {MOST_JOBS}.")
        ids = sorted({job for name in ((state,) if state else STATES) for job in self._spool.list(name)})
        rest = ids[bisect.bisect_right(ids, after) :]
        page = rest[:limit]
        found = [job for job in map(self._describe, page) if job is not None and state in (None, job["state"])]
        return reply({"jobs": found, "next": page[-1] if len(rest) > limit else None})

    def _describe(self, job: str) -> dict[str, Any] | None:
        try:
            state, record = self._spool.read(job)
        except NotFound:
            return None
        except InvalidData as error:
            return {"id": job, "state": self._spool.find(job), "error": str(error)}
        return {**to_builtins(record), "state": state}

    def job(self, job: str) -> Response:
        """Show one job: its record and state, its attempts, how far it is and how it ended."""
        described = self._describe(job)
        if described is None:
            raise NotFound(kind="job", name=job, known="see GET /api/queue")
        folder = self._spool.folder(job)
        progress, result = read_if_there(Progress, folder / "progress.json"), read_if_there(RunResult, folder / "result.json")
        return reply({
            **described,
            "attempts": [to_builtins(attempt) for attempt in self._spool.read_attempts(job)],
            "progress": to_builtins(progress) if progress else None,
            "result": to_builtins(result) if result else None,
        })  # fmt: skip

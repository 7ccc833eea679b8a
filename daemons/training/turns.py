"""In which order claimed jobs are trained: that in which they were begun, also when their trainer died and they begin again.

Place in the flow: train_next asks here which request its trainer takes, and lets requests wait. Reads result.json, reads and
writes run.json of claimed jobs. Invariants: a job keeps its turn as long as it is claimed, whatever the clock says; a trainer
finds at most one request to take, so that train_next alone decides what comes next, and whether anything does.
"""

from __future__ import annotations

import msgspec

from core.files import replace_durable
from core.jobs.pause import Pause
from core.jobs.spool import Spool
from core.paths import Paths
from core.records import encode_pretty, read_if_there
from core.runs.run import RunRequest


def in_turn(paths: Paths, spool: Spool) -> list[str]:
    """Give the claimed jobs in the order in which they were begun; those that have no request yet come last."""
    return [job for job, _ in _in_turn(paths, spool)]


def unfinished(paths: Paths, spool: Spool) -> list[str]:
    """Give the claimed jobs without a result, in the order in which they were begun."""
    return [job for job, _ in _unfinished(paths, spool)]


def called(paths: Paths, spool: Spool) -> RunRequest | None:
    """Give the request that a trainer takes; None when all wait or have their result."""
    return next((request for _, request in _unfinished(paths, spool) if request is not None and not request.waits), None)


def request_of(paths: Paths, job: str) -> RunRequest | None:
    """Give the request of a claimed job; None when its claimer died before it wrote one."""
    return read_if_there(RunRequest, paths.state("processing") / job / "run.json")


def next_turn(paths: Paths, spool: Spool) -> int:
    """Give the turn of a job that is begun now: after all that are claimed. What left processing/ is never trained again."""
    return 1 + max((request.turn for _, request in _in_turn(paths, spool) if request is not None), default=0)


def begin_again(paths: Paths, spool: Spool, job: str) -> None:
    """Let a claimed job be trained on from its cursor when it is called; killed in between, the same call finishes it."""
    request = request_of(paths, job)
    if request is not None:
        _let_wait(paths, request)
    spool.reopen(job)


def line_up(paths: Paths, spool: Spool, pause: Pause | None) -> None:
    """Let requests wait that no trainer has in hand: all that come after another job, and in a pause every one.

    Only while no trainer lives. An order beside a request stays: it is obeyed when the job is called.
    """
    for place, (_, request) in enumerate(_unfinished(paths, spool)):
        if request is not None and not request.waits and (pause is not None or place > 0):
            _let_wait(paths, request)


def _in_turn(paths: Paths, spool: Spool) -> list[tuple[str, RunRequest | None]]:
    found = [(job, request_of(paths, job)) for job in spool.list("processing")]
    return sorted(found, key=lambda one: (one[1] is None, one[1].place if one[1] is not None else (), one[0]))


def _unfinished(paths: Paths, spool: Spool) -> list[tuple[str, RunRequest | None]]:
    folder = paths.state("processing")
    return [(job, request) for job, request in _in_turn(paths, spool) if not (folder / job / "result.json").exists()]


def _let_wait(paths: Paths, request: RunRequest) -> None:
    folder = paths.state("processing") / request.job
    (folder / "progress.json").unlink(missing_ok=True)  # it was counted, and is not how far the next trainer is
    replace_durable(folder / "run.json", encode_pretty(msgspec.structs.replace(request, waits=True)))

"""What is trained again because a trainer died: steps of a job, noted in its attempts, which `weaver queue show` tells.

Place in the flow: daemons/training/ends.py asks here once a trainer is found dead. Reads the ledger, run.json, progress.json
and result.json of claimed jobs; writes attempts through the spool. Invariants: each step counts in the job that it belongs to,
once for each trainer that died with it, in whatever phase; that a job was done, or a save under way, is held against no job.
"""

from __future__ import annotations

from core.checkpoints.ledger import Ledger
from core.errors import CorruptRecord
from core.jobs.job import Attempt
from core.jobs.spool import Spool
from core.process import ProcessRef
from core.records import read_if_there
from core.runs.run import Outcome, Progress, RunRequest, RunResult
from core.status import Heartbeat
from daemons.harness.context import Context
from daemons.training.choosing import claim_of
from daemons.training.turns import request_of

ROWS_LOST = "rows lost"


def note_death(ctx: Context, spool: Spool, request: RunRequest, beat: Heartbeat, outcome: str) -> Attempt | None:
    """Note in the job under way that its trainer died, and what of it comes again; None when that was noted before."""
    detail = _trainer_mark(beat.process)
    if any(past.detail == detail for past in spool.read_attempts(request.job)):
        return None
    step, began = _steps_of_life(ctx, spool, request)
    death = _note(ctx, spool, request.job, outcome, detail, step, step - began)
    ctx.event("trainer_died", job=request.job, step=step, pid=beat.pid, replayed=death.replayed)
    return death


def _steps_of_life(ctx: Context, spool: Spool, request: RunRequest) -> tuple[int, int]:
    """Give the step that a dead trainer had come to in a job, as it last said, and that at which it had begun the job.

    A trainer removes progress.json before it begins: without one it had finished no step.
    """
    began = _before(ctx, spool, Ledger(ctx.paths), request)
    try:
        progress = read_if_there(Progress, ctx.paths.state("processing") / request.job / "progress.json")
    except CorruptRecord:  # it is not flushed, and a power cut may tear it
        progress = None
    return max(began, progress.step) if progress else began, began


def note_lost_rows(ctx: Context, spool: Spool, ledger: Ledger, result: RunResult) -> int:
    """Note that a job was done and no checkpoint held it when its trainer died; give how many of its steps come again.

    Jobs that were begun later go first: how far those before them had come is in their results.
    """
    request = request_of(ctx.paths, result.job)
    replayed = max(0, result.global_step - _before(ctx, spool, ledger, request)) if request is not None else result.global_step
    detail = _trainer_mark(result.by)
    if not any((past.outcome, past.detail) == (ROWS_LOST, detail) for past in spool.read_attempts(result.job)):
        _note(ctx, spool, result.job, ROWS_LOST, detail, result.global_step, replayed)
    return replayed


def _before(ctx: Context, spool: Spool, ledger: Ledger, request: RunRequest) -> int:
    """Give the step at which a job is begun: that of head, or up to which what was done before the job goes."""
    head = ledger.head(request.model)
    steps = [ledger.get(request.model, head.checkpoint).step] if head is not None else [0]
    for job in spool.list("processing"):
        other = request_of(ctx.paths, job)
        result = read_if_there(RunResult, ctx.paths.state("processing") / job / "result.json")
        if result is None or other is None or other.place >= request.place:
            continue
        if (result.outcome, result.model) == (Outcome.COMPLETED, request.model):
            steps.append(result.global_step)
    return max(steps)


def _note(ctx: Context, spool: Spool, job: str, outcome: str, detail: str, step: int, replayed: int) -> Attempt:
    claim = claim_of(ctx, job)
    befell = Attempt(
        at=claim.at, event="adopted", by=claim.owner, outcome=outcome, detail=detail, step=step, replayed=replayed
    )  # fmt: skip
    spool.adopt(job, claim, befell)
    return befell


def _trainer_mark(trainer: ProcessRef) -> str:
    """Name a trainer in the attempts of a job, so that its death is noted there once."""
    return f"trainer pid {trainer.pid}, start {trainer.start_ticks}"

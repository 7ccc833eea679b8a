"""How claimed jobs end: completed when a checkpoint holds their rows, failed when trying again cannot help.

Place in the flow: train_next asks here before it starts a trainer and when a result is there. Reads attempts.jsonl,
progress.json, plan.json and the heartbeat of the trainer; writes attempts and moves jobs through the spool. Invariant: a death
of the trainer is recorded once, and one without a fault of the job counts against no job.
"""

from __future__ import annotations

from core.checkpoints.history import consumed_rows
from core.checkpoints.ledger import Ledger
from core.clock import iso
from core.jobs.job import DEATH, Attempt, Claim
from core.jobs.poison import PROBE
from core.jobs.spool import Spool
from core.process import ProcessRef, this_process
from core.records import read_if_there
from core.runs.child import TRAINER
from core.runs.run import Plan, Progress, RunRequest, RunResult
from core.status import read_heartbeat
from daemons.harness.context import Context

PROBE_DEATH = "trainer died trying a line alone"


def settle_completed(
    ctx: Context, spool: Spool, ledger: Ledger, result: RunResult, end: Attempt, trainer: ProcessRef | None
) -> int:
    """Complete a job whose rows are in a checkpoint; train it again when they died with the trainer that held them."""
    head = ledger.head(result.model)
    plan = read_if_there(Plan, ctx.paths.state("processing") / result.job / "plan.json")
    rows = consumed_rows(ledger, result.model, head.checkpoint, result.job, plan.parent) if head and plan else 0
    if rows >= result.rows_done:
        spool.complete(result.job, end)
        ctx.event("completed", job=result.job, step=result.global_step)
        return 1
    if trainer != result.by:
        spool.reopen(result.job)
        ctx.event("reopened", job=result.job, why="the trainer died before a checkpoint held this job's rows")
        return 1
    return 0


def fails_by_deaths(ctx: Context, spool: Spool, request: RunRequest) -> bool:
    """Record that a trainer died while it trained this job; True when it died too often at one step, and the job fails.

    A death while loading, or one after further progress, is no fault of the job.
    """
    beat = read_heartbeat(ctx.paths, TRAINER)
    if beat is None or beat.exit_code is not None or beat.phase not in ("tokenise", "train"):
        return False
    mark = f"trainer pid {beat.pid}, start {beat.start_ticks}"
    attempts = spool.read_attempts(request.job)
    if any(attempt.detail == mark for attempt in attempts):
        return False
    progress = read_if_there(Progress, ctx.paths.state("processing") / request.job / "progress.json")
    step = progress.step if progress else None
    is_probing = (ctx.paths.state("processing") / request.job / PROBE).exists()  # how it finds out which line it is
    outcome = PROBE_DEATH if is_probing else DEATH
    replayed = _replayed(ctx, request.model, step)
    claim = claim_of(ctx, request.job)
    facts = Attempt(at=claim.at, event="adopted", by=claim.owner, outcome=outcome, detail=mark, step=step, replayed=replayed)
    spool.adopt(request.job, claim, facts)
    ctx.event("trainer_died", job=request.job, step=step, pid=beat.pid, replayed=replayed)
    if is_probing:
        return False
    deaths = sum(attempt.outcome == DEATH and attempt.step == step for attempt in attempts)
    if deaths < ctx.config.weaver.queue.retries:
        return False
    _fail(ctx, spool, request, f"the trainer died {deaths + 1} times at step {step} of this job, without progress", step)
    return True


def _replayed(ctx: Context, model: str, step: int | None) -> int | None:
    """Count the steps that no checkpoint holds; None when it is not known how far the trainer had come."""
    ledger = Ledger(ctx.paths)
    head = ledger.head(model)
    if step is None or head is None:
        return None
    return max(0, step - ledger.get(model, head.checkpoint).step)


def fails_by_model(ctx: Context, spool: Spool, request: RunRequest) -> bool:
    """Fail a job whose model is not configured (any more): no trainer could be started for it."""
    if request.model in ctx.config.weaver.models:
        return False
    _fail(ctx, spool, request, f"there is no model {request.model!r} in config/weaver.yaml; add it, then retry the job", None)
    return True


def _fail(ctx: Context, spool: Spool, request: RunRequest, detail: str, step: int | None) -> None:
    end = Attempt(at=iso(ctx.clock.now()), event="finished", by=ctx.name, outcome="failed", detail=detail, step=step)
    spool.fail(request.job, end)
    ctx.event("failed", job=request.job, why=detail)


def claim_of(ctx: Context, job: str) -> Claim:
    me = this_process()
    return Claim(job=job, owner=ctx.name, pid=me.pid, start_ticks=me.start_ticks, boot_id=me.boot_id, at=iso(ctx.clock.now()))

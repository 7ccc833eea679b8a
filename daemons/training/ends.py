"""How claimed jobs end: completed when a checkpoint holds their rows, failed when trying again cannot help.

Place in the flow: train_next asks here once its trainer died, before it starts one, and when a result is there. Reads
attempts.jsonl, plan.json, probe.json and poison.jsonl; writes attempts and moves jobs through the spool. Invariants: a death of
the trainer is recorded once, and one without a fault of the job counts against no job; no job outlives more deaths than the
checkpoints that came of it and the lines that were found at fault account for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.checkpoints.history import consumed_rows
from core.checkpoints.ledger import Ledger
from core.clock import iso
from core.errors import CorruptRecord
from core.jobs.job import DEATH, Attempt
from core.jobs.pause import paused
from core.jobs.poison import poison_of, probe_of
from core.jobs.spool import Spool
from core.process import ProcessRef
from core.records import read_if_there
from core.runs.run import Plan, RunRequest, RunResult
from core.status import Heartbeat
from daemons.harness.context import Context
from daemons.training.replays import note_death, note_lost_rows
from daemons.training.turns import begin_again

PROBE_DEATH = "trainer died trying a line alone"
SAVE_DEATH = "trainer died in a save"
# So many times the deaths that one step may have end a job when they are anywhere in it and nothing came of them: that ends
# what kills now here, now there, and somebody who kills a trainer now and then ends no job.
IN_VAIN = 5


def settle_completed(
    ctx: Context, spool: Spool, ledger: Ledger, result: RunResult, end: Attempt, trainer: ProcessRef | None
) -> int:
    """Complete a job whose rows are in a checkpoint; train it again when they died with the trainer that held them.

    In a pause it waits with its result: it was done, and is the first to be trained again, whatever is given back meanwhile.
    """
    head = ledger.head(result.model)
    plan = read_if_there(Plan, ctx.paths.state("processing") / result.job / "plan.json")
    rows = consumed_rows(ledger, result.model, head.checkpoint, result.job, plan.parent) if head and plan else 0
    if rows >= result.rows_done:
        spool.complete(result.job, end)
        ctx.event("completed", job=result.job, step=result.global_step)
        return 1
    if trainer != result.by and paused(ctx.paths) is None:
        replayed = note_lost_rows(ctx, spool, ledger, result)
        begin_again(ctx.paths, spool, result.job)
        why = "the trainer died before a checkpoint held this job's rows"
        ctx.event("reopened", job=result.job, why=why, replayed=replayed)
        return 1
    return 0


def fails_by_death(ctx: Context, spool: Spool, request: RunRequest, beat: Heartbeat) -> bool:
    """Record that a trainer died while it trained this job; True when that is too often, and the job fails.

    Too often is at one step, or without anything to show for it. A death while loading or saving is no fault of the job, nor is
    one after further progress, until there are many of them. beat: the last of the trainer.
    """
    if beat.phase == "save":
        note_death(ctx, spool, request, beat, SAVE_DEATH)
        return False
    if beat.phase not in ("tokenise", "train"):
        return False
    folder = ctx.paths.state("processing") / request.job
    probe = probe_of(folder)
    # How it finds out which line it is. What an earlier trainer left there says nothing of this death.
    is_probing = probe is not None and probe.by == beat.process
    death = note_death(ctx, spool, request, beat, PROBE_DEATH if is_probing else DEATH)
    if death is None:
        return False
    head = Ledger(ctx.paths).head(request.model)
    attempts, retries = spool.read_attempts(request.job), ctx.config.weaver.queue.retries
    why = _why_too_often(folder, attempts, head.checkpoint if head is not None else None, retries)
    if why is None:
        return False
    _fail(ctx, spool, request.job, why, death.step)
    return True


def _why_too_often(folder: Path, attempts: Sequence[Attempt], checkpoint: str | None, retries: int) -> str | None:
    """Say why the last death of a trainer is one too many for its job; None while it is not.

    Every trainer begins at the newest checkpoint: those that began at the same one and died came to nothing, but for those that
    it took to find the lines which were found since. That ends every loop, whatever kills, and wherever.
    """
    last = attempts[-1]
    deaths = sum(attempt.outcome == DEATH and attempt.step == last.step for attempt in attempts)
    if last.outcome == DEATH and deaths > retries:
        return f"the trainer died {deaths} times at step {last.step} of this job, without progress"
    began = sum(attempt.outcome in (DEATH, PROBE_DEATH) and _began(attempt) == _began(last) for attempt in attempts)
    found = [line for line in poison_of(folder) if (line.code, line.checkpoint) == ("death", checkpoint)]
    vain = began - sum(line.probes + 1 for line in found)
    if vain < IN_VAIN * (retries + 1):
        return None
    lines = f", beside those by {len(found)} lines that were found" if found else ""
    return f"the trainer died {vain} times in this job since {checkpoint or 'it began'}{lines}, and no checkpoint came of it"


def _began(attempt: Attempt) -> int | None:
    """Give the step of the checkpoint from which a trainer that died went on; None when that is not known."""
    return None if attempt.step is None or attempt.replayed is None else attempt.step - attempt.replayed


def fails_by_model(ctx: Context, spool: Spool, request: RunRequest) -> bool:
    """Fail a job whose model is not configured (any more): no trainer could be started for it."""
    if request.model in ctx.config.weaver.models:
        return False
    why = f"there is no model {request.model!r} in config/weaver.yaml; add it, then retry the job"
    _fail(ctx, spool, request.job, why, None)
    return True


def fail_by_record(ctx: Context, spool: Spool, job: str, error: CorruptRecord) -> None:
    """Fail a job whose own record cannot be read, so that it holds up no other; its data stays with it for whoever mends it."""
    why = f"its job.json is damaged: {error.facts['detail']}; mend it in the job's folder, then retry the job"
    _fail(ctx, spool, job, why, None)


def _fail(ctx: Context, spool: Spool, job: str, detail: str, step: int | None) -> None:
    end = Attempt(at=iso(ctx.clock.now()), event="finished", by=ctx.name, outcome="failed", detail=detail, step=step)
    spool.fail(job, end)
    ctx.event("failed", job=job, why=detail)

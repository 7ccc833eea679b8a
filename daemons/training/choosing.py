"""Which queued job is claimed next: the oldest one that need not wait and whose data is not out of date.

Place in the flow: train_next asks before it claims. Reads the queue, champion.json and the ledger; moves out-of-date jobs to
rejected/ through the spool. Invariant: a job is taken out only when a checkpoint trained after the one that it was made
for serves.
"""

from __future__ import annotations

from core.checkpoints.champion import read_champion
from core.checkpoints.ledger import Ledger
from core.clock import iso
from core.errors import IllegalMove, InvalidData, NotFound
from core.jobs.job import Claim, Job
from core.jobs.retrying import waits_s
from core.jobs.spool import Spool
from core.paths import PRIORITIES
from core.process import this_process
from core.records import read_if_there
from daemons.harness.context import Context


def next_job(ctx: Context, spool: Spool, ledger: Ledger) -> tuple[str | None, float | None]:
    """Give the job to claim, and the seconds after which one that failed may be tried again; expire what would be next."""
    waiting: dict[str, float] = {}
    while True:
        job = spool.oldest(but=waiting)
        if job is None:
            return None, min(waiting.values(), default=None)
        try:
            wait = waits_s(spool.read_attempts(job), ctx.clock.now())
        except NotFound:  # a person moved it first
            continue
        if wait:
            waiting[job] = wait
        elif not expires(ctx, spool, ledger, job):  # it may have come, or come back, after what serves had changed
            return job, min(waiting.values(), default=None)


def claim_of(ctx: Context, job: str) -> Claim:
    """Make the claim of this process on a job."""
    me = this_process()
    return Claim(job=job, owner=ctx.name, pid=me.pid, start_ticks=me.start_ticks, boot_id=me.boot_id, at=iso(ctx.clock.now()))


class Expiry:
    """Takes out jobs that were made for a checkpoint which is no longer served; looks only when what is served changes."""

    def __init__(self) -> None:
        self._looked: dict[str, str] = {}

    def take_out(self, ctx: Context, spool: Spool, ledger: Ledger) -> int:
        """Expire what is out of date; give how many jobs."""
        serving = {model: champion.checkpoint for model in ledger.models() if (champion := read_champion(ctx.paths, model))}
        if serving == self._looked:
            return 0
        count = sum(expires(ctx, spool, ledger, job) for state in PRIORITIES for job in spool.list(state))
        self._looked = serving
        return count


def expires(ctx: Context, spool: Spool, ledger: Ledger, job: str) -> bool:
    """Take a queued job out if its data was made for a checkpoint that is no longer served; say whether it was."""
    try:
        record = read_if_there(Job, spool.folder(job) / "job.json")
    except (NotFound, InvalidData):  # moved on, or for the audit to tell
        return False
    if record is None or record.made_for is None:
        return False
    champion = read_champion(ctx.paths, record.model)
    if champion is None or not is_superseded(ledger, record.model, record.made_for, champion.checkpoint):
        return False
    reason = f"it was made for {record.made_for}; {record.model}/{champion.checkpoint} serves in its place since"
    try:
        spool.expire(job, ctx.name, iso(ctx.clock.now()), reason)
    except (IllegalMove, NotFound):
        return False
    ctx.event("expired", job=job, why=reason)
    return True


def is_superseded(ledger: Ledger, model: str, made_for: str, serving: str) -> bool:
    """Say whether a checkpoint that was trained later than made_for (an id or a name of this model) serves."""
    name = made_for.removeprefix(f"{model}/")
    if name == serving:
        return False
    try:
        return ledger.get(model, serving).step > ledger.get(model, name).step
    except NotFound:  # not a checkpoint that ever was: nothing says that the data is out of date
        return False

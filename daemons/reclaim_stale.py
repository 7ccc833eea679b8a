"""processing/ -> its priority: give back a claimed job that nobody works on any more.

A claim is stale only if its owner, every train_next and the trainer child are dead, and have been for STALE_S (a train_next
that is being restarted adopts its jobs itself). Reads processing/<job>/{claim,result}.json, queue/paused.json, heartbeats and
/proc; writes attempts.jsonl through the spool's move. A job with a result, or paused, waits for the next train_next.
"""

from __future__ import annotations

from core.clock import iso
from core.jobs.reclaim import give_back, stale_claims, why_nothing_is_stale
from core.jobs.spool import Spool
from daemons.harness.context import Context, Report

STALE_S = 20.0


class ReclaimStale:
    """Gives stale jobs back to the queue."""

    name = "reclaim_stale"
    every = "10s"
    patience_s = 60.0
    wakes_on = ()
    nice = 0

    def __init__(self) -> None:
        self._stale_since: dict[str, float] = {}  # only makes the wait longer when it is lost

    def tick(self, ctx: Context) -> Report:
        """Look at every job in processing/ once."""
        spool = Spool(ctx.paths)
        jobs = spool.list("processing")
        if not jobs:
            self._stale_since.clear()
            return Report(note="nothing is claimed")
        reason = why_nothing_is_stale(ctx.paths)
        if reason is not None:
            self._stale_since.clear()
            return Report(note=reason)
        now = ctx.clock.mono()
        found, unreadable = stale_claims(ctx.paths, spool)
        stale = {job: self._stale_since.get(job, now) for job in found}
        self._stale_since = stale
        returned = [job for job, since in stale.items() if now - since >= STALE_S and self._give_back(ctx, spool, job)]
        note = f"gave back {', '.join(returned)}" if returned else f"{len(stale)} claims without an owner"
        return Report(did=len(returned), facts={"returned": returned}, note="; ".join([note, *unreadable]))

    def _give_back(self, ctx: Context, spool: Spool, job: str) -> bool:
        detail = f"its owner and the trainer have been dead for {STALE_S:.0f} s"
        target = give_back(spool, job, self.name, iso(ctx.clock.now()), detail)
        if target is None:
            return False  # a train_next was faster
        ctx.log.info("%s goes back to %s: %s", job, target, detail, extra={"job": job, "event": "reclaimed"})
        ctx.event("reclaimed", job=job, to=target)
        return True

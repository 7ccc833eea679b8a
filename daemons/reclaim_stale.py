"""processing/ -> its priority: give back a claimed job that nobody works on any more.

A claim is stale only if its owner, every train_next and the trainer child are dead, and have been for STALE_S (a train_next
that is being restarted adopts its jobs itself). Reads processing/<job>/{claim,result}.json, queue/paused.json, heartbeats and
/proc; writes attempts.jsonl through the spool's move. A job with a result, or paused, waits for the next train_next.
"""

from __future__ import annotations

from core.clock import iso
from core.errors import IllegalMove, InvalidData, NotFound
from core.jobs.job import Attempt
from core.jobs.pause import paused
from core.jobs.spool import Spool
from core.paths import Paths
from core.process import ProcessRef, is_alive, spawned
from core.status import read_heartbeat
from daemons.harness.context import Context, Report

STALE_S = 20.0
_WORKERS = ("train_next", "trainer")


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
        pause = paused(ctx.paths)
        if (pause is not None and pause.verb == "pause") or _is_anybody_at_work(ctx.paths):
            self._stale_since.clear()
            return Report(note="paused" if pause else "train_next or the trainer is at work")
        now = ctx.clock.mono()
        stale, unreadable = {}, []
        for job in jobs:
            try:
                if _is_stale(ctx.paths, spool, job):
                    stale[job] = self._stale_since.get(job, now)
            except InvalidData as error:
                unreadable.append(f"{job} stays in processing: {error}")
        self._stale_since = stale
        returned = [job for job, since in stale.items() if now - since >= STALE_S and self._give_back(ctx, spool, job)]
        note = f"gave back {', '.join(returned)}" if returned else f"{len(stale)} claims without an owner"
        return Report(did=len(returned), facts={"returned": returned}, note="; ".join([note, *unreadable]))

    def _give_back(self, ctx: Context, spool: Spool, job: str) -> bool:
        detail = f"its owner and the trainer have been dead for {STALE_S:.0f} s"
        end = Attempt(at=iso(ctx.clock.now()), event="returned", by=self.name, detail=detail)
        try:
            folder = spool.return_to_queue(job, end)
        except (IllegalMove, NotFound):
            return False  # a train_next was faster
        ctx.log.info("%s goes back to %s: %s", job, folder.parent.name, detail, extra={"job": job, "event": "reclaimed"})
        ctx.event("reclaimed", job=job, to=folder.parent.name)
        return True


def _is_anybody_at_work(paths: Paths) -> bool:
    """Say whether a train_next or a trainer of this home lives: by heartbeat, or by mark before its first beat."""
    for program in _WORKERS:
        beat = read_heartbeat(paths, program)
        if beat and is_alive(ProcessRef(pid=beat.pid, start_ticks=beat.start_ticks, boot_id=beat.boot_id)):
            return True
    return any(program in _WORKERS for program, _ in spawned(paths.home_id))


def _is_stale(paths: Paths, spool: Spool, job: str) -> bool:
    """Say whether a claimed job has neither an owner nor a result; a claimer may die before it writes claim.json.

    Raises CorruptRecord, NewerRecord: who owns the job is then not for this program to say.
    """
    if (paths.state("processing") / job / "result.json").exists():
        return False
    try:
        claim = spool.claim_of(job)
    except NotFound:
        return False
    return claim is None or not is_alive(ProcessRef(pid=claim.pid, start_ticks=claim.start_ticks, boot_id=claim.boot_id))

"""Claims that nobody works on any more: which they are, and giving such a job back to the queue.

Place in the flow: reclaim_stale and `weaver mend` decide by it when. Reads processing/<job>/{claim,result}.json, heartbeats and
/proc; writes attempts.jsonl through the spool's move. Invariants: while a train_next or a trainer of this home lives, or the
queue is paused, no claim is stale; a job with a result waits for the next train_next.
"""

from __future__ import annotations

from core.errors import IllegalMove, InvalidData, NotFound
from core.jobs.job import Attempt
from core.jobs.pause import paused
from core.jobs.spool import Spool
from core.paths import Paths
from core.process import ProcessRef, is_alive, spawned
from core.status import read_heartbeat

_WORKERS = ("train_next", "trainer")


def why_nothing_is_stale(paths: Paths) -> str | None:
    """Say why every claim holds now: the queue is paused, or somebody is at work; None when each has to be looked at."""
    pause = paused(paths)
    if pause is not None and pause.verb == "pause":
        return "paused"
    return "train_next or the trainer is at work" if _is_anybody_at_work(paths) else None


def stale_claims(paths: Paths, spool: Spool) -> tuple[list[str], list[str]]:
    """Give the claimed jobs that have neither an owner nor a result, and what cannot be read, each with its reason."""
    stale, unreadable = list[str](), list[str]()
    for job in spool.list("processing"):
        try:
            if _is_stale(paths, spool, job):
                stale.append(job)
        except InvalidData as error:
            unreadable.append(f"{job} stays in processing: {error}")
    return stale, unreadable


def give_back(spool: Spool, job: str, by: str, at: str, detail: str) -> str | None:
    """Give a stale job back to the priority that it came from, its cursor kept; None when somebody else was faster."""
    try:
        return spool.return_to_queue(job, Attempt(at=at, event="returned", by=by, detail=detail)).parent.name
    except (IllegalMove, NotFound):
        return None


def _is_anybody_at_work(paths: Paths) -> bool:
    """Say whether a train_next or a trainer of this home lives: by heartbeat, or by mark before its first beat."""
    for program in _WORKERS:
        beat = read_heartbeat(paths, program)
        if beat and is_alive(beat.process):
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

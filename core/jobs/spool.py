"""The queue on disk: which state a job is in, and every move between states, each one rename.

Place in the flow: watch_inbox publishes jobs here, train_next claims and ends them, reclaim_stale returns them, people promote,
remove and retry them; all through this module. Files written: attempts.jsonl and claim.json in the job's folder.
Invariants: a job is in exactly one state folder; the rename that succeeds decides and the loser gets IllegalMove having changed
nothing; nothing in a job is overwritten but claim.json (by the next claim); MOVES is the whole table of CONTRACTS.md section 6.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import cast

import msgspec

from core.errors import AlreadyExists, CorruptRecord, IllegalMove, NotFound
from core.files import OPS, Ops, append_record, exclusive, move, remove_left_over, replace_durable, replace_quick
from core.jobs.archive import restore
from core.jobs.attempts import attempts_of, put_aside
from core.jobs.inbox import waiting
from core.jobs.job import Attempt, Claim, Job, Priority, Reason, readable_job
from core.jobs.order import forget_skip, mark_skipped, next_in
from core.jobs.poison import POISON, PROBE
from core.names import is_identifier
from core.paths import PRIORITIES, STATES, Paths
from core.records import encode, encode_pretty, read, read_if_there

# verb -> states it leaves, states it may reach. publish starts in .building, so it leaves none.
MOVES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "publish": ((), (*PRIORITIES, "rejected")),
    "promote": (PRIORITIES, PRIORITIES),
    "remove": (PRIORITIES, ("rejected",)),
    "expire": (PRIORITIES, ("rejected",)),
    "claim": (PRIORITIES, ("processing",)),
    "complete": (("processing",), ("completed",)),
    "return": (("processing",), PRIORITIES),
    "skip": (("processing",), ("low",)),
    "fail": (("processing",), ("failed",)),
    "retry": (("failed", "completed", "rejected"), ("normal",)),
}

# What the trainer child takes for its work or for the end of it: put aside under a number before a job can be claimed again.
_OF_ONE_ATTEMPT = ("run.json", "order.json", "result.json")
_CURSOR = ("plan.json", "progress.json", POISON)
_LOST = "another process moved it first"


class Spool:
    """The jobs of one home. Holds nothing in memory; any number of processes may have one."""

    def __init__(self, paths: Paths, ops: Ops = OPS) -> None:
        self._paths = paths
        self._ops = ops

    def list(self, state: str) -> list[str]:
        """Give the ids of the jobs in a state, oldest first."""
        try:
            with os.scandir(self._paths.state(state)) as entries:
                return sorted(item.name for item in entries if is_identifier(item.name) and item.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def find(self, job: str) -> str:
        """Give the state that a job is in. Raises NotFound, UsageError for what cannot be a job id."""
        if is_identifier(job):
            for state in (*STATES, *STATES):  # twice: a job that is returned while we look goes against the order
                if (self._paths.state(state) / job).is_dir():
                    return state
        raise NotFound(kind="job", name=job, known="the folders in queue/")

    def folder(self, job: str) -> Path:
        """Give the folder that a job lies in now. Raises NotFound."""
        return self._paths.state(self.find(job)) / job

    def read(self, job: str) -> tuple[str, Job]:
        """Give the state and the record of a job. Raises NotFound, CorruptRecord, NewerRecord."""
        for _ in range(10):
            state = self.find(job)
            try:
                return state, read(Job, self._paths.state(state) / job / "job.json")
            except FileNotFoundError:
                if self.find(job) == state and (self._paths.state(state) / job).is_dir():
                    break
        raise NotFound(kind="job.json in job", name=job, known="every published job has one")

    def counts(self) -> dict[str, int]:
        """Give the number of jobs by state, and under `inbox` the number of drops not yet taken (sidecars not counted)."""
        return {"inbox": sum(1 for _ in waiting(self._paths.inbox)), **{state: len(self.list(state)) for state in STATES}}

    def undecided(self) -> int:
        """Give the number of drops whose verdict is still out: in the inbox or being validated."""
        try:
            validated = sum(1 for name in os.listdir(self._paths.building) if is_identifier(name))  # noqa: PTH208
        except FileNotFoundError:
            validated = 0
        return validated + sum(1 for _ in waiting(self._paths.inbox))

    def oldest(self, but: Collection[str] = ()) -> str | None:
        """Give the job to claim next: high before normal before low, oldest first; None when nothing is queued.

        but: jobs that are passed over, as they must wait. Only names are read, however many there are.
        """
        found = (next_in(self._paths.state(priority), but) for priority in PRIORITIES)
        return next((job for job in found if job is not None), None)

    def pending_examples(self) -> int:
        """Give the number of accepted lines that are queued and not claimed; none of a job whose record is damaged."""
        total = 0
        for state in PRIORITIES:
            for job in self.list(state):
                record = readable_job(self._paths.state(state) / job)
                if record is not None and record.lines is not None:
                    total += record.lines.accepted
        return total

    def read_attempts(self, job: str) -> tuple[Attempt, ...]:
        """Give a job's claims and their ends, in order. Raises NotFound."""
        return attempts_of(self.folder(job))

    def claim_of(self, job: str) -> Claim | None:
        """Give the claim on a job; None when it was never claimed or its claimer died before writing it. Raises NotFound."""
        return read_if_there(Claim, self.folder(job) / "claim.json")

    def reason(self, job: str) -> Reason | None:
        """Say why a job lies in rejected/ or failed/; None for any other state. Raises NotFound."""
        state, record = self.read(job)
        if state not in ("rejected", "failed"):
            return None
        ends = [end for end in self.read_attempts(job) if end.event == "finished"]
        if ends := [end for end in ends if state == "failed" or end.outcome in ("removed", "expired")]:
            return Reason(code=ends[-1].outcome or "failed", message=ends[-1].detail or f"ended by {ends[-1].by}")
        if record.reason is not None and state == "rejected":
            return record.reason
        code = "removed" if state == "rejected" else "failed"
        return Reason(code=code, message="moved here by a process that died before it could note why")

    # -- moves by anybody ------------------------------------------------------------------------------------------

    def promote(self, job: str, priority: Priority) -> Path:
        """Give a queued job another priority. Raises NotFound, IllegalMove."""
        return self._move("promote", job, self.find(job), priority)

    def remove(self, job: str, by: str, at: str, detail: str = "removed from the queue") -> Path:
        """Take a queued job out: to rejected/ with code removed. Raises NotFound, IllegalMove."""
        return self._reject("remove", job, Attempt(at=at, event="finished", by=by, outcome="removed", detail=detail))

    def retry(self, job: str, fresh: bool = False) -> Path:
        """Queue a failed, completed or duplicate job again, at its cursor unless fresh. Raises NotFound, IllegalMove."""
        state, record = self.read(job)
        folder, code = self._paths.state(state) / job, record.reason.code if record.reason else "removed"
        if state == "rejected" and code != "duplicate":
            detail = "only a duplicate can be queued again; drop the mended file anew"
            raise IllegalMove(job=job, source=f"rejected ({code})", target="normal", detail=detail)
        self._check("retry", job, state, "normal")
        try:
            with exclusive(folder):
                if not restore(folder, "data.jsonl", self._ops):
                    detail = (
                        "its data.jsonl was removed to save space; sidecar.json has the seed to generate the same data anew"
                    )
                    raise IllegalMove(job=job, source=state, target="normal", detail=detail)
                put_aside(folder, (*_OF_ONE_ATTEMPT, PROBE, *(_CURSOR if fresh else ())), self._ops)
                return self._move("retry", job, state, "normal")
        except FileNotFoundError as error:
            raise IllegalMove(job=job, source=state, target="normal", detail=_LOST) from error

    # -- moves by watch_inbox --------------------------------------------------------------------------------------

    def publish(self, building: Path, job: str, state: str) -> Path:
        """Publish a finished, sealed folder of .building/ as a job. Raises IllegalMove, AlreadyExists for a name in use."""
        self._check("publish", job, "inbox", state)
        if any((self._paths.state(other) / job).exists() for other in STATES):
            raise AlreadyExists(path=str(self._paths.state(state) / job))
        target = self._paths.state(state) / job
        target.parent.mkdir(parents=True, exist_ok=True)
        move(building, target, self._ops)
        return target

    # -- moves by train_next and reclaim_stale ---------------------------------------------------------------------

    def expire(self, job: str, by: str, at: str, detail: str) -> Path:
        """Take out a queued job whose data is out of date: to rejected/ with code expired. Raises NotFound, IllegalMove."""
        return self._reject("expire", job, Attempt(at=at, event="finished", by=by, outcome="expired", detail=detail))

    def claim(self, job: str, claim: Claim) -> Path:
        """Take a queued job into processing/, then write claim.json with the priority it came from. Raises IllegalMove."""
        origin = self.find(job)
        self._check("claim", job, origin, "processing")
        put_aside(self._paths.state(origin) / job, _OF_ONE_ATTEMPT, self._ops)
        folder = self._move("claim", job, origin, "processing")
        if origin == "low":  # where skipped jobs wait
            forget_skip(self._paths.state(origin), job)
        claim = msgspec.structs.replace(claim, origin=cast(Priority, origin))
        # Not flushed: after a power cut its owner is of another boot, and whoever takes the job over writes a new one.
        replace_quick(folder / "claim.json", encode_pretty(claim), self._ops)
        self._append(folder, Attempt(at=claim.at, event="claimed", by=claim.owner, detail=f"from {origin}"))
        return folder

    def adopt(self, job: str, claim: Claim, befell: Attempt) -> Path:
        """Renew the claim on a job in processing/, origin kept, and note what befell it. Raises NotFound, IllegalMove."""
        folder = self._claimed(job, "adopted")
        claim = msgspec.structs.replace(claim, origin=self._origin(folder))
        replace_durable(folder / "claim.json", encode_pretty(claim), self._ops)
        self._append(folder, befell)
        return folder

    def reopen(self, job: str) -> None:
        """Let a job in processing/ be trained on from its cursor: put aside the orders for its last run, then its result."""
        put_aside(self._claimed(job, "reopened"), ("order.json", "result.json"), self._ops)

    def _claimed(self, job: str, what: str) -> Path:
        state = self.find(job)
        if state != "processing":
            raise IllegalMove(job=job, source=state, target="processing", detail=f"only a claimed job can be {what}")
        return self._paths.state(state) / job

    def complete(self, job: str, end: Attempt) -> Path:
        """End a job whose outcome is completed. Raises NotFound, IllegalMove."""
        return self._end("complete", job, end, "completed")

    def fail(self, job: str, end: Attempt) -> Path:
        """End a job that failed for good. Raises NotFound, IllegalMove."""
        return self._end("fail", job, end, "failed")

    def return_to_queue(self, job: str, end: Attempt) -> Path:
        """Give a claimed job back to the priority it came from, its cursor kept. Raises NotFound, IllegalMove."""
        return self._end("return", job, end, self._origin(self._paths.state("processing") / job), _OF_ONE_ATTEMPT)

    def skip(self, job: str, end: Attempt) -> Path:
        """Put a claimed job behind the others, into low, its cursor kept. Raises NotFound, IllegalMove."""
        mark_skipped(self._paths.state("low"), job, self._ops)
        return self._end("skip", job, end, "low", _OF_ONE_ATTEMPT)

    # -- the moves themselves --------------------------------------------------------------------------------------

    def _check(self, verb: str, job: str, source: str, target: str) -> None:
        leaves, reaches = MOVES[verb]
        if target not in reaches or (leaves and source not in leaves) or source == target:
            detail = f"{verb} goes from {' or '.join(leaves) or 'the inbox'} to {' or '.join(reaches)}"
            raise IllegalMove(job=job, source=source, target=target, detail=detail)

    def _move(self, verb: str, job: str, source: str, target: str) -> Path:
        self._check(verb, job, source, target)
        folder = self._paths.state(target) / job
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            move(self._paths.state(source) / job, folder, self._ops)
        except (FileNotFoundError, AlreadyExists) as error:
            raise IllegalMove(job=job, source=source, target=target, detail=_LOST) from error
        return folder

    def _reject(self, verb: str, job: str, end: Attempt) -> Path:
        folder = self._move(verb, job, self.find(job), "rejected")
        self._append(folder, end)
        return folder

    def _end(self, verb: str, job: str, end: Attempt, target: str, aside: Iterable[str] = ()) -> Path:
        """Note the end, rename, put aside what belongs to this attempt. Killed before the rename, the same call finishes it."""
        source = self.find(job)
        self._check(verb, job, source, target)
        folder = self._paths.state(source) / job
        past = attempts_of(folder)
        try:
            if not past or past[-1].event in ("claimed", "adopted"):
                self._append(folder, end)
        except FileNotFoundError as error:
            raise IllegalMove(job=job, source=source, target=target, detail=_LOST) from error
        remove_left_over(folder)
        folder = self._move(verb, job, source, target)
        put_aside(folder, aside, self._ops)
        return folder

    def _append(self, folder: Path, attempt: Attempt) -> None:
        append_record(folder / "attempts.jsonl", encode(attempt), self._ops)

    def _origin(self, folder: Path) -> Priority:
        """Give the priority that a claimed job came from: as its claim says, else as it was received."""
        try:
            claim = read_if_there(Claim, folder / "claim.json")
        except CorruptRecord:  # it was not flushed, and a power cut tore it
            claim = None
        if claim is not None and claim.origin is not None:
            return claim.origin
        job = readable_job(folder)
        return job.priority if job is not None else "normal"

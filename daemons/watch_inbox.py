"""queue/inbox -> queue/{high,normal,low,rejected}: take every drop, validate every line, give each a verdict.

Place in the flow: first after the person or the generator; train_next takes what is queued here. Files written: queue/.building
(private), the published job folders and, a view, status/data_lineage.json. Invariants: nothing that was dropped is lost, or
opened before it is final; one large drop holds up no small one for more than a slice; killed at any instant the next tick goes
on where the last second stopped. What is no plain JSON Lines is unpacked by children, which a tick only looks at. The harness
lets no second process of this daemon into a home.
"""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from core.errors import WeaverError
from core.evals.line_checks import LineChecks
from core.jobs.arrivals import Arrivals
from core.jobs.building import Building, Place, open_drop
from core.jobs.drop import printable, take
from core.jobs.job import Job
from core.jobs.lineage import LineageTally
from core.jobs.spool import Spool
from core.jobs.unpack.child import Unpackers
from core.jobs.verdict import Contents, publish
from core.names import is_identifier
from core.paths import Paths
from daemons.harness.context import Context, Report

SLICE_S = 2.0  # a drop that arrives in one tick is seen in the next and taken in the one after that, well within 10 s
TAKING_S = 1.0
LEAST_S = 0.5
UNPACKING_LOOK_S = 0.2
TALLYING_S = 0.5
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class _Done:
    """What one tick did and left."""

    taken: int = 0
    queued: list[Job] = field(default_factory=list)
    rejected: list[Job] = field(default_factory=list)
    unfinished: list[Building] = field(default_factory=list)
    waiting: list[Building] = field(default_factory=list)
    unpacking: list[Building] = field(default_factory=list)
    unread: int = 0
    being_written: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)


class WatchInbox:
    """inbox -> queue: validate every line of every drop."""

    name = "watch_inbox"
    every = "10s"  # the bound; every report asks for intake.scan_s
    patience_s = 60.0
    wakes_on = ("queue/inbox", "queue/inbox/high", "queue/inbox/low")
    nice = 5

    def __init__(self) -> None:
        self._arrivals = Arrivals()
        self._drops: dict[str, Building] = {}
        self._checks: LineChecks | None = None
        self._contents: Contents | None = None
        self._latest: datetime | None = None
        self._said: dict[str, str] = {}
        self._unpackers = Unpackers()
        self._lineage: LineageTally | None = None

    def tick(self, ctx: Context) -> Report:
        """Take what is final, then validate for a slice of time."""
        _make_folders(ctx.paths)
        free, disk = shutil.disk_usage(ctx.paths.queue).free, ctx.config.weaver.disk
        if free < disk.floor_bytes:
            return self._pause(ctx, f"{free / 2**30:.1f} GiB are free, disk.floor_gb is {disk.floor_gb:g}")
        done = _Done()
        try:
            done.unread += not self._keep_lineage(ctx)
            self._take(ctx, done)
            self._validate(ctx, done)
        except OSError as error:
            self._drops.clear()  # what is in memory may be ahead of what is on the disk
            if error.errno not in _FULL:
                raise
            return self._pause(ctx, f"{error.strerror}: {error.filename or ctx.paths.queue}")
        return self._report(ctx, done)

    def _pause(self, ctx: Context, why: str) -> Report:
        self._say(ctx, "disk", f"intake pauses: {why}; it goes on by itself when there is space again")
        return Report(note=f"paused: {why}; free some space", next_s=ctx.config.weaver.intake.scan_s)

    def _keep_lineage(self, ctx: Context) -> bool:
        """Keep status/data_lineage.json true, reading new jobs for TALLYING_S at most; False when some are left."""
        self._lineage = self._lineage or LineageTally(ctx.paths)
        end = ctx.clock.mono() + TALLYING_S
        return self._lineage.keep_view(lambda: ctx.clock.mono() >= end)

    # -- taking ----------------------------------------------------------------------------------------------------

    def _take(self, ctx: Context, done: _Done) -> None:
        """Take everything that is final out of the inbox, for TAKING_S at most."""
        intake = ctx.config.weaver.intake
        ready, done.being_written = self._arrivals.look(ctx.paths, ctx.clock.mono(), intake.settle_s, intake.max_file_bytes)
        end = ctx.clock.mono() + TAKING_S
        for at, arrival in enumerate(ready):
            if ctx.stopping() or ctx.clock.mono() >= end:
                done.unread += len(ready) - at
                break
            try:
                done.taken += take(ctx.paths, arrival.place, arrival.name, self._now(ctx), arrival.refusal) is not None
            except OSError as error:
                if error.errno in _FULL:
                    raise
                name = printable(arrival.name)
                done.stuck.append(name)
                self._say(ctx, f"inbox {name}", f"{name!r} cannot be moved out of the inbox: {error.strerror}")
            ctx.beat(f"took {done.taken} drops")

    def _now(self, ctx: Context) -> datetime:
        """Give the time, later than ever before: names of jobs are in order of arrival."""
        now = ctx.clock.now()
        if self._latest is not None and now < self._latest + timedelta(milliseconds=1):
            now = self._latest + timedelta(milliseconds=1)
        self._latest = now
        return now

    # -- validating ------------------------------------------------------------------------------------------------

    def _validate(self, ctx: Context, done: _Done) -> None:
        """Give every drop a slice, those that had fewest first; the oldest gets at least LEAST_S in every tick."""
        folders = {path.name: path for path in ctx.paths.building.iterdir() if is_identifier(path.name)}
        self._drops = {name: drop for name, drop in self._drops.items() if name in folders}
        self._unpackers.keep_only(set(folders.values()))
        place = self._place(ctx)
        end = ctx.clock.mono() + SLICE_S
        for name in sorted(folders, key=lambda name: (self._drops[name].slices if name in self._drops else 0, name)):
            until = max(end, ctx.clock.mono() + LEAST_S) if name == min(folders) else end
            if ctx.stopping() or ctx.clock.mono() >= until:
                done.unread += 1
                continue
            self._bring_forward(ctx, place, folders[name], until, done)
            ctx.beat(f"looked at {name}")

    def _bring_forward(self, ctx: Context, place: Place, folder: Path, until: float, done: _Done) -> None:
        """Give one drop its slice, and publish it when it has its verdict."""
        drop = self._drops.pop(folder.name, None)
        if drop is None:
            drop = open_drop(place, folder)
        if drop is not None and not self._advance(ctx, drop, place, until):
            self._drops[folder.name] = drop
            (done.waiting if drop.waits_for else done.unpacking if drop.is_unpacking else done.unfinished).append(drop)
        elif (folder / "job.json").exists():
            self._publish(ctx, folder, done)

    def _advance(self, ctx: Context, drop: Building, place: Place, until: float) -> bool:
        try:
            is_decided = drop.advance(place, until)
        except WeaverError as error:  # no base yet, a damaged suite: the drop waits, the others go on
            drop.waits_for, is_decided = str(error), False
        if drop.waits_for:
            self._say(ctx, drop.folder.name, f"{drop.taken.name!r} waits: {drop.waits_for}")
        return is_decided

    def _place(self, ctx: Context) -> Place:
        if self._checks is None or self._contents is None:
            self._checks, self._contents = LineChecks(ctx.paths), Contents(Spool(ctx.paths), ctx.paths)
        checks, weaver = self._checks, ctx.config.weaver
        return Place(
            paths=ctx.paths, config=weaver, known=self._contents.job_with, mono=ctx.clock.mono, is_stopping=ctx.stopping,
            beat=ctx.beat, unpackers=self._unpackers,
            setting=lambda model, spec, sidecar: checks.setting(weaver, model, spec, sidecar),
        )  # fmt: skip

    # -- publishing ------------------------------------------------------------------------------------------------

    def _publish(self, ctx: Context, folder: Path, done: _Done) -> None:
        job = publish(Spool(ctx.paths), folder)
        self._said.pop(folder.name, None)
        if job.reason is None:
            done.queued.append(job)
            if self._contents is not None:
                self._contents.add(job)
            facts = {"accepted": job.lines.accepted, "refused": job.lines.rejected} if job.lines else {}
            ctx.event("queued", job=job.id, name=job.name, model=job.model, priority=job.priority, **facts)
            ctx.log.info("queued %r: %s", job.name, facts, extra={"event": "queued", "job": job.id})
        else:
            done.rejected.append(job)
            ctx.event("rejected", job=job.id, name=job.name, code=job.reason.code, reason=job.reason.message)
            ctx.log.warning("rejected %r: %s", job.name, job.reason.message, extra={"event": "rejected", "job": job.id})

    def _report(self, ctx: Context, done: _Done) -> Report:
        intake = ctx.config.weaver.intake
        self._said.pop("disk", None)
        notes = [f"queued {job.name!r}" for job in done.queued[-1:]]
        notes += [f"rejected {job.name!r} ({job.reason.code})" for job in done.rejected[-1:] if job.reason]
        notes += [f"validating {drop.taken.name!r}, {drop.share_read:.0%}" for drop in done.unfinished[:1]]
        notes += [f"unpacking {drop.taken.name!r}" for drop in done.unpacking[:1]]
        notes += [f"{drop.taken.name!r} waits: {drop.waits_for}" for drop in done.waiting[:1]]
        notes += [f"{len(done.being_written)} still being written: {done.being_written[0]!r}"] if done.being_written else []
        notes += [f"cannot be moved: {done.stuck[0]!r}"] if done.stuck else []
        facts = {
            "taken": done.taken, "queued": len(done.queued), "rejected": len(done.rejected),
            "validating": len(done.unfinished), "unpacking": len(done.unpacking), "waiting": len(done.waiting),
            "being_written": len(done.being_written),
        }  # fmt: skip
        return Report(
            did=len(done.queued) + len(done.rejected), note="; ".join(notes) or "the inbox is empty", facts=facts,
            again=bool(done.unfinished or done.unread),
            next_s=min(
                intake.scan_s, max(0.1, intake.settle_s) if done.being_written else intake.scan_s,
                UNPACKING_LOOK_S if done.unpacking else intake.scan_s,
            ),
        )  # fmt: skip

    def _say(self, ctx: Context, about: str, message: str) -> None:
        """Log a state of affairs once, not at every tick."""
        if self._said.get(about) != message:
            self._said[about] = message
            ctx.log.warning("%s", message)


def _make_folders(paths: Paths) -> None:
    """Make the folders of the inbox again if somebody removed them; a file in the way of high or low is taken first."""
    for folder in (paths.building, paths.inbox / "high", paths.inbox / "low"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            continue

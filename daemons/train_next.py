"""queue/high, normal, low -> queue/processing -> completed or failed: claim the next job and look after the trainer child.

Reads the queue, result.json and the ledger; writes claim.json, run.json and order.json of claimed jobs, a model's head.json and
queue/paused.json; moves jobs. The trainer child is a process of its own: a new train_next adopts it. A job is completed only
when a checkpoint on disk holds all its rows: until then it stays in processing/, and is trained again, in its turn, if the
trainer dies.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from core.checkpoints.history import advance_head
from core.checkpoints.ledger import Ledger
from core.checkpoints.reset import reset_head
from core.clock import boot_id, iso
from core.errors import Conflict, CorruptRecord, IllegalMove, InvalidConfig, InvalidData, NotFound
from core.files import replace_durable
from core.jobs.job import Attempt, Job
from core.jobs.pause import Pause, clear_paused, paused, set_paused
from core.jobs.retrying import failures
from core.jobs.spool import Spool
from core.orders import RESET, Order, answer, pending
from core.process import ProcessRef, send_signal, start_ticks
from core.records import encode_pretty, read, read_if_there
from core.runs.child import TRAINER, living_trainer
from core.runs.run import JobOrder, Outcome, RunRequest, RunResult
from core.status import read_heartbeat
from daemons.harness.context import Context, Report
from daemons.training.choosing import Expiry, claim_of, next_job
from daemons.training.ends import fail_by_record, fails_by_death, fails_by_model, settle_completed
from daemons.training.turns import begin_again, called, in_turn, line_up, next_turn, request_of, unfinished

_VERBS: dict[str, Literal["pause", "stop", "skip"]] = {"pause": "pause", "stop": "stop", "skip": "skip"}
LONGEST_SPAWN_DELAY_S = 60.0
BUSY_S = 1.0
MISCONFIGURED = 78
RESET_LOOK_S = 0.2
EPOCHS_VARIABLE = "WEAVER__TRAINING__EPOCHS"


class TrainNext:
    """queue -> processing -> completed: claim the next job, look after the trainer, settle what ended."""

    name = "train_next"
    every = "5s"
    patience_s = 60.0
    wakes_on: Sequence[str] = ("queue/high", "queue/normal", "queue/low", "queue/processing/*", "models/*/ledger")
    nice = 0

    def __init__(self) -> None:
        self._ledger: Ledger | None = None  # caches what never changes
        self._child: subprocess.Popen[bytes] | None = None  # only to reap it
        self._spawns = 0
        self._spawn_due = 0.0
        self._retry_s: float | None = None
        self._expiry = Expiry()
        self._buried: ProcessRef | None = None  # the trainer whose death was noted

    def tick(self, ctx: Context) -> Report:
        """Obey orders, settle ended jobs, keep a trainer while there is work, claim the next job."""
        spool = Spool(ctx.paths)
        ledger = self._ledger = self._ledger or Ledger(ctx.paths)
        self._reap(ctx)
        trainer = living_trainer(ctx.paths) or self._started()
        for model in ledger.models():
            advance_head(ledger, model, iso(ctx.clock.now()))
        did = self._bury(ctx, spool) if trainer is None else 0
        orders = pending(ctx.paths, self.name)
        resets = [order for order in orders if order.verb == RESET]
        for order in orders:
            if order.verb != RESET:
                self._obey(ctx, spool, order, trainer)
        did += sum(self._settle(ctx, spool, ledger, job, trainer) for job in reversed(in_turn(ctx.paths, spool)))
        pause = paused(ctx.paths)
        if trainer is None:
            did += _give_back(ctx, spool, pause) if pause is not None and pause.verb == "stop" else 0
            line_up(ctx.paths, spool, pause)
        if resets:
            return self._reset(ctx, spool, ledger, resets, trainer)
        running = self._running(ctx, spool, pause)
        if running is None and pause is None and not _disk_is_low(ctx):
            did += self._expiry.take_out(ctx, spool, ledger)
            running, self._retry_s = self._claim(ctx, spool, ledger)
            did += running is not None
        if running is not None and trainer is None and self._child is None:  # a dying one still holds its lock
            self._start_trainer(ctx, spool, running)
        elif running is None and pause is not None and pause.verb == "stop" and trainer is not None:
            send_signal(trainer, signal.SIGTERM)
        return Report(
            did=did, note=_note(ctx, running), facts={"running": running.job if running else None},
            next_s=BUSY_S if running is not None or spool.list("processing") else self._retry_s,
        )  # fmt: skip

    def _started(self) -> ProcessRef | None:
        """Give the child of ours that lives but cannot be found yet: it has not beaten, nor got its environment from exec."""
        if self._child is None or self._child.poll() is not None:
            return None
        ticks = start_ticks(self._child.pid)
        return ProcessRef(pid=self._child.pid, start_ticks=ticks, boot_id=boot_id()) if ticks is not None else None

    def _reset(self, ctx: Context, spool: Spool, ledger: Ledger, orders: Sequence[Order], trainer: ProcessRef | None) -> Report:
        """Obey resets once the trainer has saved and ended: it holds in memory what is to be taken back.

        A request that was written before names a checkpoint that may be taken back: each job gets a new one afterwards.
        """
        if trainer is not None or self._child is not None:
            if trainer is not None:
                send_signal(trainer, signal.SIGTERM)
            return Report(note="a reset waits for the trainer to save and end", next_s=RESET_LOOK_S)
        for job in unfinished(ctx.paths, spool):
            begin_again(ctx.paths, spool, job)
        for order in orders:
            at = iso(ctx.clock.now())
            try:
                model, target = ledger.resolve(str(order.args.get("checkpoint")), removed=True)
                reason = f"reset by {order.by}" + (f": {order.args['reason']}" if order.args.get("reason") else "")
                gone = reset_head(ctx.paths, ledger, model, target, reason, at)
            except (Conflict, NotFound, InvalidData) as error:
                answer(ctx.paths, self.name, order, False, str(error))
                continue
            ctx.event("reset", model=model, checkpoint=target, taken_back=gone, reason=reason)
            answer(ctx.paths, self.name, order, True, f"training goes on from {model}/{target}; {len(gone)} taken back")
        return Report(did=len(orders), note="reset", again=True)

    def _reap(self, ctx: Context) -> None:
        """Take note of a child of ours that ended. Raises InvalidConfig when it says that it is misconfigured."""
        code = self._child.poll() if self._child is not None else None
        if code is None:
            return
        self._child = None
        ctx.log.info("the trainer ended with exit code %s", code, extra={"event": "exit"})
        if code == MISCONFIGURED:
            raise InvalidConfig(path="trainer", detail=_last_line(ctx.paths.logs / "trainer.out"))

    def _bury(self, ctx: Context, spool: Spool) -> int:
        """Note in the job under way, before any other is called, that its trainer died; 1 if the job fails of it."""
        beat = read_heartbeat(ctx.paths, TRAINER)
        dead = beat.process if beat is not None else None
        request = called(ctx.paths, spool)
        did = 0
        if beat is not None and beat.exit_code is None and request is not None and dead != self._buried:
            did = int(fails_by_death(ctx, spool, request, beat))
        self._buried = dead
        return did

    def _obey(self, ctx: Context, spool: Spool, order: Order, trainer: ProcessRef | None) -> None:
        """Do what an order says: pause, stop and skip reach the trainer as order.json; resume lets jobs be claimed again."""
        at = iso(ctx.clock.now())
        if order.verb == "resume":
            was = clear_paused(ctx.paths)
            for job in unfinished(ctx.paths, spool) if was and trainer is None else ():
                spool.reopen(job)  # what it was told before its trainer died holds no more
            answer(ctx.paths, self.name, order, True, "jobs are claimed again" if was else "nothing was paused")
            return
        verb = _VERBS.get(order.verb)
        if verb is None:
            answer(ctx.paths, self.name, order, False, f"unknown verb {order.verb!r}; valid: pause, resume, stop, skip")
            return
        if verb != "skip":
            set_paused(ctx.paths, Pause(verb=verb, by=order.by, at=at))
        running = self._running(ctx, spool, paused(ctx.paths))
        if running is not None and trainer is None and verb == "skip":
            spool.skip(
                running.job, Attempt(at=at, event="returned", by=self.name, outcome="skipped", detail=f"skip by {order.by}")
            )
        elif running is not None and trainer is not None:
            told = JobOrder(verb=verb, order=order.id, at=at)
            replace_durable(ctx.paths.state("processing") / running.job / "order.json", encode_pretty(told))
        answer(ctx.paths, self.name, order, True, f"{verb}: {running.job if running else 'no job runs'}")

    def _running(self, ctx: Context, spool: Spool, pause: Pause | None) -> RunRequest | None:
        """Give the request that the trainer takes; when there is none, call the first job without a result, but in no pause."""
        found = called(ctx.paths, spool)
        if found is not None or pause is not None:
            return found
        job = next(iter(unfinished(ctx.paths, spool)), None)
        return self._request(ctx, spool, job) if job is not None else None

    def _request(self, ctx: Context, spool: Spool, job: str) -> RunRequest | None:
        """Call a claimed job (also one whose claimer was killed before it could, or that begins again): write its run.json.

        None for one whose record is damaged: it fails.
        """
        folder = ctx.paths.state("processing") / job
        try:
            record = read(Job, folder / "job.json")
        except CorruptRecord as error:
            fail_by_record(ctx, spool, job, error)
            return None
        head = Ledger(ctx.paths).head(record.model)
        generated = record.source == "generate_data"
        before = request_of(ctx.paths, job)
        request = RunRequest(
            job=job, model=record.model, parent=head.checkpoint if head else None,
            epochs=_epochs(ctx, record),
            max_train_s=ctx.config.weaver.generation.max_job_train_s if generated else None,
            attempt=sum(attempt.event == "claimed" for attempt in spool.read_attempts(job)), at=iso(ctx.clock.now()),
            turn=before.turn if before is not None else next_turn(ctx.paths, spool),
        )  # fmt: skip
        replace_durable(folder / "run.json", encode_pretty(request))
        return request

    def _claim(self, ctx: Context, spool: Spool, ledger: Ledger) -> tuple[RunRequest | None, float | None]:
        """Claim the next job; give its request, and the seconds until one that failed may be tried again."""
        job, retry_s = next_job(ctx, spool, ledger)
        if job is None:
            return None, retry_s
        try:
            spool.claim(job, claim_of(ctx, job))
        except (IllegalMove, NotFound):
            return None, retry_s  # a person moved it first
        ctx.event("claimed", job=job)
        return self._request(ctx, spool, job), retry_s

    def _settle(self, ctx: Context, spool: Spool, ledger: Ledger, job: str, trainer: ProcessRef | None) -> int:
        """Move a claimed job that has a result to where its outcome says; 1 if something changed."""
        result = read_if_there(RunResult, ctx.paths.state("processing") / job / "result.json")
        if result is None:
            return 0
        self._spawns = 0
        end = Attempt(
            at=iso(ctx.clock.now()), event="finished", by=self.name, outcome=result.outcome.value,
            detail=result.error or result.summary, step=result.global_step,
        )  # fmt: skip
        if result.outcome is Outcome.COMPLETED:
            return settle_completed(ctx, spool, ledger, result, end, trainer)
        pause = paused(ctx.paths)
        if result.outcome is Outcome.PAUSED and pause is not None and pause.verb == "pause":
            return 0
        if result.outcome is Outcome.PAUSED and pause is None:
            begin_again(ctx.paths, spool, job)
        elif result.outcome is Outcome.SKIPPED:
            spool.skip(job, end)
        elif result.outcome in (Outcome.STOPPED, Outcome.PAUSED):
            spool.return_to_queue(job, end)
        elif result.permanent or failures(spool.read_attempts(job)) >= ctx.config.weaver.queue.retries:
            spool.fail(job, end)
        else:
            spool.return_to_queue(job, end)
        ctx.event(result.outcome.value, job=job, why=end.detail)
        return 1

    def _start_trainer(self, ctx: Context, spool: Spool, request: RunRequest) -> None:
        """Start a trainer, each further time without a result after a longer wait."""
        now = ctx.clock.mono()
        if now < self._spawn_due or fails_by_model(ctx, spool, request):
            return
        self._spawns += 1
        self._spawn_due = now + min(LONGEST_SPAWN_DELAY_S, 2.0 ** (self._spawns - 1))
        threads = ctx.config.weaver.sharing.threads
        argv = [sys.executable, "-m", "trainer", "work", "--model", request.model]
        self._child = ctx.spawn(TRAINER, argv, {"OMP_NUM_THREADS": "1" if threads == "auto" else str(threads)})
        ctx.log.info("started trainer %s", self._child.pid, extra={"event": "spawn", "job": request.job})


def _give_back(ctx: Context, spool: Spool, pause: Pause) -> int:
    """Give back what is claimed and in no trainer's hands."""
    jobs = unfinished(ctx.paths, spool)
    for job in jobs:
        end = Attempt(at=iso(ctx.clock.now()), event="returned", by=ctx.name, detail=f"{pause.verb} by {pause.by}")
        spool.return_to_queue(job, end)
        ctx.event("returned", job=job, why=end.detail)
    return len(jobs)


def _epochs(ctx: Context, job: Job) -> int:
    """Give the epochs of a job: environment before sidecar before file."""
    configured = ctx.config.training.epochs
    return configured if EPOCHS_VARIABLE in ctx.environ or job.training.epochs is None else job.training.epochs


def _disk_is_low(ctx: Context) -> bool:
    return shutil.disk_usage(ctx.paths.home).free < ctx.config.weaver.disk.floor_bytes


def _note(ctx: Context, running: RunRequest | None) -> str:
    if running is not None:
        return f"training {running.job}"
    pause = paused(ctx.paths)
    if pause is not None:
        return f"{pause.verb} by {pause.by}"
    return "disk is below its floor: nothing is claimed" if _disk_is_low(ctx) else "waiting for a job"


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return lines[-1] if lines else "it said nothing; see logs/trainer.jsonl"

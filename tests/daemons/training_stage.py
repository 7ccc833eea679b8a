"""One train_next in a home of its own, and what a trainer does there."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from core.checkpoints.ledger import MANIFEST, SIDECAR, Ledger, write_manifest
from core.clock import boot_id, iso
from core.jobs.job import Priority
from core.jobs.poison import PROBE, Probe
from core.jobs.spool import Spool
from core.orders import place
from core.process import ProcessRef, spawn, start_ticks
from core.records import encode_pretty, read_if_there
from core.runs.run import JobOrder, Outcome, Plan, Progress, RowSpan, RunRequest, RunResult
from core.status import Heartbeat, State, write_heartbeat
from daemons.harness.context import Context, Report
from daemons.train_next import TrainNext
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_record, make_state
from tests.core.home_files import job_record
from tests.daemons.home_builder import TestHome

A, B, C = (f"20261120-2130{second:02d}000-9f2c01ab-{name}" for second, name in enumerate(("a", "b", "c")))


class Stage:
    """A home whose trainer is a real process that only sleeps; the test writes what a trainer would write."""

    def __init__(self, root: Path) -> None:
        self.home = TestHome(root)
        self.paths = self.home.paths
        self.spool, self.ledger = Spool(self.paths), Ledger(self.paths)
        self.daemon = TrainNext()
        self.argv = ["sleep", "600"]
        self.argvs: list[list[str]] = []
        self.children: list[subprocess.Popen[bytes]] = []
        self.base = make_checkpoint(self.paths, 0, None)

    def context(self) -> Context:
        return dataclasses.replace(self.home.context("train_next"), spawn=self.spawn)

    def spawn(self, program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        assert program == "trainer"
        self.argvs.append(list(argv))
        child = spawn(self.argv, program, self.paths.home_id, self.paths.logs / "trainer.out", extra, self.paths.home)
        self.children.append(child)
        return child

    def tick(self, after_s: float = 0.0) -> Report:
        self.home.clock.passed_s += after_s
        return self.daemon.tick(self.context())

    def queue(self, job: str, priority: Priority = "normal", **changes: Any) -> str:
        folder = self.paths.state(priority) / job
        folder.mkdir(parents=True)
        record = job_record(job, received_at=iso(self.home.clock.now()), priority=priority, **changes)
        (folder / "job.json").write_bytes(encode_pretty(record))
        (folder / "data.jsonl").write_text("{}\n")
        return job

    def folder(self, job: str) -> Path:
        return self.paths.state("processing") / job

    def request(self, job: str) -> RunRequest | None:
        return read_if_there(RunRequest, self.folder(job) / "run.json")

    def order(self, verb: str) -> str:
        return place(self.paths, "train_next", verb, {}, "a person", self.home.clock.now()).id

    def ordered(self, job: str) -> str | None:
        order = read_if_there(JobOrder, self.folder(job) / "order.json")
        return order.verb if order else None

    @property
    def states(self) -> dict[str, str]:
        return {job: self.spool.find(job) for job in (A, B, C) if self.exists(job)}

    def exists(self, job: str) -> bool:
        return any(self.paths.queue.glob(f"*/{job}"))

    # -- what a trainer does -----------------------------------------------------------------------------------------

    @property
    def trainer(self) -> ProcessRef:
        pid = self.children[-1].pid
        ticks = start_ticks(pid)
        assert ticks is not None
        return ProcessRef(pid=pid, start_ticks=ticks, boot_id=boot_id())

    def beat(self, phase: str, exit_code: int | None = None) -> None:
        me = self.trainer
        write_heartbeat(self.paths, Heartbeat(
            name="trainer", pid=me.pid, start_ticks=me.start_ticks, boot_id=me.boot_id, state=State.RUNNING, seq=1,
            beat_mono=0.0, next_due_mono=0.0, beat_at="", phase=phase, note="", last_report=None, last_error=None,
            exit_code=exit_code, version="0",
        ))  # fmt: skip

    def progress(self, job: str, step: int) -> None:
        (self.folder(job) / "progress.json").write_bytes(encode_pretty(Progress(
            job=job, model="tiny", phase="train", step=step, total_steps=100, loss=1.0, loss_smoothed=1.0, learning_rate=1.0,
            grad_norm=1.0, tokens_per_s=1.0, trained_token_ratio=0.5, tokens_seen=1, eta_s=1.0, at="",
        )))  # fmt: skip

    def probe(self, job: str, line: int, by: ProcessRef | None = None) -> None:
        """Try a line alone."""
        probe = Probe(job=job, line=line, step=7, deaths=0, by=by or self.trainer, at="")
        (self.folder(job) / PROBE).write_bytes(encode_pretty(probe))

    def plan(self, job: str, parent: str, rows: int = 8) -> None:
        (self.folder(job) / "plan.json").write_bytes(encode_pretty(Plan(
            job=job, model="tiny", parent=parent, first_step=0, seed=0, epochs=1, packing=False, micro_batch=4,
            batch_tokens=64, accumulation=1, rows=[[row + 1] for row in range(rows)], steps=[4] * (rows // 4),
        )))  # fmt: skip

    def result(
        self, job: str, outcome: Outcome, rows: int = 8, step: int = 2, permanent: bool = False, by: ProcessRef | None = None
    ) -> None:
        (self.folder(job) / "result.json").write_bytes(encode_pretty(RunResult(
            job=job, model="tiny", outcome=outcome, global_step=step, rows_done=rows, runtime_s=1.0, train_s=1.0, tokens=1,
            checkpoint=None, final_loss=None, summary=f"{rows} rows", error="it broke" if outcome is Outcome.FAILED else None,
            permanent=permanent, by=by or self.trainer, at="",
        )))  # fmt: skip

    def checkpoint(
        self, step: int, parent: str, job: str | None = None, rows: tuple[int, int] = (0, 8), state: bool = True
    ) -> str:
        """Publish a checkpoint that holds these rows of a job."""
        name = make_checkpoint(self.paths, step, parent)
        folder = self.paths.model("tiny").checkpoint(name)
        spans = [RowSpan(job=job, rows_from=rows[0], rows_to=rows[1], lines=[1], epoch=0)] if job else []
        record = encode_pretty(msgspec.structs.replace(make_record("tiny", name, step, parent), consumed=spans))
        (folder / SIDECAR).write_bytes(record)
        self.paths.model("tiny").ledger(name).write_bytes(record)
        (folder / MANIFEST).unlink()
        write_manifest(folder)
        if state:
            make_state(self.paths, name)
        return name

    @property
    def head(self) -> str:
        head = Ledger(self.paths).head("tiny")
        assert head is not None
        return head.checkpoint

    def die(self) -> None:
        self.children[-1].kill()
        self.children[-1].wait()


@contextmanager
def staged(root: Path) -> Iterator[Stage]:
    """Give a home in which train_next ticks; the children that it started are killed afterwards."""
    stage = Stage(root)
    try:
        yield stage
    finally:
        for child in stage.children:
            child.kill()
            child.wait()

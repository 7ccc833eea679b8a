"""A small home for one protocol: jobs, a history, and the next life of the programs that would go on in it."""

from __future__ import annotations

import json
import logging
import math
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import msgspec

from core.accounting.audit import audit
from core.checkpoints.checkpoint import Checkpoint, Head
from core.checkpoints.ledger import SIDECAR, Ledger, write_manifest
from core.clock import iso
from core.config import Config
from core.files import OPS, Ops, append_record
from core.jobs.building import Place, open_drop
from core.jobs.drop import take
from core.jobs.inbox import SIDECAR_ENDING
from core.jobs.job import Attempt, Claim, Job, Priority
from core.jobs.pause import Pause, set_paused
from core.jobs.quick import Setting
from core.jobs.spool import Spool
from core.jobs.verdict import publish
from core.names import is_identifier
from core.paths import STATES, Paths
from core.process import ProcessRef
from core.records import decode, encode, encode_pretty, read
from core.runs.run import Outcome, Plan, RowSpan, RunRequest, RunResult
from core.text.tokens import load_tokenizer
from daemons.harness.context import Context
from daemons.train_next import TrainNext
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_state
from tests.core.home_files import job_record
from trainer.tiny.tokenizer import save_tokenizer
from weaver.drill.drops import chat_lines

NOW = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)
AT = iso(NOW)
JOB, OTHER = "20261120-213000000-9f2c01ab-a", "20261120-213000001-9f2c01ab-b"
DROP = "drop.jsonl"
LINES = 3
GONE = ProcessRef(pid=2**22 + 1, start_ticks=1, boot_id="00000000-0000-0000-0000-000000000000")


class Standing:
    """A clock that stands still."""

    def now(self) -> datetime:
        """Give the wall-clock time."""
        return NOW + timedelta(seconds=1)

    def mono(self) -> float:
        """Give monotonic seconds."""
        return 1000.0


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(Path(folder))
        return load_tokenizer(Path(folder))


class Stage:
    """One home and what its programs would do next; made on a new folder, or on one that a power cut left."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self.spool = Spool(self.paths)
        self.clock = Standing()

    # -- making it -------------------------------------------------------------------------------------------------

    def put(self, state: str, job: str = JOB, priority: Priority = "normal") -> Path:
        """Put a job of three lines into a state, claimed if that is processing."""
        folder = self.paths.state(state) / job
        folder.mkdir()
        record = job_record(job, LINES, name=DROP, received_at=AT, content_sha256="a" * 64, priority=priority)
        (folder / "job.json").write_bytes(encode_pretty(record))
        (folder / "data.jsonl").write_bytes(chat_lines(job, LINES)[1])
        if state == "processing":
            (folder / "claim.json").write_bytes(encode_pretty(msgspec.structs.replace(claim(job), origin=priority)))
            append_record(folder / "attempts.jsonl", encode(Attempt(at=AT, event="claimed", by="train_next")))
            request = RunRequest(job=job, model="tiny", parent=None, epochs=1, max_train_s=None, attempt=1, at=AT)
            (folder / "run.json").write_bytes(encode_pretty(request))
        return folder

    def history(self, *jobs: str) -> list[str]:
        """Make a base and a checkpoint for each job that consumed it whole; head is the last one. Give the names."""
        names = [make_checkpoint(self.paths, 0, None)]
        for number, job in enumerate(jobs, 1):
            name = make_checkpoint(self.paths, number, names[-1])
            make_state(self.paths, name)
            span = RowSpan(job=job, rows_from=0, rows_to=LINES, lines=list(range(1, LINES + 1)), epoch=0)
            folder = self.paths.model("tiny").checkpoint(name)
            record = decode(Checkpoint, (folder / SIDECAR).read_bytes(), "")
            for path in (folder / SIDECAR, self.paths.model("tiny").ledger(name)):
                path.write_bytes(encode_pretty(msgspec.structs.replace(record, consumed=[span])))
            write_manifest(folder)
            plan = Plan(
                job=job, model="tiny", parent=None, first_step=0, seed=0, epochs=1, packing=False, micro_batch=1,
                batch_tokens=64, accumulation=1, rows=[[line] for line in range(1, LINES + 1)], steps=[1] * LINES,
            )  # fmt: skip
            (self.spool.folder(job) / "plan.json").write_bytes(encode_pretty(plan))
            names.append(name)
        Ledger(self.paths).write_head("tiny", Head(checkpoint=names[-1], reason="test", at=AT))
        return names

    def result(self, outcome: Outcome, permanent: bool = False, job: str = JOB) -> None:
        """End the running job as its trainer would."""
        done = LINES if outcome is Outcome.COMPLETED else 0
        result = RunResult(
            job=job, model="tiny", outcome=outcome, global_step=done, rows_done=done, runtime_s=1.0, train_s=1.0, tokens=1,
            checkpoint=None, final_loss=None, summary="rows", error=None, permanent=permanent, by=GONE, at=AT,
        )  # fmt: skip
        (self.paths.state("processing") / job / "result.json").write_bytes(encode_pretty(result))

    def claim_nothing(self) -> None:
        """Let the next train_next settle what ended, and claim nothing."""
        set_paused(self.paths, Pause(verb="stop", by="test", at=AT))

    def drop(self) -> None:
        """Put a file and its sidecar into the inbox, to be queued as urgent."""
        (self.paths.inbox / DROP).write_bytes(chat_lines(DROP, LINES)[1])
        (self.paths.inbox / f"{DROP}{SIDECAR_ENDING}").write_text('{"schema": "weaver.sidecar/1", "priority": "high"}')

    # -- the programs ----------------------------------------------------------------------------------------------

    def context(self, name: str) -> Context:
        """Give the context of one tick, in which a trainer ends at once."""
        return Context(
            name=name, host="local", clock=self.clock, paths=self.paths, config=Config(), environ={}, rng=random.Random(0),
            log=logging.getLogger("test"), spawn=_no_trainer, beat=lambda note: None, stopping=lambda: False,
            event=lambda event, **facts: None,
        )  # fmt: skip

    def train_next(self) -> None:
        """Let a new train_next tick once."""
        TrainNext().tick(self.context("train_next"))

    def admit(self, ops: Ops = OPS) -> None:
        """Take what is in the inbox and bring every drop to its verdict, as watch_inbox does from whatever it finds."""
        names = [path.name for path in self.paths.inbox.iterdir() if path.is_file() and not path.name.endswith(SIDECAR_ENDING)]
        for name in names:
            take(self.paths, "", name, NOW, None, ops)
        place = Place(
            paths=self.paths, config=Config().weaver, setting=_setting, known=lambda model, sha256: None, mono=lambda: 0.0,
            is_stopping=lambda: False, beat=lambda note: None, ops=ops,
        )  # fmt: skip
        for folder in [path for path in self.paths.building.iterdir() if is_identifier(path.name)]:
            drop = open_drop(place, folder)
            assert drop is None or drop.advance(place, math.inf), "the drop has no verdict"
            if (folder / "job.json").exists():
                publish(Spool(self.paths, ops), folder, ops)

    # -- judging it ------------------------------------------------------------------------------------------------

    def states(self, job: str = JOB) -> list[str]:
        """Give the states that a job is in: one, if all is well."""
        return [state for state in STATES if job in self.spool.list(state)]

    def audited(self, lines: int) -> list[str]:
        """Say what breaks an invariant; so many lines were ever dropped."""
        found = audit(self.paths)
        wrong = [f"{one.id}: {text}" for one in found.invariants for text in one.violations]
        if found.lines.dropped != lines or found.lines.unaccounted:
            wrong.append(f"{found.lines.dropped} of {lines} lines, {found.lines.unaccounted} of them unaccounted")
        return wrong

    def admitted(self) -> list[str]:
        """Say what is wrong with the job of the drop: queued, once, as its sidecar says, with every line."""
        jobs = [(state, job) for state in STATES for job in self.spool.list(state)]
        if [state for state, _ in jobs] != ["high"]:
            return [f"the drop is {jobs}"]
        folder = self.paths.state("high") / jobs[0][1]
        record = read(Job, folder / "job.json")
        rows = [json.loads(line) for line in (folder / "data.jsonl").read_bytes().splitlines()]
        texts = Counter(row["messages"][0]["content"] for row in rows)
        is_whole = record.name == DROP and texts == Counter(chat_lines(DROP, LINES)[0])
        return [] if is_whole else [f"queued as {record.name} with {texts}"]


def claim(job: str = JOB) -> Claim:
    """Give a claim of a process that is dead."""
    return Claim(job=job, owner="train_next", pid=GONE.pid, start_ticks=GONE.start_ticks, boot_id=GONE.boot_id, at=AT)


def end(outcome: str) -> Attempt:
    """Give the end of an attempt."""
    return Attempt(at=iso(NOW + timedelta(seconds=1)), event="finished", by="train_next", outcome=outcome)


def _setting(model: str, spec: Any, sidecar: Any) -> Setting:
    return Setting(spec=spec, tokenizer=_tokenizer(), max_length=500, grade=lambda *_: True, is_given=False)


class _Ended:
    pid = 0

    def poll(self) -> int:
        return 1


def _no_trainer(program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return cast("subprocess.Popen[bytes]", _Ended())

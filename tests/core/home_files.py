"""Write the files of a home as its programs leave them: configuration, heartbeats, views, jobs; for their readers' tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from core.clock import SystemClock, boot_id, compact, iso
from core.files import append_record
from core.jobs.job import Attempt, Job, LineCounts, Maker, Reason
from core.paths import Paths
from core.process import ProcessRef, this_process
from core.records import encode, encode_pretty
from core.status import Heartbeat, ProgramView, State, SupervisorView, write_heartbeat, write_supervisor_view

CHECKOUT = Path(__file__).parents[2]
OTHER_BOOT = "00000000-0000-0000-0000-000000000000"


def make_home(root: Path) -> Paths:
    """Make a home with the shipped configuration in a temporary folder."""
    (root / "config").mkdir(parents=True)
    for name in ("hosts.json", "weaver.yaml", "training.yaml", "evals.yaml"):
        shutil.copy(CHECKOUT / "config" / name, root / "config" / name)
    shutil.copytree(CHECKOUT / "config" / "skills", root / "config" / "skills")
    paths = Paths(root)
    paths.make()
    return paths


def dead_process() -> ProcessRef:
    """Give a process that has just ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ticks = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    child.communicate()
    return ProcessRef(pid=child.pid, start_ticks=ticks, boot_id=boot_id())


def beat(
    paths: Paths, name: str, *, process: ProcessRef | None = None, due_in_s: float = 60.0, age_s: float = 0.5, note: str = "",
    exit_code: int | None = None, boot: str | None = None, phase: str = "wait", error: str | None = None,
) -> None:  # fmt: skip
    """Write a heartbeat; of this very process unless another is given."""
    process = process or this_process()
    mono = SystemClock().mono()
    write_heartbeat(paths, Heartbeat(
        name=name, pid=process.pid, start_ticks=process.start_ticks, boot_id=boot or process.boot_id, state=State.RUNNING,
        seq=1, beat_mono=mono - age_s, next_due_mono=mono + due_in_s, beat_at=iso(SystemClock().now()), phase=phase, note=note,
        last_report=None, last_error=error, exit_code=exit_code, version="0.1.0",
    ))  # fmt: skip


def program(name: str, state: State = State.RUNNING, pid: int | None = None, **facts: object) -> ProgramView:
    """Give one program as the Weaver sees it."""
    fields = {"started_mono": None, "restarts": 0, "last_exit": None, "reason": "", **facts}
    return ProgramView(name=name, state=state, pid=pid or os.getpid(), **fields)  # type: ignore[arg-type]


def supervise(
    paths: Paths, programs: list[ProgramView], *, process: ProcessRef | None = None, boot: str | None = None,
    stopping: bool = False,
) -> None:  # fmt: skip
    """Write the Weaver's view; the Weaver is this very process unless another is given."""
    process = process or this_process()
    write_supervisor_view(paths, SupervisorView(
        pid=process.pid, start_ticks=process.start_ticks, boot_id=boot or process.boot_id, started_mono=1.0,
        started_at=iso(SystemClock().now()), stopping=stopping, programs=programs,
    ))  # fmt: skip


def healthy(paths: Paths, *names: str) -> None:
    """Leave the files of a factory in which everything runs; every program is this process."""
    supervise(paths, [program(name) for name in names])
    for name in ("weaver", *names):
        beat(paths, name, note=f"{name} works")


def job_record(job: str, accepted: int = 1, **changes: Any) -> Job:
    """Give the record of a job of a person, all of whose lines were accepted, but for what `changes` says."""
    record = Job(
        id=job, name="drop.jsonl", received_at="2026-11-20T21:30:00.000Z", bytes=1, content_sha256="0" * 64,
        spec="chat_sft_v1", source="person", priority="normal", model="tiny", made_for=None, generator=None,
        validator=Maker(id="test", version="1"), lines=LineCounts(dropped=accepted, accepted=accepted, rejected=0), tokens=None,
        reason=None, duplicate_of=None,
    )  # fmt: skip
    return msgspec.structs.replace(record, **changes)


def put_job(
    paths: Paths, state: str, name: str = "drop", *, accepted: int = 3, rejected: int = 0, duplicate: int = 0,
    reason: Reason | None = None, has_lines: bool = True, number: int = 0, model: str = "tiny",
) -> str:  # fmt: skip
    """Write a job as watch_inbox publishes it, with its lines; give its id."""
    job = f"{compact(SystemClock().now())[:-3]}{number:03d}-{'0' * 8}-{name}"
    folder = paths.state(state) / job
    folder.mkdir(parents=True)
    lines = LineCounts(dropped=accepted + rejected + duplicate, accepted=accepted, rejected=rejected, duplicate=duplicate)
    (folder / "job.json").write_bytes(encode_pretty(job_record(
        job, name=f"{name}.jsonl", received_at=iso(SystemClock().now()), source="people", model=model,
        lines=lines if has_lines else None, reason=reason,
    )))  # fmt: skip
    (folder / "data.jsonl").write_bytes(b'{"messages": []}\n' * accepted)
    (folder / "quarantine.jsonl").write_bytes(b"{}\n" * (rejected + duplicate))
    return job


def end_job(paths: Paths, state: str, job: str, outcome: str) -> None:
    """Note the end of a job, as the spool does."""
    attempt = Attempt(at=iso(SystemClock().now()), event="finished", by="test", outcome=outcome)
    append_record(paths.state(state) / job / "attempts.jsonl", encode(attempt))

"""What a durable job costs: admit, claim and finish of our spool, against huey on SQLite and against the bare flushes it makes.

All three work in one folder in one run, by turns, on the same payload. `huey` (extra `bench`) stores tasks in SQLite
with fsync on, its durable setting. Bare: files of the same sizes are written, flushed and renamed as often as our spool
does it, counted through its own system calls. Then the spool with 10 and 10,000 queued jobs, and one claim and one `weaver
status` with 100,000.

Usage: .venv/bin/python benchmarks/spool.py [jobs]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from factory import factory, publish

from core.clock import iso
from core.files import Ops
from core.jobs.job import Attempt, Claim, Job, LineCounts, Maker
from core.jobs.spool import Spool
from core.jobs.verdict import seal_job, write_job
from core.names import job_id
from core.paths import Paths
from core.process import this_process
from core.records import encode_pretty

JOBS = 300
FEW, MANY, MOST = 10, 10_000, 100_000
LINE = (
    b'{"messages": [{"role": "user", "content": "1010 xor 0110"}, {"role": "assistant", "content": "1100"}], "tools": null}\n'
)
DATA = LINE * 100
START = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)


class Counting(Ops):
    """The real system calls; counts how often something was flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.flushes = 0

    def fsync(self, path: Path) -> None:
        self.flushes += 1
        super().fsync(path)

    def append(self, path: Path, data: bytes) -> None:
        self.flushes += 1
        super().append(path, data)


class OurSpool:
    """A home's queue."""

    def __init__(self, root: Path, ops: Ops) -> None:
        self.paths = Paths(root)
        self.paths.make()
        self.ops, self.spool, self.number = ops, Spool(self.paths, ops), 0
        me = this_process()
        self.owner = {"pid": me.pid, "start_ticks": me.start_ticks, "boot_id": me.boot_id}

    def record(self) -> Job:
        self.number += 1
        at, digest = START + timedelta(milliseconds=self.number), f"{self.number:064x}"[::-1]
        return Job(
            id=job_id(at, digest, "drop.jsonl"), name="drop.jsonl", received_at=iso(at), bytes=len(DATA), content_sha256=digest,
            spec="chat_sft_v1", source="people", priority="normal", model="tiny", made_for=None, generator=None,
            validator=Maker(id="watch_inbox", version="1"), reason=None, duplicate_of=None, tokens=None,
            lines=LineCounts(dropped=100, accepted=100, rejected=0, duplicate=0),
        )  # fmt: skip

    def admit(self) -> None:
        """Write a job's data and record and publish it, as watch_inbox does."""
        job = self.record()
        folder = self.paths.building / job.id
        folder.mkdir()
        (folder / "data.jsonl").write_bytes(DATA)
        write_job(folder, job, self.ops)
        seal_job(folder, job, self.ops)
        self.spool.publish(folder, job.id, "normal")

    def claim(self) -> str:
        """Claim the oldest job."""
        job = self.spool.oldest()
        assert job is not None
        self.spool.claim(job, Claim(job=job, owner="train_next", at=iso(datetime.now(UTC)), **self.owner))
        return job

    def finish(self, job: str) -> None:
        """Complete a claimed job."""
        end = Attempt(at=iso(datetime.now(UTC)), event="finished", by="train_next", outcome="completed")
        self.spool.complete(job, end)

    def fill(self, count: int) -> None:
        """Queue so many jobs without flushing anything."""
        while self.number < count:
            job = self.record()
            folder = self.paths.state("normal") / job.id
            folder.mkdir()
            (folder / "job.json").write_bytes(encode_pretty(job))
            (folder / "attempts.jsonl").write_bytes(b"\n")


class Huey:
    """The same through huey with SQLite storage, flushed at every commit."""

    def __init__(self, root: Path) -> None:
        try:
            from huey import SqliteHuey
        except ImportError as error:
            raise SystemExit("huey is missing: ./scripts/install.sh training,dev,bench") from error
        self.huey: Any = SqliteHuey(filename=str(root / "huey.db"), fsync=True, results=True)

        @self.huey.task()  # type: ignore[untyped-decorator]
        def train(data: bytes) -> int:
            return len(data)

        self.train = train

    def admit(self) -> None:
        self.train(DATA)

    def claim(self) -> Any:
        return self.huey.dequeue()

    def finish(self, task: Any) -> None:
        self.huey.execute(task)  # runs the empty task and stores its result


class Bare:
    """As many flushes of files of these sizes, each written and renamed in one folder."""

    def __init__(self, root: Path, flushes: dict[str, int]) -> None:
        self.root, self.flushes, self.number, self.ops = root, flushes, 0, Ops()

    def step(self, name: str) -> None:
        """Make the flushes of one step: of the data for the first, of small files after it."""
        for at in range(self.flushes[name]):
            self.number += 1
            path = self.root / f"{self.number}"
            path.write_bytes(DATA if name == "admit" and at == 0 else LINE)
            self.ops.fsync(path)
        path.rename(self.root / f"{self.number}.done")


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    given = act()
    return time.perf_counter() - began, given


def flushes_of(root: Path) -> dict[str, int]:
    """Count the flushes of each step once."""
    ops = Counting()
    ours = OurSpool(root / "counted", ops)
    found = {}
    ours.admit()
    found["admit"], ops.flushes = ops.flushes, 0
    job = ours.claim()
    found["claim"], ops.flushes = ops.flushes, 0
    ours.finish(job)
    found["finish"] = ops.flushes
    return found


def compare(root: Path, jobs: int, flushes: dict[str, int]) -> dict[str, float]:
    """Give the median milliseconds of each whole cycle, taken by turns."""
    ours, theirs = OurSpool(root / "ours", Ops()), Huey(root)
    bare = Bare(root, flushes)
    found: dict[str, list[float]] = {"ours": [], "huey": [], "bare": []}
    for _ in range(jobs):
        admit_s, _ = timed(ours.admit)
        claim_s, job = timed(ours.claim)
        finish_s, _ = timed(lambda job=job: ours.finish(job))
        found["ours"].append(admit_s + claim_s + finish_s)
        admit_s, _ = timed(theirs.admit)
        claim_s, task = timed(theirs.claim)
        finish_s, _ = timed(lambda task=task: theirs.finish(task))
        found["huey"].append(admit_s + claim_s + finish_s)
        found["bare"].append(sum(timed(lambda step=step: bare.step(step))[0] for step in flushes))
    return {name: 1000 * statistics.median(times[jobs // 10 :]) for name, times in found.items()}


def cycle_ms(root: Path, queued: int, jobs: int) -> float:
    """Give the median milliseconds of admit, claim and finish with so many jobs queued all the time."""
    ours = OurSpool(root / f"queued-{queued}", Ops())
    ours.fill(queued)
    times = []
    for _ in range(jobs):
        began = time.perf_counter()
        ours.admit()
        ours.finish(ours.claim())
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def main() -> None:
    """Measure, print, publish."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    with tempfile.TemporaryDirectory(prefix="weaver-spool-") as folder:
        root = Path(folder)
        flushes = flushes_of(root)
        print("flushes:", " + ".join(f"{count} ({name})" for name, count in flushes.items()))
        cycles = compare(root, jobs, flushes)
        few, many = cycle_ms(root, FEW, jobs), cycle_ms(root, MANY, jobs)
    with factory() as made:
        ours = OurSpool(made.home, Ops())
        ours.fill(MOST)
        claim_s, _ = timed(ours.claim)
        status_s, _ = timed(made.status)
    publish(
        "spool",
        {
            **{f"flushes_{name}": count for name, count in flushes.items()},
            **{f"{name}_cycle_ms": round(ms, 2) for name, ms in cycles.items()},
            "ours_to_bare_ratio": round(cycles["ours"] / cycles["bare"], 2),
            "huey_to_ours_ratio": round(cycles["huey"] / cycles["ours"], 2),
            "cycle_10_queued_ms": round(few, 2), "cycle_10000_queued_ms": round(many, 2), "growth_ratio": round(many / few, 2),
            "claim_100000_queued_s": round(claim_s, 3), "status_100000_queued_s": round(status_s, 3),
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()

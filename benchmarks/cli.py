"""Wall time of commands as whole processes, the interpreter's start included, against `python -c pass` in the same run.

`status` on a running factory; `queue ls` and, once more, `status` in a home with 1,000 jobs; `--help` of the program and of a
verb. Every round runs each command once, so that all see the same machine; the first round is not counted.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from factory import WEAVER, Factory, factory, publish

from core.clock import iso
from core.jobs.job import Job, LineCounts, Maker, TokenCounts
from core.names import job_id
from core.paths import Paths
from core.records import encode_pretty

RUNS = 25
JOBS = 1000
LINES = 8
STATES = ("normal", "normal", "low", "high", "completed")


def put_jobs(paths: Paths, count: int) -> None:
    """Write job folders as watch_inbox publishes them: most of them queued, some completed."""
    paths.make()
    first = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)
    line = b'{"messages": [{"role": "user", "content": "1010 xor 0110"}, {"role": "assistant", "content": "1100"}]}\n'
    for number in range(count):
        at, digest = first + timedelta(seconds=number), f"{number:064x}"[::-1]
        name = job_id(at, digest, f"drop {number}.jsonl")
        folder = paths.state(STATES[number % len(STATES)]) / name
        folder.mkdir()
        (folder / "data.jsonl").write_bytes(line * LINES)
        (folder / "quarantine.jsonl").touch()
        (folder / "job.json").write_bytes(encode_pretty(Job(
            id=name, name=f"drop {number}.jsonl", received_at=iso(at), bytes=len(line) * LINES, content_sha256=digest,
            spec="chat_sft_v1", source="people", priority="normal", model="tiny", made_for=None, generator=None,
            validator=Maker(id="watch_inbox", version="1"), reason=None, duplicate_of=None,
            lines=LineCounts(dropped=LINES, accepted=LINES, rejected=0, duplicate=0),
            tokens=TokenCounts(min=20, median=20, p95=20, p99=20, max=20, total=20 * LINES),
        )))  # fmt: skip


def wall_s(made: Factory, command: list[str | Path], codes: tuple[int, ...]) -> float:
    """Give the wall time of one run in seconds; SystemExit when it ends with another code."""
    began = time.perf_counter()
    done = subprocess.run(command, env=made.environ, cwd=made.home, capture_output=True, check=False)
    took = time.perf_counter() - began
    if done.returncode not in codes:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr.decode()}")
    return took


def main() -> None:
    """Measure all of them in turns."""
    with factory(WEAVER__GENERATION__ENABLED="false") as running, factory() as full:
        put_jobs(Paths(full.home), JOBS)
        running.weaver("up")
        calls: dict[str, tuple[Factory, list[str | Path], tuple[int, ...]]] = {
            "floor": (full, [sys.executable, "-c", "pass"], (0,)),
            "help": (full, [WEAVER, "--help"], (0,)),
            "verb_help": (full, [WEAVER, "queue", "add", "--help"], (0,)),
            "queue_ls": (full, [WEAVER, "queue", "ls"], (0,)),
            "queue_ls_all_json": (full, [WEAVER, "queue", "ls", "--limit", "0", "--json"], (0,)),
            "status": (running, [WEAVER, "status"], (0,)),
            "status_json": (running, [WEAVER, "status", "--json"], (0,)),
            "status_1000_jobs": (full, [WEAVER, "status"], (3,)),
            "completion": (full, [WEAVER, "complete", "--", "queue", "show", ""], (0,)),
        }
        found: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(RUNS + 1):
            for name, call in calls.items():
                found[name].append(wall_s(*call))
    counted = {name: times[1:] for name, times in found.items()}
    medians = {f"{name}_median_s": statistics.median(times) for name, times in counted.items()}
    publish(
        "cli", {**medians, "status_max_s": max(counted["status"])}, **{f"{name}_s": times for name, times in counted.items()}
    )


if __name__ == "__main__":
    main()

"""A factory of its own for a benchmark: a fresh home in a temporary folder, started and stopped by the commands a person types.

Also writes results: benchmarks/results/<name>.json with commit, hardware, load and date, and prints the same figures.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.paths import Paths
from weaver.drill.ending import ending_in_order, kill_left

ROOT = Path(__file__).resolve().parents[1]
WEAVER = Path(sys.executable).with_name("weaver")


class Factory:
    """One running factory: its home, and its command line."""

    def __init__(self, home: Path, extra: Mapping[str, str]) -> None:
        self.home = home
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WEAVER")},
            "WEAVER_HOME": str(home), "WEAVER_WEB_PORT": "0", "WEAVER_ORACLE_PORT": "0", **extra,
        }  # fmt: skip

    def weaver(self, *words: str, check: bool = True) -> str:
        """Run a verb and give its standard output."""
        # In a session of its own: what a terminal sends to all in front of it must not end `weaver down` halfway.
        done = subprocess.run(
            [WEAVER, *words], env=self.environ, cwd=self.home, capture_output=True, text=True, start_new_session=True
        )
        if check and done.returncode != 0:
            raise SystemExit(f"weaver {' '.join(words)} failed ({done.returncode}): {done.stderr}")
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Give `weaver status --json`."""
        found: dict[str, Any] = json.loads(self.weaver("status", "--json", check=False))
        return found

    def view(self, name: str) -> dict[str, Any] | None:
        """Give a view from status/, None while it is not there."""
        try:
            found: dict[str, Any] = json.loads((self.home / "status" / name).read_bytes())
        except FileNotFoundError:
            return None
        return found

    def drop(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Drop a JSONL file by rename."""
        hidden = self.home / "queue" / "inbox" / f".{name}.writing"
        hidden.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        hidden.rename(hidden.with_name(name))

    def jobs(self, state: str) -> list[Path]:
        """Give the job folders in a state."""
        return sorted(path for path in (self.home / "queue" / state).iterdir() if path.name[0] != ".")

    def find(self, slug: str) -> Path | None:
        """Give the folder of the job whose id ends in slug, whatever its state."""
        for state in ("high", "normal", "low", "processing", "completed", "failed", "rejected"):
            for path in self.jobs(state):
                if path.name.endswith(slug):
                    return path
        return None


@contextmanager
def factory(**extra: str) -> Iterator[Factory]:
    """Give a factory with a fresh home that is not started yet; stop it and remove the home in the end, whatever ends it."""
    with ending_in_order():
        home = Path(tempfile.mkdtemp(prefix="weaver-bench-"))
        try:
            shutil.copytree(ROOT / "config", home / "config", ignore=shutil.ignore_patterns("local"))
            made = Factory(home, extra)
            try:
                yield made
            finally:
                made.weaver("down")
        finally:
            kill_left(Paths(home).home_id)
            shutil.rmtree(home)


def wait_for(what: str, seconds: float, found: Any, every_s: float = 0.05) -> Any:
    """Poll until found() gives something true, and give it; SystemExit when it takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(every_s)
    raise SystemExit(f"{what} did not happen within {seconds:g} s")


def hardware() -> str:
    """Name the machine."""
    model = platform.processor() or "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores {model}, {memory:.0f} GiB, no GPU"


def publish(name: str, figures: Mapping[str, float], **more: Any) -> None:
    """Write benchmarks/results/<name>.json and print the figures."""
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    rounded = {key: round(value, 4) for key, value in figures.items()}
    result = {
        "name": name, "commit": commit.stdout.strip() or "unknown", "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "hardware": hardware(), "load_average": list(os.getloadavg()), "figures": rounded, **more,
    }  # fmt: skip
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for key, value in rounded.items():
        print(f"{name}.{key}: {value:g}")

"""Homes in temporary folders, clocks that the test moves, and waiting for a condition; shared by all tests."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from core.files import replace_durable
from core.paths import Paths
from core.records import encode_pretty
from weaver.desired import PROGRAMS, DesiredRecord

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")


def make_home(root: Path) -> Paths:
    """Make a home with the checkout's configuration."""
    paths = Paths(root.resolve())
    shutil.copytree(ROOT / "config", paths.config, ignore=shutil.ignore_patterns("local"))
    paths.make()
    return paths


def home_environment(paths: Paths) -> dict[str, str]:
    """Give the environment for programs of a home: free ports, one thread, nothing of a Weaver that may run outside."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WEAVER")}
    ports = {"WEAVER_WEB_PORT": "0", "WEAVER_ORACLE_PORT": "0"}
    return {**clean, **ports, "WEAVER_HOME": str(paths.home), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 20.0) -> T:
    """Look again and again until there is something true; give it. Raises AssertionError naming what did not happen."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


class HandClock:
    """A clock that stands still until the test moves it; jumped: how far the wall clock was set from where it should be."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.jumped = timedelta()

    def now(self) -> datetime:
        """Give the wall-clock time."""
        return datetime(2026, 11, 20, 21, 30, tzinfo=UTC) + timedelta(seconds=self.passed_s) + self.jumped

    def mono(self) -> float:
        """Give monotonic seconds."""
        return 1000.0 + self.passed_s


def switch_on(paths: Paths, *only: str) -> None:
    """Let only these programs of a home run."""
    off = sorted({program.name for program in PROGRAMS if program.argv} - set(only))
    replace_durable(paths.desired, encode_pretty(DesiredRecord(off=tuple(off))))


def delete_status(paths: Paths) -> None:
    """Delete status/ with everything in it at one moment, while programs write into it."""
    gone = paths.home / ".deleted-status"
    paths.status.rename(gone)
    shutil.rmtree(gone)

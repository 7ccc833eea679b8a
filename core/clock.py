"""Time: the wall clock for display, the monotonic clock for durations, the boot id that says whose monotonic clock it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """What programs may ask about time."""

    def now(self) -> datetime:
        """Give the wall-clock time, UTC."""
        ...

    def mono(self) -> float:
        """Give monotonic seconds, comparable between processes of one boot."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Give the wall-clock time, UTC."""
        return datetime.now(UTC)

    def mono(self) -> float:
        """Give CLOCK_MONOTONIC in seconds."""
        return time.monotonic()


def boot_id() -> str:
    """Give the kernel's id of this boot (Linux: /proc/sys/kernel/random/boot_id)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def iso(at: datetime) -> str:
    """Write a time as UTC ISO 8601 with milliseconds and Z."""
    at = at.astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def from_iso(text: str) -> datetime:
    """Read a time that iso() wrote. Raises ValueError, also for a time that does not say where it is told."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; expected one that ends with Z")
    return at


def compact(at: datetime) -> str:
    """Write a time for file names: YYYYMMDD-HHMMSSmmm, UTC; sorts as time does."""
    at = at.astimezone(UTC)
    return at.strftime("%Y%m%d-%H%M%S") + f"{at.microsecond // 1000:03d}"


def from_compact(text: str) -> datetime:
    """Read a time that compact() wrote. Raises ValueError."""
    return datetime.strptime(text, "%Y%m%d-%H%M%S%f").replace(tzinfo=UTC)

"""Keep logs/<name>.out bounded: what programs print goes past the Weaver straight into these files.

Files written: logs/*.out, in place (core/log.py). Invariant: while a Weaver lives no file gets longer than OUT_BYTES and what
its program prints in LOOK_S, or in FLOOD_LOOK_S once a flood was seen. Without a Weaver programs cut their own (core/pulse.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from core.log import OUT_BYTES, OUT_KEPT_BYTES, keep_end
from core.paths import Paths

LOOK_S = 1.0
FLOOD_LOOK_S = 0.1
FLOOD_BYTES = 10**6  # more than this between two looks is a flood


class Outputs:
    """The .out files of one home: how long each was at the last look."""

    def __init__(self, logs: Path, longest: int = OUT_BYTES, kept: int = OUT_KEPT_BYTES) -> None:
        self._logs, self._longest, self._kept = logs, longest, kept
        self._lengths: dict[str, int] = {}
        self._due = float("-inf")

    def trim(self, now: float) -> float:
        """Cut every file that is too long down to its end, from a whole line on; give the seconds until the next look.

        now: monotonic seconds; before the next look is due nothing is done.
        """
        if now >= self._due:
            self._due = now + LOOK_S
            lengths = dict(_lengths(self._logs))
            is_flood = any(length - self._lengths.get(name, 0) > FLOOD_BYTES for name, length in lengths.items())
            self._lengths = {name: self._cut_if_long(name, length) for name, length in lengths.items()}
            if is_flood:
                self._due = now + FLOOD_LOOK_S
        return self._due - now

    def _cut_if_long(self, name: str, length: int) -> int:
        if length <= self._longest:
            return length
        keep_end(self._logs / name, self._kept)
        return self._kept


def _lengths(logs: Path) -> Iterator[tuple[str, int]]:
    with os.scandir(logs) as entries:
        for entry in entries:
            if entry.name.endswith(".out") and entry.is_file(follow_symlinks=False):
                yield entry.name, entry.stat().st_size


def last_words(paths: Paths, name: str, age_s: float) -> str:
    """Give the last line that a program printed if it printed anything in the last age_s seconds; empty when it did not."""
    path = paths.logs / f"{name}.out"
    try:
        return last_line(path) if time.time() - path.stat().st_mtime <= age_s + 1.0 else ""
    except OSError:
        return ""


def last_line(path: Path, longest: int = 300) -> str:
    """Give the last line that a program printed, cut to `longest` characters; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        return ""
    return next((line.strip()[:longest] for line in reversed(lines) if line.strip()), "")

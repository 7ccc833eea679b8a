"""Keep logs/<name>.out bounded: what programs print goes past the Weaver straight into these files.

Files written: logs/*.out, in place, because their programs hold them open for appending. A line printed during the cut may be
lost; the JSON logs are never touched.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from core.paths import Paths

LONGEST_BYTES = 20 * 10**6
KEPT_BYTES = 10**6


def trim_outputs(logs: Path, longest: int = LONGEST_BYTES, kept: int = KEPT_BYTES) -> list[str]:
    """Cut every .out file longer than `longest` bytes down to its last `kept` bytes, from a whole line on; give their names."""
    cut = []
    for path in sorted(logs.glob("*.out")):
        if path.stat().st_size > longest:
            _cut(path, kept)
            cut.append(path.name)
    return cut


def _cut(path: Path, kept: int) -> None:
    with path.open("rb") as file:
        file.seek(-kept, os.SEEK_END)
        tail = file.read()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, 0)
        os.write(fd, b"(the beginning was cut off)\n" + tail[tail.find(b"\n") + 1 :])
    finally:
        os.close(fd)


def last_words(paths: Paths, name: str, age_s: float) -> str:
    """Give the last line that a program printed if it printed anything in the last age_s seconds; empty when it did not."""
    path = paths.logs / f"{name}.out"
    try:
        return last_line(path) if time.time() - path.stat().st_mtime <= age_s + 1.0 else ""
    except FileNotFoundError:
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

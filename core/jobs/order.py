"""In which order the jobs of one priority are claimed: by their names, which begin with the time of arrival.

Place in the flow: the spool claims by it, `weaver queue ls` shows it. Files: an empty mark `.<time>~<job>` in queue/low/ for
each job that was skipped. Invariants: only the names in one folder are read: a hundred thousand jobs cost one listing; the
clock is not asked, so that one set wrongly moves no skipped job.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

from core.clock import compact, from_compact
from core.files import OPS, Ops
from core.names import is_identifier

_TIME = len("YYYYMMDD-HHMMSSmmm")  # with it begins the name of every job


def claim_order(folder: Path) -> list[str]:
    """Give the jobs of a priority in the order in which they will be claimed.

    One that was skipped comes after those that were there then, else the next one would be itself; it goes before those that
    came later, which may never end.
    """
    names = _names(folder)
    since = _skipped(names)
    return sorted((name for name in names if is_identifier(name)), key=lambda job: (since.get(job, job), job))


def next_in(folder: Path, but: Collection[str] = ()) -> str | None:
    """Give the first job of a priority in that order that is not in `but`."""
    names = _names(folder)
    since = _skipped(names)
    late = min(((at, job) for job, at in since.items() if job in names and job not in but), default=None)
    left: Collection[str] = set(names).difference(but, since) if since or but else names
    while left:
        name = min(left)  # in C, of a hundred thousand; few are no jobs
        if is_identifier(name):
            return late[1] if late is not None and late < (name, name) else name
        left = set(left) - {name}
    return late[1] if late is not None else None


def mark_skipped(folder: Path, job: str, ops: Ops = OPS) -> None:
    """Let a job that comes into this priority wait behind those that are there now; old marks go."""
    folder.mkdir(parents=True, exist_ok=True)
    names = _names(folder)
    there = {name for name in names if is_identifier(name) and name != job}
    since = _skipped(names)
    for name in names:
        marked = _marked(name)
        if marked is not None and (marked == job or marked not in there):
            (folder / name).unlink(missing_ok=True)
    last = max((at for name in there if (at := _time(since.get(name, name)))), default=None)
    if last is not None:
        ops.write_new(folder / f".{compact(last + timedelta(milliseconds=1))}~{job}", b"")
        ops.fsync(folder)  # before the job comes: without its mark it would be the next one itself


def forget_skip(folder: Path, job: str) -> None:
    """Remove the mark of a job that was claimed: when it comes back, it comes to its old place."""
    ending = f"~{job}"
    for name in _names(folder):
        if name.endswith(ending):
            (folder / name).unlink(missing_ok=True)


def _skipped(names: Collection[str]) -> dict[str, str]:
    """Give since when skipped jobs wait, as the names of jobs begin."""
    marks = sorted([name for name in names if name[0] == "."])
    return {marked: name[1:].split("~", 1)[0] for name in marks if (marked := _marked(name)) is not None}


def _time(name: str) -> datetime | None:
    """Give the time that a name begins with; None for a folder that a person made."""
    try:
        return from_compact(name[:_TIME])
    except ValueError:
        return None


def _marked(name: str) -> str | None:
    return name.split("~", 1)[1] if name.startswith(".") and "~" in name else None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - at every claim, of a hundred thousand names
    except FileNotFoundError:
        return []

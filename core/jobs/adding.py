"""A file from anywhere into the inbox, as a person's program should put it there: whole, durable, its sidecar first.

Place in the flow: `weaver queue add`. Files written: queue/inbox/.add-<pid>-<hex> while the copy is made, then the sidecar and
the file under their names. Invariants: nothing in the inbox is overwritten; a drop appears whole or not at all; what a killed
copy left is removed by the next one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import msgspec

from core.errors import AlreadyExists, InvalidData, NoRoom, UsageError
from core.files import OPS, Ops, move
from core.jobs.inbox import PLACES, SIDECAR_ENDING, UNFINISHED
from core.jobs.job import Sidecar
from core.paths import Paths
from core.process import start_ticks
from core.records import to_builtins

PREFIX = ".add-"
LONGEST_NAME = 200


def check_name(name: str) -> None:
    """Refuse a name that the inbox would not take for a drop's. Raises UsageError."""
    if name.startswith(".") or not name.isprintable() or len(os.fsencode(name)) > LONGEST_NAME:
        detail = f"{name[:100]!r} cannot be dropped: expected a printable name without a leading dot, {LONGEST_NAME} bytes long"
        raise UsageError(detail=f"{detail} at most; rename the file.")
    if name in PLACES or name.lower().endswith((*UNFINISHED, SIDECAR_ENDING)):
        raise UsageError(
            detail=f"{name!r} is a name that the inbox keeps for itself or takes for an unfinished file; rename it."
        )


def check_free(paths: Paths, name: str) -> None:
    """Refuse a name that waits in the inbox already. Raises AlreadyExists."""
    there = [paths.inbox / place / name for place in PLACES] + [paths.inbox / (name + SIDECAR_ENDING)]
    for path in there:
        if os.path.lexists(path):
            raise AlreadyExists(path=str(path))


def check_room(paths: Paths, needed: int, floor: int) -> None:
    """Refuse a copy after which less than `floor` bytes would be free. Raises NoRoom."""
    paths.inbox.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(paths.inbox).free
    if free < needed + floor:
        advice = "Free some space, then add it again."
        raise NoRoom(free=free, path=str(paths.inbox), floor=needed + floor, advice=advice)


def sidecar_bytes(sidecar: Sidecar) -> bytes:
    """Write a sidecar as a person would: only what is said."""
    silent = to_builtins(Sidecar())
    said = {key: value for key, value in to_builtins(sidecar).items() if key == "schema" or value != silent[key]}
    return msgspec.json.format(msgspec.json.encode(said), indent=1) + b"\n"


def add(paths: Paths, source: Path, name: str, sidecar: Sidecar | None, ops: Ops = OPS) -> None:
    """Copy a file into the inbox under a name that is free, durably. Raises AlreadyExists, InvalidData if it cannot be read."""
    check_name(name)
    paths.inbox.mkdir(parents=True, exist_ok=True)
    sweep(paths)
    copy = paths.inbox / f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
    beside, note = paths.inbox / (name + SIDECAR_ENDING), copy.with_name(f"{copy.name}-sidecar")
    try:
        _copy(source, copy)
        ops.fsync(copy)
        check_free(paths, name)
        if sidecar is None:
            move(copy, paths.inbox / name, ops)
            return
        ops.write_new(note, sidecar_bytes(sidecar))
        ops.fsync(note)
        move(note, beside, ops)
        try:
            move(copy, paths.inbox / name, ops)
        except (OSError, AlreadyExists):
            if copy.exists():  # else the drop is there, only its folder was not flushed: its sidecar stays with it
                beside.unlink(missing_ok=True)
            raise
    finally:
        for path in (copy, note):
            path.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copy bytes and nothing else. Raises InvalidData if the source cannot be read, OSError if the target cannot be written."""
    try:
        with source.open("rb"):
            pass
    except OSError as error:
        raise InvalidData(where=str(source), detail=f"cannot be read: {error.strerror}") from error
    shutil.copyfile(source, target)


def sweep(paths: Paths) -> None:
    """Remove the copies of processes that were killed in the middle."""
    for path in paths.inbox.glob(f"{PREFIX}*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and start_ticks(int(owner)) is None:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

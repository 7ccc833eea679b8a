"""Look after the children that unpack drops: start them, bound how many there are, judge how they ended.

Place in the flow: core/jobs/building asks bring() again and again until it has the answer; `weaver data check` calls unpack(),
which waits. Files read: what core/jobs/unpack/order names. Invariants: one child a drop; a child dies with its parent; one that
breaks or stands still is started again a few times, then the drop is refused and never stops the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from core.errors import CorruptRecord, DiskLow, NewerRecord
from core.jobs.inbox import reading_of
from core.jobs.job import Reason
from core.jobs.unpack.order import ANSWER, LINES, Order, Unpacked
from core.records import read

DISK_LOW = 75
"""Exit code of a child that left off because the disk is nearly full; it is started again when there is space."""
PATIENCE = 3
STILL_S = 120.0
MOST = 3
LARGE_BYTES = 16 * 2**20
_STAT_TIMES = slice(11, 13)  # utime and stime in /proc/<pid>/stat, counted after the name of the program


def needs_unpacking(name: str) -> bool:
    """Say whether a drop of this name is anything else than plain JSON Lines."""
    return reading_of(name) != (".jsonl", "")


def answer(order: Order) -> Unpacked | None:
    """Give what a child answered, if it is about the file as it lies there now."""
    folder = Path(order.folder)
    try:
        found = read(Unpacked, folder / ANSWER)
        is_of = found.is_of(Path(order.raw).stat())
        is_whole = found.refusal is not None or (folder / LINES).stat().st_size == found.bytes
    except (FileNotFoundError, CorruptRecord, NewerRecord):
        return None
    return found if is_of and is_whole else None


def unpack(order: Order) -> Unpacked:
    """Unpack a file in a child and wait for the end; the folder must be private and may be empty.

    Afterwards <folder>/lines.jsonl has one line for each of the file's records, unless the answer is a refusal. A file that
    breaks the child is refused as unreadable. Raises DiskLow.
    """
    (Path(order.folder) / ANSWER).unlink(missing_ok=True)
    code = _start(order).wait()
    found = answer(order)
    if found is None and code == DISK_LOW:
        raise DiskLow(free="too few", path=order.folder, floor=order.bounds.floor_bytes)
    return found or _broken(order, f"the program that read it ended with {code}")


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    size: int
    ticks: int
    moved_mono: float


class Unpackers:
    """The children at work: at most MOST, and at most one of them on a drop of more than LARGE_BYTES."""

    def __init__(self) -> None:
        self._children: dict[str, _Child] = {}
        self._failures: dict[str, int] = {}

    def bring(self, order: Order, size: int, mono: float) -> Unpacked | None:
        """Give the answer; None while it is not there. size: of the file in bytes; mono: seconds."""
        child = self._children.get(order.folder)
        if child is None:
            found = answer(order)
            if found is None and self._has_room(size):
                (Path(order.folder) / ANSWER).unlink(missing_ok=True)
                self._children[order.folder] = _Child(_start(order), size, 0, mono)
            return found
        code = child.process.poll()
        if code is None:
            return self._watch(order, child, mono)
        del self._children[order.folder]
        found = answer(order)
        if found is None and code not in (0, DISK_LOW):  # after 0 the file was written to since
            return self._failed(order, f"the program that read it ended with {code}, see logs/watch_inbox.out")
        return found

    def is_at_work(self, folder: Path) -> bool:
        """Say whether a child unpacks into this folder now."""
        return str(folder) in self._children

    def stop(self, folder: Path) -> None:
        """End the child that unpacks into this folder, if there is one, and forget how often it failed."""
        child = self._children.pop(str(folder), None)
        self._failures.pop(str(folder), None)
        if child is not None:
            child.process.kill()
            child.process.wait()

    def keep_only(self, folders: set[Path]) -> None:
        """End the children whose drops are gone."""
        for folder in [Path(name) for name in self._children if Path(name) not in folders]:
            self.stop(folder)

    def _has_room(self, size: int) -> bool:
        large = sum(child.size > LARGE_BYTES for child in self._children.values())
        return len(self._children) < MOST and (size <= LARGE_BYTES or not large)

    def _watch(self, order: Order, child: _Child, mono: float) -> Unpacked | None:
        ticks = _ticks(child.process.pid)
        if ticks != child.ticks:
            child.ticks, child.moved_mono = ticks, mono
        elif mono - child.moved_mono >= STILL_S:
            child.process.kill()
            child.process.wait()
            del self._children[order.folder]
            return self._failed(order, f"the program that read it stood still for {STILL_S:.0f} s")
        return None

    def _failed(self, order: Order, what: str) -> Unpacked | None:
        failures = self._failures.get(order.folder, 0) + 1
        self._failures[order.folder] = failures
        if failures < PATIENCE:
            return None
        del self._failures[order.folder]
        return _broken(order, f"reading it broke {failures} times: {what}")


def _start(order: Order) -> subprocess.Popen[bytes]:
    order = msgspec.structs.replace(order, parent=os.getpid())
    text = json.dumps(msgspec.to_builtins(order))
    return subprocess.Popen([sys.executable, "-m", "core.jobs.unpack", text], stdin=subprocess.DEVNULL)


def _broken(order: Order, what: str) -> Unpacked:
    facts = Path(order.raw).stat()
    reason = Reason(code="unreadable", message=f"{what}. Write the file anew, best as plain .jsonl, and drop it again")
    return Unpacked(
        unit="line", bytes=0, refusal=reason, raw_bytes=facts.st_size, raw_mtime_ns=facts.st_mtime_ns, raw_inode=facts.st_ino
    )


def _ticks(pid: int) -> int:
    """Give the processor time of a child in clock ticks; it is there until it is waited for."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return sum(int(field) for field in stat.rpartition(")")[2].split()[_STAT_TIMES])

"""The verdict that watch_inbox would give a file, found by the same code without dropping it.

Place in the flow: `weaver data` and nobody else; what is checked here never becomes a job. Files written: a copy of the file
and what intake writes, in a private folder outside of the home that the caller removes. Invariant: the same file, sidecar,
model and suites give the same job.json and the same quarantine as a drop of that name; the home is only read.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from core.clock import iso
from core.errors import InvalidData, NoRoom
from core.files import replace_durable
from core.jobs.arrivals import refusal_of
from core.jobs.building import Building, Place, open_drop
from core.jobs.drop import Taken, printable, read_sidecar
from core.jobs.job import Job, Line, QuarantinedLine, Reason, Sidecar
from core.jobs.lines import read_lines
from core.jobs.tally import Tally
from core.jobs.unpack.order import LINES
from core.jobs.validate import clipped
from core.jobs.verdict import refused
from core.records import encode_pretty, read, read_if_there


@dataclass(frozen=True)
class Checked:
    """What is known of a file: of all of it, or of its beginning while job is None. folder holds the lines."""

    folder: Path
    model: str
    tally: Tally
    job: Job | None

    def accepted(self) -> Iterator[Line]:
        """Give the lines that would be trained, in order."""
        for data in _lines_of(self.folder / "data.jsonl", self.tally.data_bytes):
            yield msgspec.json.decode(data, type=Line)

    def refused(self) -> Iterator[QuarantinedLine]:
        """Give the lines that are left out, in order."""
        for data in _lines_of(self.folder / "quarantine.jsonl", self.tally.quarantine_bytes):
            yield msgspec.json.decode(data, type=QuarantinedLine)


@dataclass(frozen=True)
class Fate:
    """What became of one line: it would be trained, or it is left out; neither where the whole file was refused before."""

    number: int
    line: Line | None
    refused: QuarantinedLine | None


def fates(checked: Checked, longest: int) -> Iterator[Fate]:
    """Give what became of every line that was looked at, in order, blank ones left out. longest: bytes of a line."""
    unpacked = checked.folder / LINES
    source = unpacked if unpacked.exists() else checked.folder / "raw"
    refused, accepted = checked.refused(), checked.accepted()
    waiting = next(refused, None)
    with source.open("rb") as file:
        for raw in read_lines(file, 0, 1, longest, lambda: None):
            if raw.number > checked.tally.line:
                return
            if raw.length <= longest and raw.is_blank:
                continue
            if waiting is not None and waiting.line == raw.number:
                yield Fate(number=raw.number, line=None, refused=waiting)
                waiting = next(refused, None)
            else:
                yield Fate(number=raw.number, line=next(accepted, None), refused=None)


class Check:
    """One file being checked in a private folder, as far as the caller wants."""

    def __init__(self, file: Path, sidecar: bytes | None, folder: Path, place: Place, now: datetime) -> None:
        """Copy the file and open the copy as a drop. Raises InvalidData when it cannot be read, NoRoom."""
        self._place, self._folder = place, folder
        try:
            facts = file.stat()
        except OSError as error:
            raise InvalidData(where=str(file), detail=f"cannot be read: {error.strerror}") from error
        refusal = refusal_of(file, facts, place.config.intake.max_file_bytes)
        name, received = printable(file.name), iso(now)
        self._model = place.config.model
        self._job: Job | None = None
        self._drop: Building | None = None
        if refusal is not None:
            self._job = _unread(name, received, facts.st_size, refusal, place.config.model)
            return
        _copy(file, folder / "raw", facts.st_size)
        copied = (folder / "raw").stat()
        taken = Taken(
            name=name, place="", received_at=received, bytes=copied.st_size, inode=copied.st_ino, mtime_ns=copied.st_mtime_ns,
            has_sidecar=sidecar is not None, refusal=None,
        )  # fmt: skip
        replace_durable(folder / "taken.json", encode_pretty(taken))
        if sidecar is not None:
            replace_durable(folder / "sidecar.json", sidecar)
        self._drop = open_drop(place, folder)
        if self._drop is not None:
            self._model = read_sidecar(folder, place.config.models).model or self._model

    def advance(self, until: float) -> bool:
        """Check on until the monotonic time `until`, one line at least; True when the verdict is there.

        Raises Unavailable, TemplateRefused, InvalidData when the checks cannot be had.
        """
        if self._drop is not None and not self._drop.advance(self._place, until):
            return False
        self._drop = None
        return True

    def so_far(self) -> Checked:
        """Give what is known by now."""
        tally = read_if_there(Tally, self._folder / "cursor.json") or Tally()
        job = self._job
        if job is None and self._drop is None:
            job = read(Job, self._folder / "job.json")
        return Checked(folder=self._folder, model=self._model, tally=tally, job=job)


def _unread(name: str, received: str, size: int, refusal: Reason, model: str) -> Job:
    """Give the record of a drop that would never be opened."""
    taken = Taken(
        name=name, place="", received_at=received, bytes=size, inode=0, mtime_ns=0, has_sidecar=False, refusal=refusal
    )  # fmt: skip
    return refused(taken, Sidecar(), model, clipped(refusal.code, refusal.message))


def _copy(file: Path, target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < 2 * size:  # its canonical lines lie beside it
        advice = "Free some space, or set TMPDIR to a folder on another disk."
        raise NoRoom(free=free, path=str(target.parent), floor=2 * size, advice=advice)
    try:
        shutil.copyfile(file, target)
    except OSError as error:
        raise InvalidData(where=str(file), detail=f"cannot be copied to {target.parent}: {error.strerror}") from error


def _lines_of(path: Path, size: int) -> Iterator[bytes]:
    """Give the lines of one of our files up to a size in bytes."""
    left = size
    if not left:
        return
    with path.open("rb") as file:
        while left > 0 and (line := file.readline()):
            left -= len(line)
            yield line

"""lines.jsonl while it is written: one line for each record of a drop, bounded, with space left on the disk.

Place in the flow: the readers of core/jobs/unpack write every record here; core/jobs/intake reads the lines. File written:
<folder>/lines.jsonl (a private folder). Invariants: line n is record n, whatever became of the records before it; it never
grows beyond the bounds.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from core.errors import DiskLow
from core.jobs.unpack.order import LINES, REFUSED, Bounds, Refused
from core.jobs.unpack.packed import check_size

_LOOK_BYTES = 16 * 2**20
_KEPT_CHARACTERS = 64 * 1024


class Output:
    """Takes lines, refused records and blank ones. basis: bytes of the drop that they are made from, for the ratio."""

    def __init__(self, folder: Path, bounds: Bounds, basis: int) -> None:
        self.records = self.bytes = 0
        self.basis = basis
        self._folder, self._bounds = folder, bounds
        self._looked = -_LOOK_BYTES
        path = folder / LINES
        path.unlink(missing_ok=True)
        self._file: BinaryIO = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb")

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def line(self, data: bytes) -> None:
        """Write a record: JSON without a newline. Raises DropRefused (too_big, unpack_ratio), DiskLow, OSError."""
        self.records += 1
        self.write(data + b"\n")

    def refuse(self, code: str, reason: str, raw: str) -> None:
        """Write that a record cannot be made a line; it is quarantined with its reason."""
        self.line(REFUSED + msgspec.json.encode(Refused(code=code, reason=reason, raw=raw[:_KEPT_CHARACTERS])))

    def write(self, data: bytes) -> None:
        """Write bytes of a file that has lines already. Raises as line()."""
        self.bytes += len(data)
        check_size(self.bytes, self.basis, self._bounds)
        if self.bytes - self._looked >= _LOOK_BYTES:
            self._looked = self.bytes
            check_space(self._folder, self._bounds)
        self._file.write(data)

    def finish(self) -> None:
        """Flush everything to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())


def check_space(folder: Path, bounds: Bounds) -> None:
    """Leave off while the disk is nearly full. Raises DiskLow."""
    free = shutil.disk_usage(folder).free
    if free < bounds.floor_bytes:
        raise DiskLow(free=free, path=str(folder), floor=bounds.floor_bytes)

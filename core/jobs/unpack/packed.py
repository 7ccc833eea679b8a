"""Bytes of a drop, unpacked while they are read: gzip and Zstandard, or as they are. Bounded, and honest about damage.

Place in the flow: the readers of core/jobs/unpack read every drop through open_packed(). File read: the drop. Invariants: never
more than a few MiB are held; what does not end as its format says is refused, with how far it got; nothing after it is ignored.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from core.jobs.formats import DropRefused
from core.jobs.unpack.order import Bounds

FREE_BYTES = 1 << 20  # a small file may be as repetitive as it likes
_GZIP = b"\x1f\x8b"
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([number]) + b"\x2a\x4d\x18" for number in range(0x50, 0x60)))  # frames, skippable frames
_BLOCK = 1 << 16
_SLICE = 1 << 10  # of Zstandard data: 1 KiB gives at most about 32 MiB
_WINDOW = 1 << 27


def check_size(size: int, packed: int, bounds: Bounds) -> None:
    """Refuse what unpacks to too much; both sizes in bytes. Raises DropRefused (too_big, unpack_ratio)."""
    if size > bounds.max_file_bytes:
        raise DropRefused(
            code="too_big",
            detail=f"the file unpacks to more than {bounds.max_file_bytes} bytes, which is what is allowed "
            "(intake.max_file_bytes); split it",
        )
    if size > FREE_BYTES and size > bounds.max_unpack_ratio * packed:
        raise DropRefused(
            code="unpack_ratio",
            detail=f"{packed} bytes unpack to more than {bounds.max_unpack_ratio} times as many "
            "(intake.max_unpack_ratio): this looks like a file made to fill the disk. If it is none, drop it unpacked",
        )


class _Gzip:
    """One member after the other."""

    name, magic, block = "gzip", (_GZIP,), _BLOCK

    def __init__(self) -> None:
        self._member: Any = zlib.decompressobj(wbits=31)

    @property
    def is_ended(self) -> bool:
        return bool(self._member.eof)

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Give what data unpacks to, a MiB at most, and what of data is left for the next call. Raises zlib.error."""
        found = self._member.decompress(data, FREE_BYTES)
        return found, self._member.unconsumed_tail or self._member.unused_data


class _Zstandard:
    """One frame after the other."""

    name, magic, block = "Zstandard", _ZSTD, _SLICE

    def __init__(self) -> None:
        import zstandard

        self._frame: Any = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    @property
    def is_ended(self) -> bool:
        return bool(self._frame.eof)

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Give what data unpacks to and what of it follows the frame. Raises ValueError for damaged data, MemoryError."""
        import zstandard

        try:
            found = self._frame.decompress(data)
        except zstandard.ZstdError as error:
            raise (MemoryError if "too much memory" in str(error) else ValueError)(str(error)) from error
        return found, self._frame.unused_data


class _Unpacked(io.RawIOBase):
    """A packed file as if it were not."""

    def __init__(self, file: BinaryIO, packed_bytes: int, kind: Callable[[], _Gzip | _Zstandard], bounds: Bounds) -> None:
        self._file, self._packed_bytes, self._kind, self._bounds = file, packed_bytes, kind, bounds
        self._part: _Gzip | _Zstandard | None = None
        self._left = b""
        self._ready = memoryview(b"")
        self._parts = self._given = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Unpack into buffer. Raises DropRefused (unreadable, too_big, unpack_ratio)."""
        while not self._ready:
            found = self._next()
            if found is None:
                return 0
            self._given += len(found)
            check_size(self._given, self._packed_bytes, self._bounds)
            self._ready = memoryview(found)
        target = memoryview(buffer)
        size = min(len(target), len(self._ready))
        target[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        """Close the packed file too."""
        self._file.close()
        super().close()

    def _next(self) -> bytes | None:
        """Give the next bytes, perhaps none yet; None at the end."""
        if self._part is not None and self._part.is_ended:
            self._part = None
        if self._part is None and not self._begin():
            return None
        assert self._part is not None
        self._left = self._left or self._file.read(self._part.block)
        is_at_end = not self._left
        try:
            found, self._left = self._part.feed(self._left)
        except MemoryError as error:
            what = f"needs more than {_WINDOW >> 20} MiB of memory to unpack. Pack it again, without a long window"
            raise self._refused(what) from error
        except (zlib.error, ValueError) as error:
            raise self._refused(f"is damaged ({error}). Copy the file again") from error
        if is_at_end and not found and not self._part.is_ended:
            raise self._refused("ends in the middle: its end is missing. Copy the file again, whole")
        return found

    def _begin(self) -> bool:
        """Begin the next member or frame; False at the end of the file. Raises DropRefused when something else follows."""
        kind = self._kind()
        while len(self._left) < 4 and (more := self._file.read(_BLOCK)):
            self._left += more
        if self._parts and kind.name == "gzip" and not self._left.strip(b"\0"):
            while more := self._file.read(_BLOCK):  # gzip lets zeros follow
                if more.strip(b"\0"):
                    self._left = more
                    break
            else:
                return False
        if not self._left:
            return False
        if not self._left.startswith(kind.magic):
            if not self._parts:
                raise self._refused(f"is no {kind.name} data: it begins with {self._left[:4].hex(' ')}. Name it as what it is")
            raise self._refused("ends, and something else follows that is not part of it. Remove that, or drop it unpacked")
        self._part, self._parts = kind, self._parts + 1
        return True

    def _refused(self, what: str) -> DropRefused:
        at = self._file.tell() - len(self._left)
        return DropRefused(
            code="unreadable",
            detail=f"the packed file {what} (at byte {at} of {self._packed_bytes}, after {self._given} unpacked bytes)",
        )


def open_packed(path: Path, packing: str, bounds: Bounds) -> io.BufferedReader:
    """Open a drop for reading; packing is "", ".gz" or ".zst". Reading raises DropRefused as _Unpacked does."""
    file = path.open("rb")
    if not packing:
        return file
    kind = _Gzip if packing == ".gz" else _Zstandard
    return io.BufferedReader(_Unpacked(file, path.stat().st_size, kind, bounds), _BLOCK)

"""How every published name appears: durable replace, quick replace, durable append, move. Nothing else publishes.

All system calls go through one small `Ops` object, so that tests enumerate and break them. A reader of a published name
sees the old content or the new content, never a mixture. Appended records carry a checksum; a torn tail is recognised.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import math
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from core.errors import AlreadyExists, CorruptRecord

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_CHECKSUM = len(b'"crc32":"00000000"}')
_TEMPORARY = re.compile(r"\..*\.\d+\.[0-9a-f]{8}\.tmp")


class Ops:
    """The system calls of this module, one method each; a test passes a subclass that fails or stops at call k."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def write_new(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        """Create path and write data to it; refuse an existing file."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            _write_all(fd, data)
        finally:
            os.close(fd)

    def append(self, path: Path, data: bytes) -> None:
        """Append data in one write call and flush it to the disk."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            _write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)

    def fsync(self, path: Path) -> None:
        """Flush a file or a folder to the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, replacing the target."""
        source.replace(target)

    def rename_new(self, source: Path, target: Path) -> None:
        """Rename, refusing an existing target (renameat2 with RENAME_NOREPLACE). Raises AlreadyExists, OSError."""
        failed = self._libc.renameat2(
            _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(_RENAME_NOREPLACE)
        )
        if not failed:
            return
        number = ctypes.get_errno()
        if number == errno.EEXIST:
            raise AlreadyExists(path=str(target))
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


OPS = Ops()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name[:80]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")


def remove_left_over(folder: Path, before: float = math.inf) -> list[str]:
    """Remove the temporary files that killed writers left in a folder, and name them; a missing folder is fine.

    before: Unix time in seconds; younger ones may still be at work. Without it, nobody else may write into the folder now.
    """
    removed = list[str]()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < before:
                Path(entry.path).unlink(missing_ok=True)
                removed.append(entry.name)
    return removed


def replace_durable(path: Path, data: bytes, ops: Ops = OPS, mode: int = 0o644) -> None:
    """Publish data under path so that it survives a power cut once this returns."""
    temporary = _temporary(path)
    try:
        ops.write_new(temporary, data, mode)
        ops.fsync(temporary)
        ops.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    ops.fsync(path.parent)


def replace_quick(path: Path, data: bytes, ops: Ops = OPS) -> None:
    """Publish data under path atomically but not durably: for views in status/ only. Makes the folder if it is gone."""
    temporary = _temporary(path)
    try:
        try:
            ops.write_new(temporary, data)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            ops.write_new(temporary, data)
        ops.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def append_record(path: Path, record: bytes, ops: Ops = OPS) -> None:
    """Append one JSON object durably as a line of strict JSON, its CRC-32 as last key: `{..., "crc32": "<8 hex>"}`.

    A torn tail left by a crash is closed with a newline first, so that it spoils no later record.
    """
    if b"\n" in record or not (record.startswith(b"{") and record.endswith(b"}")):
        raise CorruptRecord(where=str(path), schema="line", detail="a record is one JSON object without a newline")
    keys = record[:-1] + (b"," if record != b"{}" else b"")
    line = keys + _checksum(record) + b"\n"
    existed = path.exists()
    ops.append(path, (b"\n" if existed and _tail_is_torn(path) else b"") + line)
    if not existed:
        ops.fsync(path.parent)


def _checksum(record: bytes) -> bytes:
    return b'"crc32":"%08x"}' % zlib.crc32(record)


def _tail_is_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read_records(path: Path) -> Iterator[bytes]:
    """Give every whole record of an append-only file, in order; torn or damaged lines are passed over."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.split(b"\n"):
        record = line[:-_CHECKSUM].removesuffix(b",") + b"}"
        if len(line) > _CHECKSUM and line[-_CHECKSUM:] == _checksum(record):
            yield record


def seal(folder: Path, ops: Ops = OPS) -> None:
    """Flush every file and folder under a private folder to the disk, before move() publishes it."""
    for base, _, names in os.walk(folder, topdown=False):
        for name in names:
            ops.fsync(Path(base) / name)
        ops.fsync(Path(base))


def move(source: Path, target: Path, ops: Ops = OPS) -> None:
    """Publish or pass on a file or folder by one durable rename. Raises AlreadyExists, FileNotFoundError."""
    ops.rename_new(source, target)
    ops.fsync(target.parent)
    if source.parent != target.parent:
        ops.fsync(source.parent)


def remove_tree(folder: Path, trash: Path) -> None:
    """Remove a folder: one rename into the private trash folder, then deletion at leisure. Missing is fine."""
    trash.mkdir(parents=True, exist_ok=True)
    gone = trash / f"{folder.name}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file in hex, reading it in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

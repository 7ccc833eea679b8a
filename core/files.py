"""How every published name appears: durable replace, quick replace, durable append, move. Nothing else publishes.

All system calls go through one small `Ops` object, so that tests enumerate and break them. A reader of a published name
sees the old content or the new content, never a mixture. Appended records carry a checksum; a torn tail is recognised.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
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
_TEMPORARY = re.compile(r"\..*\.\d+\.[0-9a-f]{8}\.tmp", re.DOTALL)


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
        names = os.fsencode(source), os.fsencode(target)
        if b"\0" in names[0] + names[1]:  # C would take what stands before it for the name
            raise ValueError(f"a file name with a NUL: {source} or {target}")
        failed = self._libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_NOREPLACE))
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


def _own_name(name: str) -> str:
    """Give a name that nobody else makes: of a whole name of 255 bytes it keeps the beginning, so that a suffix fits."""
    return f"{os.fsdecode(os.fsencode(name)[:80])}.{os.getpid()}.{os.urandom(4).hex()}"


def _temporary(path: Path) -> Path:
    return path.with_name(f".{_own_name(path.name)}.tmp")


def remove_left_over(folder: Path, before: float = math.inf) -> list[str]:
    """Remove the temporary files that killed writers left in a folder, and name them; a missing folder is fine.

    before: Unix time in seconds; younger ones may still be at work. Without it, nobody else may write into the folder now.
    """
    left = left_over(folder, before)
    for path in left:
        path.unlink(missing_ok=True)
    return [path.name for path in left]


def left_over(folder: Path, before: float = math.inf) -> list[Path]:
    """Give the temporary files that remove_left_over() would remove."""
    found = list[Path]()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < before:
                found.append(Path(entry.path))
    return found


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
    """Publish data under path atomically but not durably: for views in status/ only.

    Makes the folder if it is gone, also when it is deleted at this very moment.
    """
    for is_last in (False, False, True):
        temporary = _temporary(path)
        try:
            ops.write_new(temporary, data)
            ops.replace(temporary, path)
            return
        except FileNotFoundError:
            if is_last:
                raise
            with contextlib.suppress(FileNotFoundError):  # deleted again meanwhile
                path.parent.mkdir(parents=True, exist_ok=True)
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
    last = _last_byte(path)
    if not last:
        ops.append(path, b"")
        ops.fsync(path.parent)  # before the first record: whoever finds records need not ask whether their folder is flushed
    ops.append(path, (b"" if last in (b"", b"\n") else b"\n") + line)


def _checksum(record: bytes) -> bytes:
    return b'"crc32":"%08x"}' % zlib.crc32(record)


def _last_byte(path: Path) -> bytes:
    """Give the last byte of a file; nothing when it is empty or missing."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            return file.read(1)
    except FileNotFoundError:
        return b""


def read_records(path: Path) -> Iterator[bytes]:
    """Give every whole record of an append-only file, in order; torn or damaged lines are passed over."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    yield from records_in(data)


def records_in(data: bytes) -> Iterator[bytes]:
    """Give every whole record in a piece of an append-only file that begins and ends with a line."""
    for line in data.split(b"\n"):
        record = line[:-_CHECKSUM].removesuffix(b",") + b"}"
        if len(line) > _CHECKSUM and line[-_CHECKSUM:] == _checksum(record):
            yield record


def seal(folder: Path, ops: Ops = OPS) -> None:
    """Flush every file and folder under a private folder to the disk, before move() publishes it. Raises OSError."""
    for base, _, names in os.walk(folder, topdown=False, onerror=_raise):
        for name in names:
            ops.fsync(Path(base) / name)
        ops.fsync(Path(base))


def _raise(error: OSError) -> None:
    raise error


def move(source: Path, target: Path, ops: Ops = OPS) -> None:
    """Publish or pass on a file or folder by one durable rename. Raises AlreadyExists, FileNotFoundError.

    A journalling file system (ext4, xfs, btrfs) records a rename as one change of both folders: flushing one flushes it.
    """
    ops.rename_new(source, target)
    ops.fsync(target.parent)


def remove_tree(folder: Path, trash: Path, ops: Ops = OPS) -> None:
    """Remove a folder: one durable rename into the private trash folder, then deletion at leisure. Missing is fine.

    Nobody ever sees half of it under its name. What a killed deletion left in the trash is deleted too.
    """
    set_aside(folder, trash, ops)
    empty(trash)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Have a folder to oneself, waiting for whoever has it: a kernel lock, which ends with its holder.

    Raises FileNotFoundError when the folder has another place by then.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if not os.path.samestat(os.fstat(fd), folder.stat()):
            raise FileNotFoundError(errno.ENOENT, "another folder has its name now", str(folder))
        yield
    finally:
        os.close(fd)


def set_aside(folder: Path, trash: Path, ops: Ops = OPS) -> None:
    """Take a folder out of sight: one durable rename into the private trash folder, which empty() deletes. Missing is fine."""
    trash.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        move(folder, trash / _own_name(folder.name), ops)


def empty(trash: Path) -> None:
    """Delete what lies in a trash folder, also what a killed deletion left."""
    for gone in trash.iterdir() if trash.is_dir() else ():
        if gone.is_dir() and not gone.is_symlink():
            shutil.rmtree(gone, ignore_errors=True)
        else:
            gone.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file in hex, reading it in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

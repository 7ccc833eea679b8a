"""The data of jobs that are done: compressed after a day, and bounded.

Place in the flow: prune_checkpoints compresses and removes; the spool takes data out again when a job is queued again, trace
reads it. Files: data.jsonl and raw of jobs in completed/ and rejected/, then data.jsonl.zst and raw.zst. Invariants: a
compressed file replaces its original only after it was read back whole; no job is queued while its data is being put away,
and none loses it once it is queued; job.json, plan.json, attempts and quarantine.jsonl always stay.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from core.errors import CorruptRecord
from core.files import OPS, Ops, exclusive

COMPRESSED = ".zst"
DATA = ("data.jsonl", "raw")
_LEVEL = 10
_BLOCK = 1 << 20


def compress(path: Path, beat: Callable[[], None] = lambda: None, ops: Ops = OPS) -> None:
    """Replace a file by a compressed copy. Killed at any instant, the original or the copy is whole.

    beat() is called for every MiB. Raises CorruptRecord when the copy does not give the original back (then it is removed),
    FileNotFoundError when the job was moved meanwhile, OSError.
    """
    import zstandard

    copy = path.with_name(path.name + COMPRESSED)
    part = path.with_name(f".{path.name}{COMPRESSED}.part")
    part.unlink(missing_ok=True)
    before = hashlib.sha256()
    packer = zstandard.ZstdCompressor(level=_LEVEL)
    with path.open("rb") as source, part.open("xb") as target, packer.stream_writer(target, closefd=False) as out:
        while block := source.read(_BLOCK):
            before.update(block)
            out.write(block)
            beat()
    if _digest(part, beat) != before.digest():
        part.unlink()
        raise CorruptRecord(where=str(path), schema="zstd", detail="its compressed copy differs; it stays as it is")
    ops.fsync(part)
    with exclusive(path.parent):
        ops.replace(part, copy)
        ops.fsync(path.parent)
        ops.unlink(path)


def restore(folder: Path, name: str, ops: Ops = OPS) -> bool:
    """Write a file again from its compressed copy, which goes only after that; False when neither is there."""
    path, copy = folder / name, folder / (name + COMPRESSED)
    if path.exists() or not copy.exists():
        return path.exists()
    part = folder / f".{name}.part"
    part.unlink(missing_ok=True)
    with _decompressed(copy) as source, part.open("xb") as target:
        while block := source.read(_BLOCK):
            target.write(block)
    ops.fsync(part)
    ops.replace(part, path)
    ops.fsync(folder)
    ops.unlink(copy)
    return True


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file of a job's data for reading, compressed or not. Raises FileNotFoundError when neither is there."""
    copy = path.with_name(path.name + COMPRESSED)
    if path.exists() or not copy.exists():
        with path.open("rb") as file:
            yield file
    else:
        with _decompressed(copy) as file:
            yield file


@contextmanager
def _decompressed(path: Path) -> Iterator[BinaryIO]:
    import zstandard

    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        yield io.BufferedReader(reader)


def _digest(path: Path, beat: Callable[[], None]) -> bytes:
    found = hashlib.sha256()
    with _decompressed(path) as file:
        while block := file.read(_BLOCK):
            found.update(block)
            beat()
    return found.digest()

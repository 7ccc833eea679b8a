"""Unpack bytes in this process, as the child does, and pack them as people's tools do."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from core.jobs.unpack.__main__ import obey
from core.jobs.unpack.order import LINES, REFUSED, Bounds, Order, Refused

MIB = 2**20
BOUNDS = Bounds(
    max_line_bytes=16 * MIB, max_file_bytes=10 * 1024 * MIB, max_json_bytes=512 * MIB, max_unpack_ratio=200, floor_bytes=0
)


class Result:
    """What became of a file: its lines, or the refusal."""

    def __init__(self, code: str, says: str, unit: str, data: bytes) -> None:
        self.code, self.says, self.unit, self.data = code, says, unit, data

    @property
    def lines(self) -> list[Any]:
        """Give the lines parsed: a Refused as such, a blank one as None."""
        return [_parsed(line) for line in self.data.split(b"\n")[:-1]]


def packed(data: bytes, packing: str) -> bytes:
    """Pack bytes as the ending says: .gz, .zst or "" not at all."""
    if packing == ".gz":
        return gzip.compress(data)
    return zstandard.compress(data) if packing == ".zst" else data


def parquet(columns: Mapping[str, Any], **options: Any) -> bytes:
    """Write a table of columns as Parquet."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer, **options)
    return buffer.getvalue()


def order_for(folder: Path, name: str, content: bytes, columns: Mapping[str, str] | None = None, /, **bounds: int) -> Order:
    """Put a file into a folder of its own and give the order to unpack it."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / "raw"
    raw.write_bytes(content)
    changed = msgspec.structs.replace(BOUNDS, **bounds)
    return Order(raw=str(raw), name=name, folder=str(folder), bounds=changed, columns=dict(columns or {}))


def unpacked(folder: Path, name: str, content: bytes, columns: Mapping[str, str] | None = None, /, **bounds: int) -> Result:
    """Unpack content as a drop of this name."""
    found = obey(order_for(folder, name, content, columns, **bounds))
    data = (folder / LINES).read_bytes()
    if found.refusal is not None:
        return Result(found.refusal.code, found.refusal.message, found.unit, b"")
    assert len(data) == found.bytes
    return Result("", "", found.unit, data)


def _parsed(line: bytes) -> Any:
    if not line.strip():
        return None
    if line.startswith(REFUSED):
        return msgspec.json.decode(line.removeprefix(REFUSED), type=Refused)
    return msgspec.json.decode(line)

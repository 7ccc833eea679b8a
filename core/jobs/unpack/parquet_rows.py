"""Parquet: every row is a line. Text, numbers, lists and structs as they are; other types only as metadata, as text.

Place in the flow: core/jobs/unpack/__main__ calls write_parquet for .parquet drops; the only module that loads pyarrow, which
is why a child does it. Reads the drop, writes through Output. Invariants: a few rows are held at a time; a column that would be
trained is never converted silently; nulls inside of a struct are left out, as the writer put them there for want of a value.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from core.jobs.formats import DropRefused, shown, trained_keys
from core.jobs.unpack.output import Output

_ROWS = 64
_BUFFER = 1 << 20
_PLAIN = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_boolean, pa.types.is_integer,
    pa.types.is_floating, pa.types.is_null,
)  # fmt: skip
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)


def write_parquet(path: Path, output: Output, columns: Mapping[str, str]) -> None:
    """Write every row. columns: of the sidecar. Raises DropRefused: unreadable, wrong_spec, unknown_keys, empty_file."""
    file = _opened(path)
    schema = file.schema_arrow
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise DropRefused(code="unknown_keys", detail=f"the columns {shown(twice)} are there more than once; rename them")
    as_text = _odd_columns(schema, columns)
    for batch in _batches(file, output):
        for row in _rows(batch, output):
            if row is not None:
                output.line(msgspec.json.encode(_plain(row, as_text)))
    if not output.records:
        raise DropRefused(code="empty_file", detail=f"the table has no rows; its columns are {shown(schema.names)}")


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=_BUFFER)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(error, "it cannot be opened") from error


def _damaged(error: Exception, where: str) -> DropRefused:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DropRefused(
        code="unreadable", detail=f"the Parquet file is damaged or cut off: {where} ({said}). Write or copy it again"
    )


def _odd_columns(schema: pa.Schema, columns: Mapping[str, str]) -> frozenset[str]:
    """Give the columns that are kept as text. Raises DropRefused (wrong_spec) when one of them would be trained."""
    odd = {field.name: kind for field in schema if (kind := _odd_type(field.type))}
    shape = {field.name: pa.types.is_boolean(field.type) or None for field in schema}
    trained = [name for name in odd if name in trained_keys(shape, columns)]
    if trained:
        raise DropRefused(
            code="wrong_spec",
            detail=f"the column {trained[0]!r} has the type {odd[trained[0]]}, which cannot be trained; expected text, "
            "numbers, lists and structs of them. Convert it to text, or leave it out",
        )
    return frozenset(odd)


def _odd_type(kind: pa.DataType) -> str:
    """Name the first type inside of a column's type that JSON has no place for; "" when there is none."""
    if pa.types.is_dictionary(kind):
        return _odd_type(kind.value_type)
    if any(is_kind(kind) for is_kind in _LISTS):
        return _odd_type(kind.value_type)
    if pa.types.is_struct(kind):
        return next((odd for field in kind if (odd := _odd_type(field.type))), "")
    return "" if any(is_kind(kind) for is_kind in _PLAIN) else str(kind)


def _batches(file: pq.ParquetFile, output: Output) -> Iterator[pa.RecordBatch]:
    batches = file.iter_batches(batch_size=_ROWS, use_threads=False)
    while True:
        try:
            batch = next(batches, None)
        except pa.ArrowMemoryError as error:
            raise MemoryError(f"after row {output.records}") from error
        except (pa.ArrowException, OSError) as error:
            raise _damaged(error, f"after row {output.records}") from error
        if batch is None:
            return
        yield batch


def _rows(batch: pa.RecordBatch, output: Output) -> Iterator[dict[str, Any] | None]:
    """Give the rows one by one; None for one that holds bytes that are no text, which is refused here."""
    for at in range(batch.num_rows):
        try:
            yield batch.slice(at, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            output.refuse("not_utf8", f"it holds text that is not UTF-8 ({error.reason}); write it as UTF-8", "")
            yield None


def _plain(row: Mapping[str, Any], as_text: frozenset[str]) -> dict[str, Any]:
    return {name: _as_text(value) if name in as_text else _without_nulls(value) for name, value in row.items()}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _as_text(value: Any) -> str | None:
    """Write a value that JSON has no place for: bytes as base64, moments and decimals as they read."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return json.dumps(value, default=_as_text, ensure_ascii=False) if isinstance(value, list | dict) else str(value)

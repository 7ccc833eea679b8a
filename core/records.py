"""Records: frozen typed structs with a schema name, strict JSON in and out.

`class Job(Record, tag="weaver.job/1")` carries `"schema": "weaver.job/1"` in its JSON. Unknown fields are refused inside the
same version; another version of the same record raises NewerRecord and is left alone; NaN is refused, and in what people write
(decode_strict) a key that appears twice too: no program of ours writes one.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from core.errors import CorruptRecord, InvalidData, NewerRecord


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="schema"):
    """Base of every record that is written to a file or sent over HTTP."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a record's parts: like a record, without a schema name."""


R = TypeVar("R", bound=msgspec.Struct)


def schema_of(kind: type[msgspec.Struct]) -> str:
    """Give the schema name of a record type."""
    tag = kind.__struct_config__.tag
    return str(tag) if tag is not None else kind.__name__


def encode(record: msgspec.Struct) -> bytes:
    """Write a record as one line of strict JSON. Raises InvalidData for NaN, infinities and what is not Unicode or too deep."""
    try:
        _refuse_non_finite(record, schema_of(type(record)))
        return msgspec.json.encode(record)
    except (UnicodeEncodeError, RecursionError) as error:
        raise InvalidData(where=schema_of(type(record)), detail=f"cannot be written as JSON: {error}") from error


def encode_pretty(record: msgspec.Struct) -> bytes:
    """Write a record as indented JSON that ends with a newline."""
    return msgspec.json.format(encode(record), indent=1) + b"\n"


def to_builtins(record: msgspec.Struct) -> dict[str, Any]:
    """Give the record as plain JSON types, the schema included."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain


def _refuse_non_finite(value: object, where: str) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidData(where=where, detail=f"{value} is not a JSON number; unknown is null")
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            _refuse_non_finite(getattr(value, field), f"{where}.{field}")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_non_finite(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_non_finite(item, where)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} appears twice in one object")
            seen.add(key)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large a number")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def strict_json(data: bytes | str) -> Any:
    """Parse JSON refusing NaN, infinities (1e999 too) and duplicate keys. Raises ValueError, RecursionError."""
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite)


def decode(kind: type[R], data: bytes, where: str) -> R:
    """Parse a record.

    Raises CorruptRecord when data is not a whole record of this schema, NewerRecord when it is another version.
    """
    schema = schema_of(kind)
    try:
        record = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = _schema_in(data)
        if found is not None and found != schema and found.rpartition("/")[0] == schema.rpartition("/")[0]:
            raise NewerRecord(where=where, found=found, schema=schema) from error
        raise CorruptRecord(where=where, schema=schema, detail=str(error)) from error
    if kind.__struct_config__.tag is not None and b'"schema"' not in data:  # msgspec takes a missing tag for the right one
        raise CorruptRecord(where=where, schema=schema, detail="it does not name its schema")
    return record


def _schema_in(data: bytes) -> str | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    found = value.get("schema") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def decode_strict(kind: type[R], data: bytes, where: str) -> R:
    """Parse a record that a person wrote: like decode(), refusing duplicate keys and a missing schema too."""
    try:
        value = strict_json(data)
    except (ValueError, RecursionError) as error:
        raise CorruptRecord(where=where, schema=schema_of(kind), detail=str(error)) from error
    if not isinstance(value, dict) or "schema" not in value:
        raise CorruptRecord(where=where, schema=schema_of(kind), detail=f'expected {{"schema": "{schema_of(kind)}", ...}}')
    return decode(kind, data, where)


def read(kind: type[R], path: Path) -> R:
    """Read a record from a file. Raises FileNotFoundError, CorruptRecord, NewerRecord."""
    return decode(kind, path.read_bytes(), str(path))


def read_if_there(kind: type[R], path: Path) -> R | None:
    """Read a record, or give None when the file does not exist."""
    try:
        return read(kind, path)
    except (FileNotFoundError, NotADirectoryError):
        return None

"""What is wrong with what a person wrote, key by key: unknown keys, missing ones, values of the wrong kind or out of range.

Place in the flow: core.config_files and core.in_force hold the values of files and variables against the typed sections with
it. No file is read. Invariant: a value without a flaw converts to its section; every flaw is found, not only the first.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

Key = tuple[str, ...]
_BOUNDS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
_PLACE = re.compile(r" - at `\$.*`")


class Flaw(NamedTuple):
    """One thing that is wrong at a key; near: the key that was probably meant; valid: what is right there, in words."""

    key: Key
    detail: str
    valid: str = ""
    near: str = ""


def flaws(kind: Any, value: object, key: Key = ()) -> Iterator[Flaw]:
    """Give every flaw of a value that should become a kind: a section, names with sections below them, or a plain type."""
    section = _section_of(kind, value)
    if section is not None:
        yield from _flaws_of_section(section, value, key)
    elif get_origin(kind) is dict and _section_of(get_args(kind)[1], None) is not None:
        if not isinstance(value, dict):
            yield Flaw(key, f"expected names with keys below them, got {_written(value)}")
            return
        for name, inner in value.items():
            yield from flaws(get_args(kind)[1], inner, (*key, str(name)))
    else:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            yield Flaw(key, _PLACE.sub("", str(error)), f"valid: {words(kind)}")


def _flaws_of_section(section: type[msgspec.Struct], value: object, key: Key) -> Iterator[Flaw]:
    if not isinstance(value, dict):
        yield Flaw(key, f"expected keys and values, got {_written(value)}")
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(section)}
    for name, inner in value.items():
        if name in fields:
            yield from flaws(fields[name].type, inner, (*key, name))
        else:
            yield unknown((*key, str(name)), fields)
    for name, field in fields.items():
        if field.required and name not in value:
            yield Flaw((*key, name), "is missing", f"valid: {words(field.type)}")


def unknown(key: Key, known: Iterable[str]) -> Flaw:
    """Give the flaw of a key that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = difflib.get_close_matches(key[-1], names, 1)
    return Flaw(key, "unknown key", "" if near else f"valid keys: {', '.join(names)}", near[0] if near else "")


def _section_of(kind: Any, value: object) -> type[msgspec.Struct] | None:
    """Give the section that a value should be; of `section | None` only when the value is not None."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    if get_origin(kind) in (Union, UnionType) and value is not None:
        return next((part for part in get_args(kind) if isinstance(part, type) and issubclass(part, msgspec.Struct)), None)
    return None


def words(kind: Any) -> str:
    """Say in words which values a type takes."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is NoneType:
        return "null"
    if origin is Literal:
        return ", ".join(str(part) for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(words(part) for part in parts)
    if origin is Annotated:
        bounds = [
            f"{sign} {getattr(meta, name)}" for meta in parts[1:] for name, sign in _BOUNDS if getattr(meta, name) is not None
        ]
        return " ".join([words(parts[0]), *bounds])
    if origin is tuple:
        return f"a list of {words(parts[0])}" if parts[1:] == (...,) else f"a list of {len(parts)}: {words(parts[0])}"
    return {str: "text", int: "a whole number", float: "a number", bool: "true, false"}.get(kind, "keys and values")


def _written(value: object) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def leaves(kind: Any, value: object, key: Key = ()) -> Iterator[tuple[Key, object]]:
    """Give (key, value) of every key that a person can write, from a section's plain values (msgspec.to_builtins)."""
    section = _section_of(kind, value)
    if section is not None and isinstance(value, Mapping):
        for field in msgspec.structs.fields(section):
            yield from leaves(field.type, value.get(field.encode_name), (*key, field.encode_name))
    elif get_origin(kind) is dict and isinstance(value, Mapping) and _section_of(get_args(kind)[1], {}) is not None:
        for name, inner in value.items():
            yield from leaves(get_args(kind)[1], inner, (*key, name))
    else:
        yield key, value

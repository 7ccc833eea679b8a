"""Records: strict JSON in and out; what is damaged, of another kind or of another version is told apart and never guessed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from core.checkpoints.checkpoint import Checkpoint, Fingerprint
from core.checkpoints.deployment import Deployment
from core.errors import CorruptRecord, InvalidData, NewerRecord
from core.jobs.job import Attempt, Claim, Job, Line, Sidecar
from core.orders import Order
from core.records import (
    Part,
    Record,
    decode,
    decode_strict,
    encode,
    encode_pretty,
    read,
    read_if_there,
    schema_of,
    strict_json,
    to_builtins,
)
from core.status import Heartbeat, SupervisorView


class Inner(Part, frozen=True):
    share: float | None = None
    notes: dict[str, Any] = {}


class Toy(Record, frozen=True, tag="weaver.toy/2"):
    count: int
    share: float | None = None
    inner: Inner = Inner()
    pairs: list[tuple[str, float]] = []
    notes: dict[str, Any] = {}


WHOLE = b'{"schema":"weaver.toy/2","count":1}'


# -- round trip ----------------------------------------------------------------------------------------------------------

ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
PLAIN: dict[object, st.SearchStrategy[Any]] = {
    str: st.text(max_size=20), int: st.integers(-(2**63), 2**63 - 1), bool: st.booleans(), NoneType: st.none(), Any: ANY,
    float: st.floats(allow_nan=False, allow_infinity=False),
}  # fmt: skip


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Give any values of a type that a record's field may have."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, UnionType):
        return st.one_of([values(one) for one in inner])
    if origin is list:
        return st.lists(values(inner[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(values(inner[0]), values(inner[1]), max_size=3)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return st.builds(kind, **{field.name: values(field.type) for field in msgspec.structs.fields(kind)})
    return st.sampled_from(list(kind))


@pytest.mark.parametrize(
    "kind", [Job, Sidecar, Attempt, Claim, Line, Checkpoint, Fingerprint, Deployment, Heartbeat, SupervisorView, Order]
)
@seed(20261120)
@settings(max_examples=25, deadline=None, database=None)
@given(data=st.data())
def test_record_comes_back_as_it_was_written(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    record = data.draw(values(kind))
    line = encode(record)
    assert b"\n" not in line, "one line"
    assert decode(kind, line, "here") == record
    assert decode(kind, encode_pretty(record), "here") == record
    plain = json.loads(line)
    assert strict_json(line) == plain == to_builtins(record)
    if issubclass(kind, Record):
        assert plain["schema"] == schema_of(kind) and decode_strict(kind, line, "here") == record


def test_pretty_record_is_the_same_record_and_ends_with_a_newline() -> None:
    text = encode_pretty(Toy(count=3, notes={"a": [1, 2]}))
    assert text.endswith(b"}\n") and text.count(b"\n") > 5
    assert json.loads(text) == json.loads(encode(Toy(count=3, notes={"a": [1, 2]})))


# -- writing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("where", "make"),
    [
        ("weaver.toy/2.share", lambda bad: Toy(count=1, share=bad)),
        ("weaver.toy/2.inner.share", lambda bad: Toy(count=1, inner=Inner(share=bad))),
        ("weaver.toy/2.pairs", lambda bad: Toy(count=1, pairs=[("a", 1.0), ("b", bad)])),
        ("weaver.toy/2.notes.x.y", lambda bad: Toy(count=1, notes={"x": {"y": [bad]}})),
        ("weaver.toy/2.inner.notes.z", lambda bad: Toy(count=1, inner=Inner(notes={"z": (1, bad)}))),
    ],
)
def test_what_is_no_json_number_is_not_written_and_the_error_says_where(where: str, make: Any, bad: float) -> None:
    with pytest.raises(InvalidData) as caught:
        encode(make(bad))
    assert f"{where}:" in str(caught.value) and caught.value.exit_code == 6


@pytest.mark.parametrize(
    "notes", [{"name": "\ud800"}, {"\udcff": 1}, {"n": [{"x": "a\udfff"}]}], ids=["value", "key", "deeper"]
)
def test_what_json_cannot_hold_is_not_written(notes: dict[str, Any]) -> None:
    with pytest.raises(InvalidData, match=r"weaver\.toy/2: cannot be written as JSON"):
        encode(Toy(count=1, notes=notes))


def test_too_deep_a_value_is_not_written() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidData, match="cannot be written"):
        encode(Toy(count=1, notes={"deep": deep}))


# -- reading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", ""),
        (WHOLE[:-1], ""),
        (WHOLE + b"x", "trailing"),
        (WHOLE + WHOLE, "trailing"),
        (b"\xef\xbb\xbf" + WHOLE, ""),
        (b"\0" * 100, ""),
        (b"[]", "object"),
        (b"null", "object"),
        (b'{"schema":"weaver.toy/2"}', "count"),
        (b'{"schema":"weaver.toy/2","count":"1"}', "$.count"),
        (b'{"schema":"weaver.toy/2","count":1.5}', "$.count"),
        (b'{"schema":"weaver.toy/2","count":true}', "$.count"),
        (b'{"schema":"weaver.toy/2","count":1,"cuont":2}', "cuont"),
        (b'{"schema":"weaver.toy/2","count":1,"inner":{"x":1}}', "x"),
        (b'{"schema":"weaver.toy/2","count":1,"share":NaN}', ""),
        (b'{"schema":"weaver.toy/2","count":1,"share":Infinity}', ""),
        (b'{"schema":"weaver.toy/2","count":1,"share":1e999}', "$.share"),
        (b'{"schema":"weaver.toy/2","count":1,"notes":{"x":NaN}}', ""),
        (b'{"schema":"weaver.toy/2","count":1,"notes":{"x":-1e999}}', "range"),
        (b'{"schema":"weaver.toy/2","count":1,"notes":{"x":"\xff"}}', "utf-8"),
        (b'{"schema":"weaver.toy/2","count":1,"notes":{"x":"\\ud800"}}', ""),
        (b'{"schema":"weaver.toy/2","count":' + b"9" * 5000 + b"}", "range"),
        (b'{"schema":"weaver.toy/2","count":1,"notes":' + b'{"x":' * 100_000, "recursion"),
        (b'{"schema":"weaver.toy/2","count":1,"notes":' + b'{"x":' * 9000 + b"1" + b"}" * 9001, "recursion"),
        (b'{"schema":"weaver.toy/3","notes":' + b"[" * 100_000, "weaver.toy/3"),
        (b'{"schema":"weaver.job/2","count":1}', "weaver.job/2"),
        (b'{"schema":"weaver.toys/2","count":1}', "weaver.toys/2"),
        (b'{"schema":"toy/2","count":1}', "toy/2"),
        (b'{"schema":2,"count":1}', "$.schema"),
        (b'{"count":1}', "does not name its schema"),
    ],
)
def test_what_is_not_a_whole_record_of_this_schema_is_corrupt_and_says_where(data: bytes, said: str) -> None:
    for parse in (decode, decode_strict):
        with pytest.raises(CorruptRecord) as caught:
            parse(Toy, data, "status/toy.json")
        message = str(caught.value)
        assert "status/toy.json is not a whole weaver.toy/2 record" in message
        assert parse is decode_strict or said in message
        assert caught.value.exit_code == 6


@pytest.mark.parametrize("version", ["1", "3", "10"])
@pytest.mark.parametrize("parse", [decode, decode_strict])
def test_another_version_of_the_record_is_told_apart_from_damage(parse: Any, version: str) -> None:
    data = b'{"schema":"weaver.toy/%s","quite":["other"],"fields":{}}' % version.encode()
    with pytest.raises(NewerRecord) as caught:
        parse(Toy, data, "status/toy.json")
    assert all(part in str(caught.value) for part in ("status/toy.json", f"weaver.toy/{version}", "weaver.toy/2"))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"schema":"weaver.toy/2","count":1,"count":2}', "'count' appears twice"),
        (b'{"schema":"weaver.toy/2","count":1,"notes":{"a":{"b":1,"b":1}}}', "'b' appears twice"),
        (b'{"schema":"weaver.toy/2","schema":"weaver.toy/2","count":1}', "'schema' appears twice"),
        (b'{"count":1}', 'expected {"schema": "weaver.toy/2"'),
        (b"[1]", 'expected {"schema": "weaver.toy/2"'),
        (b"\xff\xfe", "utf-8"),
    ],
)
def test_what_a_person_wrote_twice_or_left_out_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(CorruptRecord) as caught:
        decode_strict(Toy, data, "hosts.json")
    assert said in str(caught.value)


def test_part_needs_no_schema() -> None:
    assert decode(Inner, b'{"share":0.5}', "here") == Inner(share=0.5)
    with pytest.raises(CorruptRecord, match="unknown field `schema`"):
        decode(Inner, b'{"schema":"weaver.toy/2","share":0.5}', "here")


@pytest.mark.parametrize(
    "text",
    [
        "NaN", "-Infinity", '{"a": NaN}', "[1e999]", "[-1e999]", '{"a": 1, "a": 1}', '[{"b": {"a": 1, "a": 2}}]', "", "{",
        "'a'", "\ufeff{}",
    ],
)  # fmt: skip
def test_strict_json_refuses_what_other_readers_let_through(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_json(text)
    with pytest.raises(ValueError, match=r"."):
        strict_json(text.encode())


def test_strict_json_of_a_line_nested_too_deep_raises_what_it_says() -> None:
    with pytest.raises(RecursionError):
        strict_json("[" * 100_000 + "]" * 100_000)


def test_strict_json_of_bytes_that_are_not_utf8_raises_what_it_says() -> None:
    for data in (b'"\xff"', '{"a": "ü"}'.encode("latin-1"), '{"a": 1}'.encode("utf-16")):
        with pytest.raises(ValueError, match=r"."):
            strict_json(data)


def test_numbers_that_are_finite_pass_as_they_are() -> None:
    assert strict_json("[1e308, -0.0, 0, 5e-324]") == [1e308, -0.0, 0, 5e-324]


# -- files ---------------------------------------------------------------------------------------------------------------


def test_record_is_read_from_its_file_and_the_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    assert read_if_there(Toy, path) is None and read_if_there(Toy, path / "below") is None
    with pytest.raises(FileNotFoundError):
        read(Toy, path)
    path.write_bytes(encode_pretty(Toy(count=7)))
    assert read(Toy, path) == Toy(count=7) == read_if_there(Toy, path)
    assert read_if_there(Toy, path / "below a file") is None
    path.write_bytes(path.read_bytes()[:-5])
    for parse in (read, read_if_there):
        with pytest.raises(CorruptRecord, match=r"toy\.json"):
            parse(Toy, path)
    assert path.read_bytes() == encode_pretty(Toy(count=7))[:-5], "left as it is"

"""Parquet as datasets and pandas write it: nested columns as they are, odd types as text and never trained, damage refused."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from core.jobs.unpack.order import Refused
from tests.core.jobs.unpack.unpacking import parquet, unpacked

TEXTS = pa.array(["a", "b"])
MESSAGE = pa.struct([("content", pa.string()), ("role", pa.string()), ("tool_calls", pa.string()), ("weight", pa.int64())])
MOMENT = datetime.datetime(2026, 11, 20, 21, 30, tzinfo=datetime.UTC)


def read(folder: Path, columns: dict[str, Any], **options: Any) -> list[Any]:
    """Unpack a table that must be readable; give its rows."""
    found = unpacked(folder, "a.parquet", parquet(columns, **options))
    assert not found.code, found.says
    assert found.unit == "row"
    return found.lines


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
def test_rows_of_every_compression_and_row_group_come_in_order(tmp_path: Path, compression: str) -> None:
    columns = {"prompt": [f"p{at}" for at in range(300)], "completion": [f"c{at}" for at in range(300)]}
    rows = read(tmp_path, columns, compression=compression, row_group_size=70)
    assert rows == [{"prompt": f"p{at}", "completion": f"c{at}"} for at in range(300)]


def test_messages_as_datasets_exports_them_lose_the_nulls_of_their_structs(tmp_path: Path) -> None:
    messages = [[
        {"content": "a", "role": "user", "tool_calls": None, "weight": None},
        {"content": "b", "role": "assistant", "tool_calls": None, "weight": 0},
    ]]  # fmt: skip
    rows = read(tmp_path, {"messages": pa.array(messages, pa.list_(MESSAGE)), "id": [7], "note": pa.array([None], pa.string())})
    talk = [{"content": "a", "role": "user"}, {"content": "b", "role": "assistant", "weight": 0}]
    assert rows == [{"messages": talk, "id": 7, "note": None}]


def test_every_plain_type_is_passed_on(tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["ä", None], pa.large_string()), "kind": pa.array(["x", "x"]).dictionary_encode(),
        "n": pa.array([1, 2**62], pa.int64()), "f": pa.array([0.5, 1.5], pa.float32()), "yes": pa.array([True, None]),
        "list": pa.array([[["a"], []], None], pa.large_list(pa.list_(pa.string()))),
    }  # fmt: skip
    assert read(tmp_path, columns) == [
        {"text": "ä", "kind": "x", "n": 1, "f": 0.5, "yes": True, "list": [["a"], []]},
        {"text": None, "kind": "x", "n": 2**62, "f": 1.5, "yes": None, "list": None},
    ]


def test_odd_types_are_kept_as_text_beside_what_is_trained(tmp_path: Path) -> None:
    columns = {
        "prompt": ["a"], "completion": ["b"], "when": pa.array([MOMENT]), "day": pa.array([MOMENT.date()]),
        "price": pa.array([decimal.Decimal("1.50")]), "bytes": pa.array([b"\xff\x00"]),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), "inner": pa.array([[{"when": MOMENT}]]),
    }  # fmt: skip
    (row,) = read(tmp_path, columns)
    assert (row["prompt"], row["completion"]) == ("a", "b")
    assert row["when"].startswith("2026-11-20 21:30:00") and row["day"] == "2026-11-20"
    assert (row["price"], row["bytes"]) == ("1.50", "/wA=")
    assert "k" in row["map"] and "2026-11-20" in row["inner"]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([b"\xff"]), "binary"),
        (pa.array([MOMENT]), "timestamp"),
        (pa.array([decimal.Decimal("1.5")]), "decimal"),
        (pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())), "map<"),
        (pa.array([[{"role": "user", "content": b"x"}]]), "binary"),
        (pa.array([b"x"]).dictionary_encode(), "binary"),
    ],
)
@pytest.mark.parametrize("columns", [{}, {"prompt": "question"}])
def test_odd_type_that_would_be_trained_is_refused_by_the_name_of_its_column(
    tmp_path: Path, column: pa.Array, kind: str, columns: dict[str, str]
) -> None:
    name = columns.get("prompt", "prompt")
    found = unpacked(tmp_path, "a.parquet", parquet({name: column, "completion": ["b"]}), columns)
    assert found.code == "wrong_spec"
    assert f"the column {name!r} has the type" in found.says and kind in found.says and "Convert it to text" in found.says


def test_floats_that_json_has_no_place_for_are_null(tmp_path: Path) -> None:
    assert read(tmp_path, {"x": pa.array([float("nan"), float("inf"), 1.0])}) == [{"x": None}, {"x": None}, {"x": 1.0}]


def test_text_that_is_no_utf8_refuses_its_row_alone(tmp_path: Path) -> None:
    odd = pa.array([b"ok", b"\xff\xfe", b"ok"]).view(pa.string())
    rows = read(tmp_path, {"prompt": odd, "completion": ["b"] * 3})
    assert isinstance(rows[1], Refused) and (rows[1].code, rows[0]["prompt"], rows[2]["prompt"]) == ("not_utf8", "ok", "ok")


def test_table_without_rows_names_its_columns(tmp_path: Path) -> None:
    found = unpacked(tmp_path, "a.parquet", parquet({"prompt": pa.array([], pa.string()), "n": pa.array([], pa.int64())}))
    assert (found.code, "its columns are prompt, n" in found.says) == ("empty_file", True)


def test_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = pa.table([TEXTS, TEXTS], names=["prompt", "prompt"])
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink)
    found = unpacked(tmp_path, "a.parquet", sink.getvalue().to_pybytes())
    assert (found.code, "prompt are there more than once" in found.says) == ("unknown_keys", True)


CONTENT = parquet({"prompt": [f"p{at}" * 9 for at in range(2000)], "completion": ["c"] * 2000}, compression="zstd")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"prompt,completion\na,b\n", CONTENT[:-1], CONTENT[: len(CONTENT) // 2],
        CONTENT[:-20] + b"\xff" * 12 + CONTENT[-8:], CONTENT[:-8] + b"\xff\xff\xff\x7fPAR1", CONTENT + b"x",
    ],
)  # fmt: skip
def test_damaged_file_is_unreadable(tmp_path: Path, content: bytes) -> None:
    found = unpacked(tmp_path, "a.parquet", content)
    assert found.code in ("unreadable", "empty_file"), found.says
    assert found.code == "unreadable" and "damaged or cut off" in found.says


def test_damage_far_inside_says_after_which_row(tmp_path: Path) -> None:
    content = bytearray(
        parquet(
            {"prompt": [f"p{at}" * 99 for at in range(400)]}, compression="zstd", row_group_size=100, write_statistics=False
        )
    )
    middle = len(content) // 2
    content[middle : middle + 40] = b"\xff" * 40
    found = unpacked(tmp_path, "a.parquet", bytes(content))
    assert (found.code, "after row " in found.says) == ("unreadable", True)


def test_table_that_repeats_one_text_a_million_times_is_refused_by_its_ratio(tmp_path: Path) -> None:
    content = parquet({"prompt": pa.array(["x" * 1000] * 20_000).dictionary_encode(), "completion": ["y"] * 20_000})
    assert len(content) < 20_000
    assert unpacked(tmp_path, "a.parquet", content).code == "unpack_ratio"

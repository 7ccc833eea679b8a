"""Append-only files: every line is strict JSON that anybody can read, and damage costs no more than the damaged line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import CorruptRecord
from core.files import append_record, read_records
from core.records import strict_json

RECORDS = [b"{}", b'{"a":1}', '{"b":{"c":"ü \\n"}}'.encode(), b'{"crc32":"0"}']


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def test_every_line_is_strict_json_and_every_record_comes_back_byte_for_byte(path: Path) -> None:
    for record in RECORDS[:3]:
        append_record(path, record)
    lines = [strict_json(line) for line in path.read_bytes().splitlines()]
    assert [set(line) - {"crc32"} for line in lines] == [set(), {"a"}, {"b"}]
    assert list(read_records(path)) == RECORDS[:3]


@pytest.mark.parametrize("cut", [1, 10, 20, 26])
def test_torn_tail_spoils_no_later_record(path: Path, cut: int) -> None:
    for record in RECORDS[:2]:
        append_record(path, record)
    path.write_bytes(path.read_bytes()[:-cut])
    append_record(path, RECORDS[2])
    whole = [RECORDS[0], *([RECORDS[1]] if cut == 1 else []), RECORDS[2]]
    assert list(read_records(path)) == whole


def test_any_changed_byte_is_noticed(path: Path) -> None:
    append_record(path, RECORDS[1])
    line = path.read_bytes()
    for at in range(len(line) - 1):
        path.write_bytes(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :])
        assert list(read_records(path)) == []


@pytest.mark.parametrize("record", [b"", b"[1]", b'{"a":1}\n', b'{"a":\n1}', b"text"])
def test_what_is_no_json_object_on_one_line_is_refused(path: Path, record: bytes) -> None:
    with pytest.raises(CorruptRecord):
        append_record(path, record)
    assert not path.exists()

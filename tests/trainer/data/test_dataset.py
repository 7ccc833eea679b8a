"""Rows from canonical lines: every line, whole, with its number; anything else is an error that names the line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from core.errors import CorruptRecord, LineRefused
from core.jobs.job import Line
from core.text.tokens import decode_ids
from tests.trainer.data.job_lines import TOKENIZER, mixed_lines, rows_of, talk
from trainer.data.dataset import read_lines


def written(path: Path, lines: list[Line]) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return path


def test_lines_read_back_as_they_were_written(tmp_path: Path) -> None:
    lines = mixed_lines()
    assert read_lines(written(tmp_path / "data.jsonl", lines)) == lines


def test_damaged_line_is_refused_by_number(tmp_path: Path) -> None:
    path = written(tmp_path / "data.jsonl", mixed_lines()[:2])
    path.write_bytes(path.read_bytes() + b'{"messages": [')
    with pytest.raises(CorruptRecord, match=r"data\.jsonl:3"):
        read_lines(path)


def test_every_line_gives_a_row_with_its_number() -> None:
    lines = mixed_lines()
    rows = rows_of(lines)
    assert [row.line for row in rows] == list(range(1, len(lines) + 1))
    assert [len(row.turns) for row in rows[10:12]] == [2, 2]
    for row in rows:
        feature = row.feature()
        assert {len(column) for column in feature.values()} == {len(row.ids)}
        assert set(feature["line"]) == {row.line}


def test_raw_line_has_no_template() -> None:
    rows = rows_of([talk("ab", "cd", raw=True), talk("ab", "cd")])
    assert decode_ids(TOKENIZER, rows[0].ids) == "abcd<|im_end|>"
    assert decode_ids(TOKENIZER, rows[1].ids).startswith("<|im_start|>user")


def test_refused_line_names_its_number_and_code() -> None:
    with pytest.raises(LineRefused, match="line 2: every assistant message has weight 0") as caught:
        rows_of([talk("a", "b"), talk("a", "b", weights=(0,))])
    assert caught.value.code == "nothing_to_train"


def test_over_long_row_is_refused_and_never_cut() -> None:
    lines = [talk("a", "b"), talk("a" * 100, "b"), talk("a", "b" * 120)]
    with pytest.raises(LineRefused, match="2 rows are longer than 64 tokens, the longest 131; lines 2, 3") as caught:
        rows_of(lines, max_length=64)
    assert caught.value.code == "over_length"
    assert len(rows_of(lines, max_length=131)) == 3

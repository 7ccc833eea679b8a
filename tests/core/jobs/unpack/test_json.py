"""JSON documents: every shape that holds objects, passed on as written; everything else refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.jobs.unpack.order import LINES
from tests.core.jobs.unpack.unpacking import unpacked

A, B = {"prompt": 'a [1, {2}] " \\', "completion": "ä\n😀"}, {"prompt": "c", "completion": "d", "n": 1.50}


def read(folder: Path, text: str, **bounds: int) -> list[Any]:
    """Unpack a document that must be readable; give its elements."""
    found = unpacked(folder, "a.json", text.encode(), None, **bounds)
    assert not found.code, found.says
    return found.lines


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("mark", ["", "\ufeff", " \r\n\t"])
def test_array_gives_its_elements(tmp_path: Path, indent: int | None, ascii_only: bool, mark: str) -> None:
    assert read(tmp_path, mark + json.dumps([A, B], indent=indent, ensure_ascii=ascii_only) + "\n") == [A, B]


@pytest.mark.parametrize("more", [{}, {"version": "1.0", "count": 2, "tags": ["x", "y"], "nested": {"data": [B]}, "none": []}])
@pytest.mark.parametrize("is_first", [True, False])
def test_object_with_one_array_of_objects_gives_its_elements(tmp_path: Path, more: dict[str, Any], is_first: bool) -> None:
    document = {"data": [A, B], **more} if is_first else {**more, "data": [A, B]}
    assert read(tmp_path, json.dumps(document, indent=1)) == [A, B]
    assert read(tmp_path / "large", json.dumps(document), max_line_bytes=60) == [A, B]


def test_one_object_is_one_line(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(A)) == [A]


def test_one_conversation_is_a_line_and_not_a_wrapper_of_messages(tmp_path: Path) -> None:
    talk = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert read(tmp_path, json.dumps(talk)) == [talk]


def test_objects_one_after_the_other_as_jsonl_under_another_name_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(A) + "\n" + json.dumps(B, indent=2) + json.dumps(A)) == [A, B, A]


def test_elements_are_passed_on_as_they_stand(tmp_path: Path) -> None:
    text = '[{"x":1.50,"x":2}, {"y": NaN}, {"z": 1e999}, "text", [1], null, 7]'
    unpacked(tmp_path, "a.json", text.encode())
    lines = (tmp_path / LINES).read_text().splitlines()
    assert lines == ['{"x":1.50,"x":2}', '{"y": NaN}', '{"z": 1e999}', '"text"', "[1]", "null", "7"]


def test_elements_across_the_pieces_in_which_the_file_is_read(tmp_path: Path) -> None:
    elements = [{"prompt": str(number), "completion": 'é😀\\"' * 97} for number in range(6000)]
    text = json.dumps(elements, ensure_ascii=False)
    assert len(text.encode()) > 4 * 2**20
    assert read(tmp_path, text) == elements


def test_numbers_cut_at_the_end_of_a_piece_stay_whole(tmp_path: Path) -> None:
    for shift in range(2**20 - 14, 2**20 + 2):
        assert read(tmp_path / str(shift), "[" + " " * shift + "12.75e3,-0.5, true]") == [12750.0, -0.5, True]


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "empty_file", "it holds nothing"),
        (" \n", "empty_file", "it holds nothing"),
        ("[]", "empty_file", "the array is empty"),
        ('"text"', "wrong_spec", "begins with '\"'; expected an array of objects"),
        ("7", "wrong_spec", "begins with '7'"),
        ("hello", "wrong_spec", "begins with 'h'"),
        ("<html>", "wrong_spec", "begins with '<'"),
        ('[{"a": 1}, {"a": 2', "not_json", "line 1, column"),
        ('[{"a": 1},\n {"a": 2}', "not_json", "line 2, column 10: it ends where , or ] is expected: perhaps the file"),
        ('[{"a": 1},\n]', "not_json", "line 2, column 1"),
        ('[{"a": 1}\n {"a": 2}]', "not_json", "line 2, column 2: expected , or ], found '{'"),
        ('[{"a": 1}]\n]', "not_json", "line 2, column 1: the document is complete, but ']' follows"),
        ('[{"a": 1}] {"b": 2}', "not_json", "the document is complete, but '{' follows"),
        ('{"a": 1}, {"a": 2}', "not_json", "complete, but ',' follows"),
        ("[{'a': 1}]", "not_json", "line 1, column 3"),
        ('[{"a": "line\nbreak"}]', "not_json", "line 1, column 13"),
        ("{" * 100_000, "not_json", "column 2"),
        ("[" * 100_000, "not_json", "too deep"),
        ('[{"a": ' + "[" * 100_000 + "]" * 100_000 + "}]", "not_json", "too deep"),
        (json.dumps({"train": [A], "test": [B]}), "unknown_keys", "several arrays of objects, train, test"),
    ],
)  # fmt: skip
def test_document_that_cannot_be_read_says_where(tmp_path: Path, text: str, code: str, says: str) -> None:
    found = unpacked(tmp_path, "a.json", text.encode())
    assert found.code == code, found.says
    assert says in found.says, found.says


def test_utf16_and_zero_bytes_are_refused(tmp_path: Path) -> None:
    for number, content in enumerate((json.dumps([A]).encode("utf-16"), json.dumps([A]).encode("utf-16-le"), bytes(100))):
        assert unpacked(tmp_path / str(number), "a.json", content).code == "not_utf8"


def test_bytes_that_are_no_utf8_are_left_to_the_checks_of_their_line(tmp_path: Path) -> None:
    unpacked(tmp_path, "a.json", b'[{"a": "\xe9"}, {"b": 1}]')
    assert (tmp_path / LINES).read_bytes() == b'{"a": "\xe9"}\n{"b": 1}\n'


def test_document_above_its_bound_is_too_big_and_says_what_to_write(tmp_path: Path) -> None:
    found = unpacked(tmp_path, "a.json", json.dumps([A] * 100).encode(), max_json_bytes=1000)
    assert found.code == "too_big"
    assert "more than 1000 bytes (intake.max_json_bytes)" in found.says and ".jsonl" in found.says


@pytest.mark.parametrize(
    "text", ['[{"a": "%s"}]', '{"data": [{"a": "%s"}]}', '{"a": "%s", "data": [{"a": 1}]}', '{"b": 1}\n{"a": "%s"}']
)
def test_element_longer_than_a_line_may_be_is_refused(tmp_path: Path, text: str) -> None:
    found = unpacked(tmp_path, "a.json", (text % ("x" * (3 * 2**20))).encode(), max_line_bytes=2**20)
    assert (found.code, "more than 1048576 bytes" in found.says) == ("line_too_long", True)

"""CSV as spreadsheets, scripts and people write it: what is read, what is refused, and on which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.jobs.unpack.order import Refused
from tests.core.jobs.unpack.unpacking import unpacked

HEADER = "prompt,completion\n"


def read(folder: Path, text: str | bytes, **bounds: int) -> list[object]:
    """Unpack CSV that must be readable; give its records."""
    found = unpacked(folder, "a.csv", text.encode() if isinstance(text, str) else text, None, **bounds)
    assert not found.code, found.says
    assert found.unit == "record"
    return found.lines


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_line_ends_and_a_byte_order_mark_are_understood(tmp_path: Path, delimiter: str, end: str, mark: str) -> None:
    rows = [["prompt", "completion"], ["Why?", "é, ; é"], ["a", "b"]]
    quoted = (delimiter.join(f'"{field}"' for field in row) for row in rows)
    assert read(tmp_path, mark + end.join(quoted)) == [
        {"prompt": "Why?", "completion": "é, ; é"},
        {"prompt": "a", "completion": "b"},
    ]


def test_quoted_field_holds_line_breaks_delimiters_and_quotes(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER + '"a\n\n1,2","say ""hi"""\nc,d\n') == [
        {"prompt": "a\n\n1,2", "completion": 'say "hi"'},
        {"prompt": "c", "completion": "d"},
    ]


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@SUM(A1)", "007", "1e5", "TRUE", "NULL", "NaN", "  a  ", '=HYPERLINK("x")']
)
def test_cell_stays_the_text_that_it_is(tmp_path: Path, cell: str) -> None:
    quoted = cell.replace('"', '""')
    assert read(tmp_path, f'{HEADER}"{quoted}",b\n') == [{"prompt": cell, "completion": "b"}]


def test_blank_lines_are_counted_and_are_no_records(tmp_path: Path) -> None:
    assert read(tmp_path, "\n" + HEADER + "a,b\n\n  \nc,d\n") == [
        {"prompt": "a", "completion": "b"}, None, None, {"prompt": "c", "completion": "d"},
    ]  # fmt: skip


def test_ragged_record_is_refused_alone_and_names_its_line(tmp_path: Path) -> None:
    lines = read(tmp_path, HEADER + '"a\nb",c\nonly one\nx,y,z\nd,e\n')
    assert [isinstance(line, Refused) for line in lines] == [False, True, True, False]
    first, second = lines[1], lines[2]
    assert isinstance(first, Refused) and isinstance(second, Refused)
    assert first.code == second.code == "wrong_spec"
    assert "1 fields, the header names 2" in first.reason and "line 4 of the file" in first.reason
    assert "3 fields" in second.reason and "line 5 of the file" in second.reason and second.raw == "x,y,z"


def test_bytes_that_are_no_utf8_refuse_their_record_alone(tmp_path: Path) -> None:
    lines = read(tmp_path, HEADER.encode() + "é,b\n".encode("latin-1") + b"c,d\n")
    assert isinstance(lines[0], Refused) and (lines[0].code, lines[0].raw) == ("not_utf8", "\\xe9,b")
    assert "save the file as UTF-8; it begins on line 2" in lines[0].reason
    assert lines[1] == {"prompt": "c", "completion": "d"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'a,b\n"c,d\ne,f\n',
            "line 3 opens a quote that is not closed as it should be: the field goes on to the end of the file",
        ),
        ('a,"b\nc,d\ne,f\n', "line 2 opens a quote"),
        ('a,b\n"c" d,e\nf,g\n', "line 3 opens a quote"),
        ('a,b\nc,d "e" f\n"g,h', "line 4 opens a quote"),
        ('a,b\nc,"d\ne ""f"" g\n', "line 3 opens a quote"),
        ('a,b\n"c\nd","e\nf\n', "line 4 opens a quote"),
    ],
)
def test_quote_never_closed_refuses_the_file_and_names_the_line_where_it_opened(tmp_path: Path, text: str, says: str) -> None:
    found = unpacked(tmp_path, "a.csv", (HEADER + text).encode())
    assert found.code == "unreadable"
    assert says in found.says, found.says
    assert "written twice" in found.says and "drop the file again" in found.says


def test_quote_never_closed_in_a_large_file_is_bounded_by_the_longest_line(tmp_path: Path) -> None:
    text = HEADER + "a,b\n" + '"c,d\n' + "e,f\n" * 10_000
    found = unpacked(tmp_path, "a.csv", text.encode(), max_line_bytes=5000)
    assert found.code == "line_too_long"
    assert "begins on line 3 has more than 5000 bytes" in found.says and "a quote opens on line 3" in found.says


def test_huge_field_is_read_up_to_the_longest_line(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER + "a," + "b" * 900_000 + "\n", max_line_bytes=10**6) == [
        {"prompt": "a", "completion": "b" * 900_000}
    ]
    found = unpacked(tmp_path / "more", "a.csv", (HEADER + "a," + "b" * 900_000 + "\n").encode(), max_line_bytes=10**5)
    assert (found.code, "split it" in found.says) == ("line_too_long", True)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (b"", "empty_file", "expected a header"),
        (b"\n\n", "empty_file", "expected a header"),
        (b"\xef\xbb\xbf", "empty_file", "expected a header"),
        (b"prompt,completion\n", "empty_file", "it has a header (prompt, completion) and no record"),
        (b"prompt,completion,prompt\na,b,c\n", "unknown_keys", "the header names 'prompt' more than once"),
        (b"prompt , prompt\na,b\n", "unknown_keys", "more than once"),
        (b'"What is\nthat?",b\nc,d\n', "unknown_keys", "must be a header that names the columns"),
        (b"x" * 300 + b",b\nc,d\n", "unknown_keys", "must be a header"),
        ("prompt,completion\na,b\n".encode("utf-16"), "not_utf8", "save it as UTF-8"),
        ("prompt,completion\na,b\n".encode("utf-16-le"), "not_utf8", "save it as UTF-8"),
        (b"prompt,completion\na,\0\n", "not_utf8", "zero bytes"),
        (b"prompt,completion\ra,b\rc,d\r", "unreadable", "carriage return"),
        (b"prompt,completion\na,b\rc,d\r", "unreadable", "carriage return"),
    ],
)
def test_file_that_cannot_be_read_says_why(tmp_path: Path, text: bytes, code: str, says: str) -> None:
    found = unpacked(tmp_path, "a.csv", text)
    assert found.code == code, found.says
    assert says in found.says


def test_zero_byte_far_inside_is_left_to_the_checks_of_its_line(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER + "a,b\n" * 50_000 + "c,\0\n")[-1] == {"prompt": "c", "completion": "\0"}


def test_header_without_a_name_gets_one(tmp_path: Path) -> None:
    assert read(tmp_path, ",prompt,completion\n0,a,b\n") == [{"column_1": "0", "prompt": "a", "completion": "b"}]


def test_delimiter_is_that_of_the_header_and_not_of_the_text_in_its_quotes(tmp_path: Path) -> None:
    assert read(tmp_path, '"a;b;c;d",e\n"x;y",z\n') == [{"a;b;c;d": "x;y", "e": "z"}]

"""What comes from files reaches the terminal as text and nothing else."""

from __future__ import annotations

import pytest

from weaver.cli.output import bytes_text, duration_text, fit, pad, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq evil\x1b\\after", "after"),
        ("\x1b]52;c;unfinished", ""),
        ("\x9b31mred", "red"),
        ("a\x08\x7f\x00b", "ab"),
        ("one\ntwo\tthree\r", "one two three "),
        ("‮right to left⁦", "right to left"),
        ("\x1b\x1b[31m", ""),
        ("half \x1b", "half "),
        ("도서관 ①②", "도서관 ①②"),
        ("\ud800", ""),
    ],
)
def test_escapes_and_controls_are_stripped(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_newlines_are_kept_only_where_asked_for() -> None:
    assert plain("a\n\tb\r", keep_newlines=True) == "a\n\tb "


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("漢字漢", 4, "漢…"), ("abc", 0, ""), ("e\u0301e\u0301", 2, "e\u0301e\u0301")],
)
def test_text_is_cut_by_terminal_columns(text: str, columns: int, expected: str) -> None:
    assert fit(text, columns) == expected


def test_padding_counts_columns() -> None:
    assert pad("漢", 4) == "漢  "


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "-"), (-1, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (7900, "2h11m"), (90000, "1d01h")],
)
def test_durations_are_short(seconds: float | None, expected: str) -> None:
    assert duration_text(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(None, "?"), (0, "0 B"), (1500, "1.5 kB"), (81234567890, "81.2 GB"), (5 * 10**12, "5.0 TB")]
)
def test_sizes_are_decimal(count: int | None, expected: str) -> None:
    assert bytes_text(count) == expected

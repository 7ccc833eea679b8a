"""Reading lines: every byte belongs to one line, whatever the file holds, and no long line is held in memory."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from core.jobs.lines import RawLine, read_lines

MARK = b"\xef\xbb\xbf"


def read(data: bytes, longest: int = 8, offset: int = 0, number: int = 1) -> list[RawLine]:
    return list(read_lines(io.BytesIO(data), offset, number, longest, lambda: None))


@given(st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"\r", b"0123456789", b"\x00\xff", MARK])), st.integers(0, 12))
def test_lines_cover_the_file_and_can_be_read_on_from_any_of_them(parts: list[bytes], longest: int) -> None:
    data = b"".join(parts)
    lines = read(data, longest)
    assert [line.offset for line in lines] == [0, *(line.end for line in lines)][:-1]
    assert (lines[-1].end if lines else 0) == len(data)
    for at, line in enumerate(lines):
        assert line.number == at + 1
        whole = data[line.offset : line.end]
        assert whole.count(b"\n") == (1 if whole.endswith(b"\n") else 0)
        if line.length <= longest:
            expected = whole.removesuffix(b"\n").removesuffix(b"\r")
            assert line.data == (expected.removeprefix(MARK) if at == 0 else expected)
        assert len(line.data) <= longest
        assert read(data, longest, line.end, line.number + 1) == lines[at + 1 :]


def test_last_line_needs_no_newline() -> None:
    assert [line.data for line in read(b"a\nb")] == [b"a", b"b"]


def test_windows_ends_and_the_mark_of_windows_editors_are_no_content() -> None:
    assert [line.data for line in read(MARK + b"{}\r\n{}\r\n")] == [b"{}", b"{}"]


def test_blank_lines_keep_their_number() -> None:
    assert [(line.number, line.is_blank) for line in read(b"a\n \t\n\nb\n")] == [(1, False), (2, True), (3, True), (4, False)]


def test_line_of_the_longest_length_is_whole_and_one_more_byte_is_cut() -> None:
    lines = read(b"12345678\n123456789\nx\n")
    assert [(line.data, line.length) for line in lines] == [(b"12345678", 8), (b"12345678", 9), (b"x", 1)]


def test_line_of_200_mb_takes_little_memory_and_beats(tmp_path: Path) -> None:
    path = tmp_path / "long"
    with path.open("wb") as file:
        for _ in range(200):
            file.write(b"x" * 10**6)
        file.write(b"\nshort\n")
    beats = []
    with path.open("rb") as file:
        tracemalloc.start()
        lines = list(read_lines(file, 0, 1, 1 << 16, lambda: beats.append(1)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert [line.length for line in lines] == [200 * 10**6, 5]
    assert lines[1].data == b"short"
    assert peak < 8 * 2**20, peak
    assert len(beats) > 100

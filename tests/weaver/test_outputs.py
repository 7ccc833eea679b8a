"""logs/*.out stay bounded while their programs go on appending."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.paths import Paths
from weaver.outputs import last_line, last_words, trim_outputs


def test_long_output_keeps_its_end_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "one.out"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"".join(b"line %05d\n" % number for number in range(1000)))
    inode = path.stat().st_ino
    assert trim_outputs(tmp_path, longest=5000, kept=1005) == ["one.out"]
    os.write(fd, b"after\n")
    os.close(fd)
    lines = path.read_text().splitlines()
    assert path.stat().st_ino == inode and path.stat().st_size < 1100
    assert lines[0] == "(the beginning was cut off)"
    assert lines[1] == "line 00909", "it begins with a whole line"
    assert lines[-2:] == ["line 00999", "after"]


def test_short_output_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one.out").write_text("short\n")
    (tmp_path / "one.jsonl").write_bytes(b"x" * 10_000)
    assert trim_outputs(tmp_path, longest=5000, kept=1000) == []
    assert (tmp_path / "one.out").read_text() == "short\n"


@pytest.mark.parametrize(("text", "line"), [("", ""), ("a\nb\n\n \n", "b"), ("x" * 20_000, "x" * 300), ("\xe9", "\ufffd")])
def test_last_line_is_what_was_printed_last(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "a").write_bytes(text.encode("latin-1"))
    assert last_line(tmp_path / "a") == line


def test_words_of_an_earlier_life_are_not_quoted(paths: Paths) -> None:
    out = paths.logs / "one.out"
    out.write_text("ValueError: no\n")
    assert last_words(paths, "one", age_s=1.0) == "ValueError: no"
    os.utime(out, (0, 0))
    assert last_words(paths, "one", age_s=1.0) == ""
    assert last_words(paths, "two", age_s=1.0) == ""

"""logs/*.out stay bounded while their programs go on appending."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.paths import Paths
from weaver.outputs import FLOOD_BYTES, FLOOD_LOOK_S, LOOK_S, Outputs, last_line, last_words


def test_long_output_keeps_its_end_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "one.out"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"".join(b"line %05d\n" % number for number in range(1000)))
    inode = path.stat().st_ino
    assert Outputs(tmp_path, longest=5000, kept=1005).trim(0.0) == LOOK_S
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
    Outputs(tmp_path, longest=5000, kept=1000).trim(0.0)
    assert (tmp_path / "one.out").read_text() == "short\n"
    assert (tmp_path / "one.jsonl").stat().st_size == 10_000


def test_flood_is_looked_at_ten_times_as_often_until_it_is_over(tmp_path: Path) -> None:
    outputs, path = Outputs(tmp_path), tmp_path / "one.out"
    path.write_bytes(b"")
    assert outputs.trim(0.0) == LOOK_S
    with path.open("ab") as file:
        file.write(b"x" * (FLOOD_BYTES + 1))
    assert outputs.trim(0.4) == pytest.approx(LOOK_S - 0.4), "not before its time"
    assert outputs.trim(1.0) == pytest.approx(FLOOD_LOOK_S)
    assert outputs.trim(1.2) == pytest.approx(LOOK_S), "it grew no more"


def test_folder_or_link_that_is_named_like_an_output_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one.out").mkdir()
    target = tmp_path / "precious"
    target.write_bytes(b"x" * 10_000)
    (tmp_path / "two.out").symlink_to(target)
    Outputs(tmp_path, longest=5000, kept=1000).trim(0.0)
    assert target.stat().st_size == 10_000


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

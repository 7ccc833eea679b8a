"""Data of jobs that are done: compressed, read and taken out again without losing a byte."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from core.errors import CorruptRecord
from core.files import OPS, Ops, exclusive
from core.jobs.archive import compress, opened, restore
from tests.fakes import wait_for
from tests.waiting import is_awaited

SEED = 20261120


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_file_comes_back_whole_and_is_read_either_way(tmp_path: Path, size: int) -> None:
    data = random.Random(SEED).randbytes(size // 3) * 3
    path = tmp_path / "data.jsonl"
    path.write_bytes(data)
    compress(path)
    assert [found.name for found in tmp_path.iterdir()] == ["data.jsonl.zst"]
    with opened(path) as file:
        assert file.read() == data
    assert restore(tmp_path, "data.jsonl")
    assert [found.name for found in tmp_path.iterdir()] == ["data.jsonl"]
    assert path.read_bytes() == data


def test_lines_are_read_one_by_one_from_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"one\ntwo\nthree")
    compress(path)
    with opened(path) as file:
        assert list(file) == [b"one\n", b"two\n", b"three"]


def test_what_is_not_there_cannot_be_opened_or_taken_out(tmp_path: Path) -> None:
    assert not restore(tmp_path, "data.jsonl")
    with pytest.raises(FileNotFoundError), opened(tmp_path / "data.jsonl"):
        pass


class Stopping(Ops):
    """Stops at the call of a number, as a kill does."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def fsync(self, path: Path) -> None:
        self._count()
        super().fsync(path)

    def replace(self, source: Path, target: Path) -> None:
        self._count()
        super().replace(source, target)

    def unlink(self, path: Path) -> None:
        self._count()
        super().unlink(path)


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("way", ["in", "out"])
def test_killed_at_any_call_nothing_is_lost_and_the_next_life_finishes(tmp_path: Path, at: int, way: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"dear data\n")
    if way == "out":
        compress(path)
    with pytest.raises(KeyboardInterrupt):
        compress(path, ops=Stopping(at)) if way == "in" else restore(tmp_path, "data.jsonl", Stopping(at))
    with opened(path) as file:
        assert file.read() == b"dear data\n"
    if way == "in":
        compress(path, ops=OPS)
    else:
        assert restore(tmp_path, "data.jsonl")
    with opened(path) as file:
        assert file.read() == b"dear data\n"


def test_folder_is_held_by_one_at_a_time_and_by_nobody_where_it_was(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "job", tmp_path / "elsewhere"
    folder.mkdir()
    order = []

    def wait() -> None:
        try:
            with exclusive(folder):
                order.append("got what moved away")
        except FileNotFoundError:
            order.append("found it gone")

    other = threading.Thread(target=wait)
    with exclusive(folder):
        other.start()
        wait_for("it waits", lambda: is_awaited(folder))
        folder.rename(elsewhere)
        folder.mkdir()
        order.append("moved")
    other.join(20)
    assert order == ["moved", "found it gone"]


def test_copy_that_differs_is_thrown_away_and_the_original_stays(tmp_path: Path) -> None:
    path, part = tmp_path / "data.jsonl", tmp_path / ".data.jsonl.zst.part"
    data = random.Random(SEED).randbytes(3 << 20)
    path.write_bytes(data)
    beats = 0

    def damage() -> None:
        nonlocal beats
        beats += 1
        if beats == 4:  # it is being read back
            with part.open("r+b") as file:
                file.truncate(2 << 20)

    with pytest.raises(CorruptRecord):
        compress(path, damage)
    assert [found.name for found in tmp_path.iterdir()] == ["data.jsonl"]
    assert path.read_bytes() == data

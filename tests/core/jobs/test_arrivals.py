"""What in the inbox is final: real files, real writers, time moved by hand."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.jobs.arrivals import Arrivals, open_for_writing
from core.paths import Paths
from tests.fakes import wait_for

SETTLE_S = 1.0
LARGEST = 10**6


class Inbox:
    """An inbox that is looked at; time passes by hand."""

    def __init__(self, paths: Paths) -> None:
        self.folder = paths.inbox
        self._paths, self._arrivals, self._mono = paths, Arrivals(), 100.0

    def look(self, after_s: float = 0.0) -> tuple[list[str], list[str]]:
        """Give the names that are ready and those that are still being written."""
        self._mono += after_s
        ready, waiting = self._arrivals.look(self._paths, self._mono, SETTLE_S, LARGEST)
        return [arrival.name for arrival in ready], waiting

    def refusals(self) -> dict[str, str]:
        """Give the code of everything that will not be read."""
        ready, _ = self._arrivals.look(self._paths, self._mono, 0.0, LARGEST)
        return {arrival.name: arrival.refusal.code for arrival in ready if arrival.refusal}


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    paths = Paths(tmp_path)
    paths.make()
    return Inbox(paths)


@pytest.fixture
def writer(inbox: Inbox) -> Iterator[subprocess.Popen[bytes]]:
    """Give another process that holds open.jsonl open for writing until its input ends."""
    path = inbox.folder / "open.jsonl"
    program = f"import sys; file = open({str(path)!r}, 'w'); file.write('x'); file.flush(); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        wait_for("the writer has written", lambda: path.exists() and path.stat().st_size)
        yield process


def rename_into(inbox: Inbox, name: str, text: str = "x") -> None:
    """Write beside the inbox and rename into it, once the kernel's coarse clock has moved on."""
    path = inbox.folder.parent / f".{name}"
    path.write_text(text)

    def moved_on() -> bool:
        other = inbox.folder.parent / ".other"
        other.write_text("")
        return other.stat().st_mtime_ns > path.stat().st_mtime_ns

    wait_for("the kernel's clock moves", moved_on)
    path.rename(inbox.folder / name)


def test_copied_file_is_ready_after_it_stood_still(inbox: Inbox) -> None:
    (inbox.folder / "a.jsonl").write_text("x")
    assert inbox.look() == ([], ["a.jsonl"])
    assert inbox.look(0.5) == ([], ["a.jsonl"])
    assert inbox.look(0.5) == (["a.jsonl"], [])


def test_growing_file_waits_from_its_last_write(inbox: Inbox) -> None:
    path = inbox.folder / "a.jsonl"
    path.write_text("x")
    inbox.look()
    path.write_text("xy")
    assert inbox.look(1.0) == ([], ["a.jsonl"])
    assert inbox.look(0.9) == ([], ["a.jsonl"])
    assert inbox.look(0.1) == (["a.jsonl"], [])


def test_file_replaced_by_another_of_the_same_size_waits_again(inbox: Inbox) -> None:
    path = inbox.folder / "a.jsonl"
    path.write_text("x")
    inbox.look()
    path.unlink()
    path.write_text("y")
    assert inbox.look(1.0)[0] == []


def test_file_that_arrived_by_rename_is_ready_at_once(inbox: Inbox) -> None:
    rename_into(inbox, "a.jsonl")
    assert inbox.look() == (["a.jsonl"], [])


def test_file_that_another_process_writes_waits_however_long(inbox: Inbox, writer: subprocess.Popen[bytes]) -> None:
    inbox.look()
    assert inbox.look(100.0) == ([], ["open.jsonl"])
    writer.communicate()
    assert inbox.look() == (["open.jsonl"], [])


def test_renamed_file_that_is_still_written_waits(inbox: Inbox, writer: subprocess.Popen[bytes]) -> None:
    (inbox.folder / "open.jsonl").rename(inbox.folder / "final.jsonl")
    assert inbox.look(100.0)[0] == []
    writer.communicate()
    inbox.look()
    assert inbox.look(1.0) == (["final.jsonl"], [])


def test_file_that_is_only_read_does_not_wait(inbox: Inbox) -> None:
    path = inbox.folder / "a.jsonl"
    path.write_text("x")
    with path.open("rb"):
        assert open_for_writing([path]) == set()
        with path.open("ab"):
            assert open_for_writing([path]) == {str(path)}


def test_drop_waits_for_its_sidecar_to_be_final(inbox: Inbox) -> None:
    (inbox.folder / "a.jsonl").write_text("x")
    inbox.look()
    (inbox.folder / "a.jsonl.meta.json").write_text("{")
    assert inbox.look(1.0) == ([], ["a.jsonl"])
    assert inbox.look(1.0) == (["a.jsonl"], [])


def test_sidecar_alone_is_no_drop(inbox: Inbox) -> None:
    (inbox.folder / "a.jsonl.meta.json").write_text("{}")
    inbox.look()
    assert inbox.look(10.0) == ([], [])


def test_sidecar_whose_file_does_not_come_is_refused_after_a_minute_by_name(inbox: Inbox) -> None:
    (inbox.folder / "a.csv.meta.json").write_text("{}")
    inbox.look()
    assert inbox.look(59.0) == ([], [])
    assert inbox.look(1.0) == (["a.csv.meta.json"], [])
    assert inbox.refusals() == {"a.csv.meta.json": "empty_file"}


@pytest.mark.parametrize("coming", ["a.csv.part", ".a.csv.Xy12Zz", "a.csv.crdownload", "a.csv"])
def test_sidecar_waits_for_a_file_that_is_being_copied(inbox: Inbox, coming: str) -> None:
    (inbox.folder / "a.csv.meta.json").write_text("{}")
    inbox.look()
    inbox.look(59.0)
    (inbox.folder / coming).write_text("x")
    assert "a.csv.meta.json" not in inbox.look(100.0)[0]


@pytest.mark.parametrize("name", [".a.jsonl", "a.jsonl.part", "a.jsonl.tmp", "a.crdownload", "a.filepart", "a.jsonl~", "a.swp"])
def test_unfinished_names_are_left_alone(inbox: Inbox, name: str) -> None:
    (inbox.folder / name).write_text("x")
    inbox.look()
    assert inbox.look(100.0) == ([], [])


def test_order_is_that_of_arrival(inbox: Inbox) -> None:
    for name in ("c.jsonl", "a.jsonl", "b.jsonl"):
        rename_into(inbox, name)
    assert inbox.look()[0] == ["c.jsonl", "a.jsonl", "b.jsonl"]


def test_places_of_the_inbox_are_looked_at_and_are_no_drops(inbox: Inbox) -> None:
    (inbox.folder / "high" / "h.jsonl").write_text("x")
    (inbox.folder / "low" / "l.jsonl").write_text("x")
    (inbox.folder / "low" / "high").mkdir()
    inbox.look()
    assert sorted(inbox.look(1.0)[0]) == ["h.jsonl", "high", "l.jsonl"]


def test_everything_that_is_no_plain_final_file_is_refused_unopened(inbox: Inbox, tmp_path: Path) -> None:
    folder = inbox.folder
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "link.jsonl").symlink_to("/etc/hostname")
    (folder / "broken.jsonl").symlink_to(tmp_path / "nothing")
    (folder / "sidecar-link.jsonl.meta.json").symlink_to("/etc/hostname")
    with socket.socket(socket.AF_UNIX) as server:
        previous = Path.cwd()
        os.chdir(folder)
        try:
            server.bind("socket.jsonl")
        finally:
            os.chdir(previous)
    for name in ("data.csv.bz2", "data.txt.gz", "data.xlsx", "program.exe", "noending"):
        (folder / name).write_text("x")
    with (folder / "big.jsonl").open("wb") as file:
        file.truncate(LARGEST + 1)
    inbox.look()
    codes = inbox.refusals()
    kinds = ("folder", "pipe.jsonl", "link.jsonl", "broken.jsonl", "sidecar-link.jsonl.meta.json", "socket.jsonl")
    assert {name: codes.pop(name) for name in kinds} == dict.fromkeys(kinds, "not_a_regular_file")
    assert codes.pop("big.jsonl") == "too_big"
    assert codes == dict.fromkeys(("data.csv.bz2", "data.txt.gz", "data.xlsx", "program.exe", "noending"), "unknown_ending")


def test_missing_inbox_is_empty(inbox: Inbox) -> None:
    for place in ("high", "low", ""):
        (inbox.folder / place).rmdir()
    assert inbox.look() == ([], [])

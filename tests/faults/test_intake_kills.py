"""The real watch_inbox under kill -9, and drops whose writers stop, die or come back: each is one job with all its lines."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zstandard

from core.accounting.audit import audit
from core.jobs.job import Job
from core.jobs.spool import Spool
from core.paths import STATES, Paths
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.fakes import home_environment, wait_for
from weaver.drill.drops import chat_lines

pytestmark = pytest.mark.timeout(600)
SEED, KILLS, LINES = 20261121, 8, 10_000
WRITER = """
import sys, time
path, source, mode, piece = sys.argv[1:]
data = open(source, "rb").read()
with open(path, mode, buffering=0) as file:
    for at in range(0, len(data), int(piece)):
        file.write(data[at : at + int(piece)])
        print(at, flush=True)
        sys.stdin.readline()
"""


class Watched:
    """A home in which nothing but watch_inbox runs, as a process of its own."""

    def __init__(self, paths: Paths) -> None:
        from trainer.tiny.tokenizer import save_tokenizer

        save_tokenizer(paths.model("tiny").checkpoint(make_checkpoint(paths, 0, None)))
        self.paths, self.spool = paths, Spool(paths)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.paths.logs / "watch_inbox.out").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemons", "watch_inbox"], env=home_environment(self.paths), cwd=self.paths.home,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def kill(self) -> list[psutil.Process]:
        """kill -9; give the children that it had."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        self.process.kill()
        self.process.wait()
        return children

    def is_unpacking(self) -> bool:
        """Say whether it has a child at work."""
        assert self.process is not None
        return bool(psutil.Process(self.process.pid).children())

    def is_validating(self) -> bool:
        """Say whether lines were accepted that are in no job yet."""
        return any(path.stat().st_size for path in self.paths.building.glob("*/data.jsonl"))

    def drop(self, name: str, data: bytes) -> None:
        hidden = self.paths.inbox / f".{name}"
        hidden.write_bytes(data)
        hidden.rename(self.paths.inbox / name)

    def jobs(self) -> dict[str, tuple[str, Job]]:
        """Give state and record by the name of the drop; a name in two jobs fails the test."""
        found: dict[str, tuple[str, Job]] = {}
        for state in STATES:
            for job in self.spool.list(state):
                record = self.spool.read(job)[1]
                assert record.name not in found, f"{record.name} is two jobs"
                found[record.name] = (state, record)
        return found

    def texts(self, name: str) -> list[str]:
        """Give the first message of each accepted line of a queued drop."""
        state, record = self.jobs()[name]
        assert state == "normal", record.reason
        rows = (self.paths.state(state) / record.id / "data.jsonl").read_bytes().splitlines()
        return [json.loads(row)["messages"][0]["content"] for row in rows]


@pytest.fixture
def watched(paths: Paths) -> Iterator[Watched]:
    made = Watched(paths)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.terminate()
        made.process.wait(60.0)


PACKERS: list[tuple[str, Callable[[list[str], bytes], bytes]]] = [
    (".jsonl", lambda _, data: data),
    (".csv.gz", lambda texts, _: gzip.compress(csv_of(texts), 1)),
    (".jsonl.gz", lambda _, data: gzip.compress(data, 1)),
    (".jsonl.zst", lambda _, data: zstandard.compress(data)),
]


def csv_of(texts: list[str]) -> bytes:
    return b"prompt,completion\n" + b"".join(f"{text},{text[::-1]}\n".encode() for text in texts)


def test_intake_killed_again_and_again_while_it_unpacks_and_validates_takes_every_line_once(watched: Watched) -> None:
    """About 20 s: 80,000 lines are read through eight deaths."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    wanted: dict[str, list[str]] = {}
    for number in range(KILLS):
        ending, pack = PACKERS[number % len(PACKERS)]
        name = f"drop-{number}{ending}"
        texts, data = chat_lines(name, LINES)
        wanted[name] = texts
        watched.drop(name, pack(texts, data))
        watched.start()
        wait_for("something to break", watched.is_validating if ending == ".jsonl" else watched.is_unpacking, 60.0)
        due = time.monotonic() + rng.uniform(0.0, 0.3)
        wait_for("a random moment", lambda at=due: time.monotonic() > at)  # type: ignore[misc]
        assert watched.spool.undecided(), "too fast: there is nothing left to break"
        for child in watched.kill():
            wait_for("its child to die with it", lambda one=child: not one.is_running() or one.status() == "zombie", 20.0)  # type: ignore[misc]
    watched.start()
    wait_for("every verdict", lambda: len(watched.jobs()) == len(wanted) and not watched.spool.undecided(), 180.0)
    for name, texts in wanted.items():
        assert watched.texts(name) == texts, name
    found = audit(watched.paths)
    assert (found.lines.dropped, found.lines.pending, found.lines.unaccounted) == (KILLS * LINES, KILLS * LINES, 0)
    assert not list(watched.paths.building.iterdir())


class Writer:
    """A process that writes a file piece by piece, each when told, as a copy over a slow line does."""

    def __init__(self, path: Path, source: Path, mode: str = "wb", piece: int = 700) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(source), mode, str(piece)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.written()

    def written(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def write_on(self, pieces: int = 1) -> None:
        assert self._process.stdin is not None
        for _ in range(pieces):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            self.written()

    def end(self) -> None:
        """Let it write the rest and close."""
        self._process.communicate("\n" * 10_000)

    def send(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def die(self) -> None:
        self.send(signal.SIGKILL)
        self._process.wait()


def test_copy_that_pauses_for_long_is_not_taken_before_it_is_whole(watched: Watched, tmp_path: Path) -> None:
    """Longer than the settling time of a second, once in the middle of a line and once with its writer stopped."""
    texts, data = chat_lines("slow.jsonl", 100)
    source = tmp_path / "source"
    source.write_bytes(data)
    watched.start()
    writer = Writer(watched.paths.inbox / "slow.jsonl", source)
    try:
        for number in (None, signal.SIGSTOP):
            if number is not None:
                writer.send(number)
            watched.drop(f"other-{number}.jsonl", chat_lines(f"other-{number}", 3)[1])
            paused = time.monotonic()
            wait_for("another drop", lambda name=f"other-{number}.jsonl": name in watched.jobs(), 60.0)  # type: ignore[misc]
            wait_for("three settling times", lambda at=paused: time.monotonic() > at + 3.0)  # type: ignore[misc]
            assert "slow.jsonl" not in watched.jobs() and (watched.paths.inbox / "slow.jsonl").exists()
            writer.send(signal.SIGCONT)
            writer.write_on(3)
    finally:
        writer.end()
    wait_for("the whole copy", lambda: "slow.jsonl" in watched.jobs(), 60.0)
    assert watched.texts("slow.jsonl") == texts


def test_copy_whose_writer_dies_keeps_every_whole_line_and_quarantines_the_torn_one(watched: Watched, tmp_path: Path) -> None:
    texts, data = chat_lines("half.jsonl", 100)
    source = tmp_path / "source"
    source.write_bytes(data)
    watched.start()
    writer = Writer(watched.paths.inbox / "half.jsonl", source)
    writer.write_on(4)
    writer.die()
    came = (watched.paths.inbox / "half.jsonl").read_bytes()
    assert not came.endswith(b"\n"), "it is torn in the middle of a line"
    _, job = wait_for("the verdict", lambda: watched.jobs().get("half.jsonl"), 60.0)
    assert job.lines is not None and (job.lines.accepted, job.lines.rejected) == (came.count(b"\n"), 1)
    assert watched.texts("half.jsonl") == texts[: came.count(b"\n")]


@pytest.mark.parametrize(("ending", "mode"), [("", "ab"), (".gz", "ab"), ("", "r+b")])
def test_file_that_is_written_to_while_it_is_read_is_judged_by_its_final_content(
    watched: Watched, tmp_path: Path, ending: str, mode: str
) -> None:
    """The writer opened it before the drop was taken; it goes on, or writes over the beginning, when that was read already."""
    texts, data = chat_lines("begun", 20_000)
    others, other = chat_lines("other", 100)
    pack: Any = gzip.compress if ending else bytes
    name = f"changes.jsonl{ending}"
    source = tmp_path / "source"
    source.write_bytes(pack(other))
    watched.drop(name, pack(data))
    watched.start()
    wait_for("it to be read", watched.is_unpacking if ending else watched.is_validating, 60.0)
    (raw,) = watched.paths.building.glob("*/raw")
    Writer(raw, source, mode, piece=100_000).end()
    wait_for("the verdict", lambda: watched.jobs().get(name), 120.0)
    assert watched.texts(name) == (texts + others if mode == "ab" else others + texts[len(others) :])

"""weaver logs: the programs' own JSON logs, merged by time and followed.

Place in the flow: reads logs/<program>.jsonl (core/log.py writes them, and rotates them to .jsonl.1) and, with --out,
logs/<program>.out (what a program printed, crashes before its log was open included). Invariant: only reads; a line that is
not JSON is shown as it is; escapes in messages never reach the terminal.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from core.errors import NotFound
from core.paths import Paths
from core.records import Record
from weaver.cli.home import this_home
from weaver.cli.output import paint, plain, print_data, print_record, use_colour

POLL_S = 0.25
_BLOCK = 1 << 16
_LONGEST = 1 << 20
_LEVELS = {"error": "red", "critical": "red", "warning": "yellow"}


def log_files(paths: Paths, name: str | None, out: bool) -> dict[str, Path]:
    """Give the log file of each program that was asked for. Raises NotFound with the programs that have one."""
    ending = ".out" if out else ".jsonl"
    try:
        there = {Path(entry.name).stem: Path(entry.path) for entry in os.scandir(paths.logs) if entry.name.endswith(ending)}
    except FileNotFoundError:
        there = {}
    if name is None:
        return there
    if name not in there:
        raise NotFound(kind=f"log ({ending}) of a program", name=name, known=", ".join(sorted(there)) or "none yet")
    return {name: there[name]}


def last_lines(path: Path, count: int) -> list[bytes]:
    """Give the last lines of a file, oldest first, reading backwards from its end in blocks."""
    try:
        with path.open("rb") as file:
            at = file.seek(0, os.SEEK_END)
            tail = b""
            while at > 0 and tail.count(b"\n") <= count and len(tail) < count * _LONGEST:
                step = min(_BLOCK, at)
                at = file.seek(at - step)
                tail = file.read(step) + tail
    except FileNotFoundError:
        return []
    return tail.splitlines()[-count:] if count else []


@dataclass
class Follower:
    """Where reading a growing file stands; a rotated or truncated file is read from its new start."""

    path: Path
    _inode: int = 0
    _at: int = 0
    _rest: bytes = field(default=b"")

    def skip_to_end(self) -> None:
        """Begin after what is there now."""
        stat = self._stat()
        if stat is not None:
            self._inode, self._at = stat.st_ino, stat.st_size

    def new_lines(self) -> list[bytes]:
        """Give the lines completed since the last call; those written to the old file before a rotation included."""
        stat = self._stat()
        if stat is None:
            return []
        lines: list[bytes] = []
        if stat.st_ino != self._inode:
            rotated = self.path.with_name(self.path.name + ".1")
            if self._inode and rotated.exists() and rotated.stat().st_ino == self._inode:
                lines = self._read(rotated)
            self._inode, self._at, self._rest = stat.st_ino, 0, b""
        elif stat.st_size < self._at:
            self._at, self._rest = 0, b""
        return lines + self._read(self.path)

    def _stat(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except FileNotFoundError:
            return None

    def _read(self, path: Path) -> list[bytes]:
        try:
            with path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        self._at += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


class LogLine(Record, frozen=True, tag="weaver.log-line/1"):
    """One line of a program's log, also of `weaver logs -f --json`; one that is not ours has its text under msg and no time."""

    program: str
    at: str | None = None
    mono: float | None = None
    boot_id: str | None = None
    seq: int | None = None
    level: str | None = None
    event: str | None = None
    msg: str = ""
    job: str | None = None
    checkpoint: str | None = None


class LogReport(Record, frozen=True, tag="weaver.logs/1"):
    """`weaver logs --json`: the last lines, oldest first."""

    lines: list[LogLine]


def parse(program: str, raw: bytes) -> LogLine:
    """Read a log line; one that is no record of ours keeps its text."""
    try:
        fields = msgspec.json.decode(raw)
        ours = {key: fields[key] for key in LogLine.__struct_fields__ if key in fields}
        return msgspec.convert({"program": program, **ours}, LogLine)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
        return LogLine(program=program, msg=raw.decode("utf-8", "replace"))


def merge(lines: Iterable[tuple[str, bytes]]) -> list[LogLine]:
    """Order lines of several programs by time; lines without a time stay behind the one they followed."""
    keyed: list[tuple[str, LogLine]] = []
    last: dict[str, str] = {}
    for program, raw in lines:
        line = parse(program, raw)
        last[program] = line.at or last.get(program, "")
        keyed.append((last[program], line))
    keyed.sort(key=lambda item: item[0])
    return [line for _, line in keyed]


def show(line: LogLine, colours: bool) -> None:
    """Print one log line for people."""
    about = " ".join(f"{key}={value}" for key, value in (("job", line.job), ("checkpoint", line.checkpoint)) if value)
    level = plain(line.level or "")
    head = f"{plain(line.at or '-')} {plain(line.program):<17} "
    text = plain(line.msg, keep_newlines=True) + (f"  [{plain(about)}]" if about else "")
    print_data(paint(head, "dim", colours) + paint(f"{level:<7} ", _LEVELS.get(level), colours) + text)


def show_logs(paths: Paths, name: str | None, count: int, follow: bool, as_json: bool, out: bool) -> None:
    """Print the last lines of one program or of all, then, if asked, each new one as it is written.

    As JSON they are one document; when following, one document a line.
    """
    files = log_files(paths, name, out)
    followers = {program: Follower(path) for program, path in files.items()}
    for follower in followers.values():
        follower.skip_to_end()
    tail = merge((program, raw) for program, path in files.items() for raw in last_lines(path, count))
    tail = tail[-count:] if count else []
    if as_json and not follow:
        print_record(LogReport(lines=tail))
        return
    colours = use_colour(sys.stdout)
    while True:
        for line in tail:
            print_record(line, in_one_line=True) if as_json else show(line, colours)
        if not follow:
            return
        time.sleep(POLL_S)
        if name is None:
            for program, path in log_files(paths, None, out).items():
                followers.setdefault(program, Follower(path))
        tail = merge((program, raw) for program, follower in followers.items() for raw in follower.new_lines())


def logs(
    name: Annotated[str | None, typer.Argument(help="A program; without it, all of them.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 50,
    out: Annotated[bool, typer.Option("--out", help="What the program printed, instead of its log.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; with --follow one document a line.")] = False,
) -> None:
    """Show the logs of one program or of all, merged by time.

    Examples:
      weaver logs train_next
      weaver logs -f
      weaver logs oracle --out -n 200
    """
    show_logs(this_home(), name, lines, follow, json, out)

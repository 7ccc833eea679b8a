"""weaver logs: the programs' own JSON logs, merged by time and followed.

Place in the flow: reads logs/<program>.jsonl (core/log.py writes them, and rotates them to .jsonl.1) and, with --out,
logs/<program>.out (what a program printed, crashes before its log was open included). Invariant: only reads; a line that is
not JSON is shown as it is; escapes in messages never reach the terminal.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from core.errors import NotFound
from core.paths import Paths
from weaver.cli.output import paint, plain, print_data, use_colour

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


def parse(program: str, raw: bytes) -> tuple[str, dict[str, Any]]:
    """Give (time, fields) of a log line; a line that is no JSON object keeps its text under msg and has no time."""
    try:
        fields = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        fields = {"at": None, "level": None, "program": program, "msg": raw.decode("utf-8", "replace")}
    return str(fields.get("at") or ""), fields


def merge(lines: Iterable[tuple[str, bytes]]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Order lines of several programs by time; lines without a time stay behind the one they followed."""
    keyed: list[tuple[str, dict[str, Any], bytes]] = []
    last: dict[str, str] = {}
    for program, raw in lines:
        at, fields = parse(program, raw)
        last[program] = at = at or last.get(program, "")
        keyed.append((at, fields, raw))
    keyed.sort(key=lambda item: item[0])
    return ((fields, raw) for _, fields, raw in keyed)


def show(fields: dict[str, Any], raw: bytes, as_json: bool, colours: bool) -> None:
    """Print one log line."""
    if as_json:
        print_data(msgspec.json.encode(fields).decode())
        return
    about = " ".join(f"{key}={fields[key]}" for key in ("job", "checkpoint") if fields.get(key))
    level = str(fields.get("level") or "")
    head = f"{plain(str(fields.get('at') or '-'))} {plain(str(fields.get('program'))):<17} "
    text = plain(str(fields.get("msg", "")), keep_newlines=True) + (f"  [{plain(about)}]" if about else "")
    print_data(paint(head, "dim", colours) + paint(f"{level:<7} ", _LEVELS.get(level), colours) + text)


def show_logs(paths: Paths, name: str | None, count: int, follow: bool, as_json: bool, out: bool) -> None:
    """Print the last lines of one program or of all, then, if asked, each new one as it is written."""
    files = log_files(paths, name, out)
    colours = use_colour(sys.stdout)
    followers = {program: Follower(path) for program, path in files.items()}
    for follower in followers.values():
        follower.skip_to_end()
    tail = [(program, raw) for program, path in files.items() for raw in last_lines(path, count)]
    for fields, raw in list(merge(tail))[-count:] if count else []:
        show(fields, raw, as_json, colours)
    while follow:
        time.sleep(POLL_S)
        if name is None:
            for program, path in log_files(paths, None, out).items():
                followers.setdefault(program, Follower(path))
        new = [(program, raw) for program, follower in followers.items() for raw in follower.new_lines()]
        for fields, raw in merge(new):
            show(fields, raw, as_json, colours)

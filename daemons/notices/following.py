"""Following the events: what was appended to logs/events/*.jsonl since the last look, whole records only.

Place in the flow: send_notices reads the events of all programs with this. Files read: logs/events/<program>.jsonl and the one
before it, <program>.1.jsonl. Invariant: an event is given once, also across a rotation; a record that is being written waits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.files import records_in
from core.records import Part

PIECE_BYTES = 1 << 20
_OLDER = ".1"


class Cursor(Part, frozen=True):
    """How far one file of events was read: which file (its inode), and the offset in bytes."""

    inode: int
    offset: int


def ends(folder: Path) -> dict[str, Cursor]:
    """Give cursors at the ends of all files: only what comes from now on is news."""
    return {path.stem: Cursor(inode=facts.st_ino, offset=facts.st_size) for path, facts in _files(folder)}


def read_news(folder: Path, cursors: Mapping[str, Cursor]) -> tuple[list[dict[str, Any]], dict[str, Cursor], bool]:
    """Give the events since the cursors in the order of time, the cursors behind them, and whether there is more to read."""
    events, after, is_more = list[dict[str, Any]](), dict(cursors), False
    for path, facts in _files(folder):
        cursor = cursors.get(path.stem, Cursor(inode=facts.st_ino, offset=0))
        if cursor.inode != facts.st_ino:
            rest, cursor = _rest_of_older(path.with_name(f"{path.stem}{_OLDER}.jsonl"), cursor)
            events += rest
            if not cursor.inode:
                cursor = Cursor(inode=facts.st_ino, offset=0)
        if cursor.inode == facts.st_ino:
            offset = cursor.offset if cursor.offset <= facts.st_size else 0
            found, offset = _read(path, offset)
            events += found
            cursor = Cursor(inode=facts.st_ino, offset=offset)
            is_more |= bool(found) and offset < facts.st_size
        else:
            is_more = True
        after[path.stem] = cursor
    return sorted(events, key=lambda event: str(event.get("at"))), after, is_more


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in sorted(folder.glob("[!.]*.jsonl")):
        if not path.stem.endswith(_OLDER):
            try:
                yield path, path.stat()
            except FileNotFoundError:
                continue  # it is being rotated


def _rest_of_older(path: Path, cursor: Cursor) -> tuple[list[dict[str, Any]], Cursor]:
    """Read on in the file before, if the cursor is in it; the cursor has no inode once it is read to its end, or gone."""
    try:
        facts = path.stat()
        if facts.st_ino != cursor.inode:
            return [], Cursor(inode=0, offset=0)
        found, offset = _read(path, cursor.offset)
    except FileNotFoundError:
        return [], Cursor(inode=0, offset=0)
    is_read = offset >= facts.st_size or not found
    return found, Cursor(inode=0 if is_read else cursor.inode, offset=offset)


def _read(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Read the whole lines of at most PIECE_BYTES from an offset; give their records and the offset behind them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(PIECE_BYTES)
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    if not end:  # a line that is being written, or one that nobody wrote in earnest
        return [], offset + (len(data) if len(data) == PIECE_BYTES else 0)
    events = (json.loads(record) for record in records_in(data[:end]))
    return [event for event in events if isinstance(event, dict)], offset + end

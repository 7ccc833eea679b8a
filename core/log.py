"""Logs and events: one rotated JSON log per program, one append-only event file per process.

logs/<program>.jsonl: fields at mono boot_id seq level program event msg job checkpoint (CONTRACTS.md section 2); 20 MB x 5.
A flood is thinned: past BURST records a second the rest is counted, and the count is logged. A message keeps its first and last
LONGEST_HALF characters. Invariant: a program's log stays under LOG_FILES times LOG_BYTES, its events under twice EVENT_BYTES.
"""

from __future__ import annotations

import itertools
import json
import logging
import logging.handlers
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.clock import SystemClock, boot_id, iso
from core.files import append_record, read_records
from core.paths import Paths
from core.records import Part

LOG_BYTES = 20 * 10**6
LOG_FILES = 5
EVENT_BYTES = 10**7
# What programs print, past this module, into logs/<program>.out: the Weaver cuts what is longer, or without one the program
# itself when it beats, 2 s later. A flood of 100,000 lines of 100 bytes a second adds 20 million bytes till then; half as many
# more are for a late beat.
OUT_BYTES = 20 * 10**6
OUT_FLOOD_BYTES = 30 * 10**6
OUT_KEPT_BYTES = 10**6
BURST = 200
LONGEST_HALF = 10_000


class _JsonLines(logging.Formatter):
    def __init__(self, program: str) -> None:
        super().__init__()
        self._program, self._boot = program, boot_id()

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        left_out = len(message) - 2 * LONGEST_HALF
        if left_out > 0:
            message = f"{message[:LONGEST_HALF]} ... {left_out} characters left out ... {message[-LONGEST_HALF:]}"
        fields: dict[str, Any] = {
            "at": iso(datetime.fromtimestamp(record.created, UTC)), "mono": round(time.monotonic(), 3),
            "boot_id": self._boot, "seq": getattr(record, "seq", None), "level": record.levelname.lower(),
            "program": self._program,
            "event": getattr(record, "event", None), "msg": message, "job": getattr(record, "job", None),
            "checkpoint": getattr(record, "checkpoint", None),
        }  # fmt: skip
        return _json(fields).decode()


def _json(fields: dict[str, Any]) -> bytes:
    """Write one line; a file name in it may not be UTF-8, and no line is worth failing for that."""
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")


class _Thinner(logging.Filter):
    """Let BURST records a second through, number them, and say how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._second, self._seen, self._seq = 0, 0, itertools.count(1)

    def filter(self, record: logging.LogRecord) -> bool:
        second = int(record.created)
        if second != self._second:
            left_out, self._second, self._seen = max(0, self._seen - BURST), second, 0
            if left_out:
                record.msg, record.args = f"{record.getMessage()} ({left_out} records of the last second left out)", ()
        self._seen += 1
        if self._seen > BURST:
            return False
        record.seq = next(self._seq)  # here and not in the formatter: a rotating handler formats each record twice
        return True


def open_log(paths: Paths, program: str) -> logging.Logger:
    """Give the logger of a program, writing JSON lines to logs/<program>.jsonl."""
    paths.logs.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger(f"weaver.{program}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.handlers.RotatingFileHandler(
        paths.logs / f"{program}.jsonl", maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1, encoding="utf-8"
    )
    handler.setFormatter(_JsonLines(program))
    handler.addFilter(_Thinner())
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    return logger


def keep_end(path: Path, kept: int = OUT_KEPT_BYTES) -> None:
    """Cut what a program has printed down to its end, from a whole line on. Raises OSError.

    In place, because the program holds the file open for appending; a line printed during the cut may be lost.
    """
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - kept))
        tail = file.read()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, 0)
        os.write(fd, b"(the beginning was cut off)\n" + tail[tail.find(b"\n") + 1 :])
    finally:
        os.close(fd)


class Event(Part, frozen=True):
    """One event as it was written: when, by which program, what, and its facts."""

    at: str
    program: str
    event: str
    facts: dict[str, Any]


def read_events(paths: Paths) -> list[Event]:
    """Give what happened, from the files of all programs, in the order of time; torn lines are passed over."""
    found = []
    for path in (paths.logs / "events").glob("*.jsonl"):
        for record in read_records(path):
            fields = json.loads(record)
            known = [str(fields.pop(name, "")) for name in ("at", "program", "event")]
            found.append(Event(at=known[0], program=known[1], event=known[2], facts=fields))
    return sorted(found, key=lambda event: event.at)


def write_event(paths: Paths, program: str, event: str, **facts: Any) -> None:
    """Append an event to logs/events/<program>.jsonl (checksummed, durable); the file before the last 10 MB is kept once."""
    path = paths.logs / "events" / f"{program}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > EVENT_BYTES:
        path.replace(path.with_suffix(".1.jsonl"))
    record = {"at": iso(SystemClock().now()), "program": program, "event": event, **facts}
    append_record(path, _json(record))

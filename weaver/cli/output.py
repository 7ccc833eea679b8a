"""What the verbs print: data to stdout, messages to stderr, and nothing that a terminal would obey.

Place in the flow: every verb of weaver/cli prints through here. Invariant: text from files (names, notes, log lines, answers of
models) reaches the terminal without escapes, control characters and direction overrides; colours only on a terminal, and
never with NO_COLOR set.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from contextlib import suppress
from typing import TextIO

import msgspec

from core.records import encode

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erase
    r"|\x1b[\]PX^_].*?(?:\x1b\\|\x07|\Z)"  # OSC, DCS, SOS, PM, APC up to their end: titles, links, clipboard
    r"|\x1b[ -/]*[0-~]?"  # two-character escapes
    r"|\x9b[0-?]*[ -/]*[@-~]",  # CSI as one character
    re.DOTALL,
)
_CONTROLS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")  # JSON has none below 0x20
COLOURS = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}


def plain(text: str, keep_newlines: bool = False) -> str:
    """Give text without terminal escapes and unprintable characters; newlines and tabs become spaces unless kept."""
    kept = "\n\t" if keep_newlines else ""
    text = _ESCAPES.sub("", text)
    return "".join(c if c.isprintable() or c in kept else (" " if c in "\n\t\r" else "") for c in text)


def width(text: str) -> int:
    """Give how many terminal columns a plain text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, columns: int) -> str:
    """Cut a plain text to a number of columns, marking the cut with an ellipsis."""
    if width(text) <= columns:
        return text
    taken, out = 0, []
    for c in text:
        taken += width(c)
        if taken > columns - 1:
            break
        out.append(c)
    return "".join(out) + "…" if columns > 0 else ""


def pad(text: str, columns: int) -> str:
    """Cut or fill a plain text to exactly a number of columns."""
    text = fit(text, columns)
    return text + " " * (columns - width(text))


def use_colour(stream: TextIO) -> bool:
    """Say whether a stream may be coloured: a terminal, NO_COLOR unset or empty (no-color.org), TERM not dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None, colours: bool) -> str:
    """Colour a text (SGR), or give it as it is."""
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if colours and colour else text


def tame_streams() -> None:
    """Let no text and no missing stream fail the program: what cannot be encoded is replaced, a closed stream takes all."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        else:
            stream.reconfigure(errors="replace")


def print_data(text: str, end: str = "\n") -> None:
    """Print data to stdout. Ends the program quietly when whoever reads it has left, as `weaver logs | head` does.

    Raises OSError when it cannot be written, as on a full disk.
    """
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        raise SystemExit(0) from None


def print_message(text: str) -> None:
    """Print a message for people to stderr; when nobody can read it any more, the exit code has to do."""
    with suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def print_record(record: msgspec.Struct, in_one_line: bool = False) -> None:
    """Print a record as indented JSON, or in one line; what a terminal could obey in it is written as \\uXXXX."""
    data = encode(record)
    text = (data if in_one_line else msgspec.json.format(data, indent=1)).decode()
    print_data(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def bytes_text(count: int | None) -> str:
    """Write a size for people, in decimal units."""
    if count is None:
        return "?"
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_text(seconds: float | None) -> str:
    """Write a duration for people in at most six characters: 7s, 3m05s, 2h11m, 4d03h; - when unknown."""
    if seconds is None:
        return "-"
    s = max(0, int(seconds))
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    if s < 86400:
        return f"{s // 3600}h{s % 3600 // 60:02d}m"
    return f"{s // 86400}d{s % 86400 // 3600:02d}h"

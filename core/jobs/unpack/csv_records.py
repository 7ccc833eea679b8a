"""CSV: the header names the keys, every record after it is a line; all values are text.

Place in the flow: core/jobs/unpack/__main__ calls write_csv for .csv drops. Reads the opened drop, writes through Output.
Invariants: the delimiter is decided by the header line alone; where a record ends is never guessed: a quote that is not closed
as it should be refuses the whole file and names the line on which it opened.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator

import msgspec

from core.jobs.formats import DropRefused, shown
from core.jobs.unpack.order import Bounds
from core.jobs.unpack.output import Output

DELIMITERS = (",", ";", "\t")
_LONGEST_NAME = 200
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_text(start: bytes) -> None:
    """Refuse text that is not UTF-8 by its first bytes. Raises DropRefused (not_utf8)."""
    if start.startswith(_UTF16) or b"\0" in start:
        raise DropRefused(
            code="not_utf8",
            detail="the file is UTF-16 (or binary): it holds zero bytes or begins with its mark; save it as UTF-8",
        )


class _Lines:
    """The lines of a file as csv wants them, and those of the record that is being read. Bytes that are no UTF-8 are kept."""

    def __init__(self, stream: io.BufferedReader, bounds: Bounds) -> None:
        self._stream, self._longest = stream, bounds.max_line_bytes
        self.number = 0
        self.delimiter = ","
        self.begin()

    def begin(self) -> None:
        """Begin with the next record."""
        self.text: list[str] = []
        self._held = 0
        self.first = self.number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        data = self._stream.readline(self._longest + 1)
        if not data:
            raise StopIteration
        if not self.number:
            data = data.removeprefix(codecs.BOM_UTF8)
        self._held += len(data)
        self.number += 1
        self.text.append(data.decode("utf-8", "surrogateescape"))
        if self._held > self._longest:
            raise DropRefused(
                code="line_too_long",
                detail=f"the record that begins on line {self.first} has more than {self._longest} bytes "
                f"(intake.max_line_bytes){self._and_its_quote()}",
            )
        return self.text[-1]

    def _and_its_quote(self) -> str:
        line = self.open_quote()
        return "; split it" if line is None else f": a quote opens on line {line}, and perhaps is never closed"

    def open_quote(self) -> int | None:
        """Give the line on which the quote opens that is not closed before the record ends; None when there is none."""
        text, place = "".join(self.text), 0
        while place < len(text):
            if text[place] != '"':
                ends = [at for mark in (self.delimiter, "\n") if (at := text.find(mark, place)) >= 0]
                place = min(ends, default=len(text)) + 1
                continue
            opened, place = place, place + 1
            while (place := text.find('"', place)) >= 0 and text[place + 1 : place + 2] == '"':
                place += 2
            if place < 0 or text[place + 1 : place + 2] not in ("", self.delimiter, "\r", "\n"):
                return self.first + text.count("\n", 0, opened)
            place += 2
        return None


def write_csv(stream: io.BufferedReader, output: Output, bounds: Bounds) -> None:
    """Write every record after the header.

    Raises DropRefused: unreadable, not_utf8, unknown_keys, empty_file, line_too_long.
    """
    csv.field_size_limit(max(bounds.max_line_bytes, 1))
    check_text(stream.peek(1 << 16)[: 1 << 16])
    lines = _Lines(stream, bounds)
    records = _records(lines)
    header = next(records, None)
    if header is None:
        raise DropRefused(code="empty_file", detail="it holds nothing; expected a header that names the columns, then records")
    names = _names(header)
    for fields in records:
        _write(fields, names, lines, output)
    if not output.records:
        raise DropRefused(code="empty_file", detail=f"it has a header ({shown(names)}) and no record after it")


def _records(lines: _Lines) -> Iterator[list[str]]:
    """Give the fields of every record, none for a blank line; the first one that is not blank is the header."""
    reader = None
    while True:
        lines.begin()
        if reader is None:
            first = next(lines, "")
            if not first.strip() and first:
                continue
            lines.delimiter = _delimiter(first)
            reader = csv.reader(_chained(first, lines), delimiter=lines.delimiter, strict=True)
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise _broken(lines, error) from error
        if fields is None:
            return
        yield fields


def _chained(first: str, lines: _Lines) -> Iterator[str]:
    if first:
        yield first
    yield from lines


def _broken(lines: _Lines, error: csv.Error) -> DropRefused:
    opened = lines.open_quote()
    if opened is not None:
        end = "the end of the file" if "end of data" in str(error) else f"line {lines.number}"
        what = (
            f"line {opened} opens a quote that is not closed as it should be: the field goes on to {end}. "
            'A quote inside a quoted field is written twice (""). Mend that line'
        )
    elif "new-line" in str(error):
        what = f"line {lines.first} holds a carriage return that ends no line; save the file with LF or CRLF line ends"
    else:
        what = f"the record that begins on line {lines.first} cannot be read ({error})"
    return DropRefused(code="unreadable", detail=f"{what} and drop the file again: what follows cannot be told apart")


def _delimiter(header: str) -> str:
    """Give the delimiter that stands most often in the header line, outside of quotes; the comma if none does."""
    outside = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def _names(header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    broken = [name for name in names if not name.isprintable() or len(name) > _LONGEST_NAME]
    if broken:
        raise DropRefused(
            code="unknown_keys",
            detail=f"the first record must be a header that names the columns; it holds {broken[0][:80]!r}, which is no name. "
            "Put a header line like prompt,completion first",
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DropRefused(
            code="unknown_keys",
            detail=f"the header names {', '.join(map(repr, twice[:6]))} more than once; give every column a name of its own",
        )
    return [name or f"column_{at}" for at, name in enumerate(names, 1)]


def _write(fields: list[str], names: list[str], lines: _Lines, output: Output) -> None:
    if len(fields) <= 1 and not "".join(fields).strip():
        output.line(b"")
        return
    where = f"it begins on line {lines.first} of the file"
    if len(fields) != len(names):
        reason = f"it has {len(fields)} fields, the header names {len(names)}; {where}"
        output.refuse("wrong_spec", reason, _printable(lines))
        return
    try:
        output.line(msgspec.json.encode(dict(zip(names, fields, strict=True))))
    except UnicodeEncodeError:
        output.refuse("not_utf8", f"it holds bytes that are not UTF-8; save the file as UTF-8; {where}", _printable(lines))


def _printable(lines: _Lines) -> str:
    return "".join(lines.text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").rstrip("\r\n")

"""A .json document: an array of objects, an object that holds one such array, one object, or objects one after the other.

Place in the flow: core/jobs/unpack/__main__ calls write_json for .json drops. Reads the opened drop in pieces, writes through
Output. Invariants: no more is held than one element, bounded as a line is; the text of an element is passed on as it stands, so
that every line is judged exactly as one of a .jsonl file.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Mapping
from typing import BinaryIO

from core.jobs.formats import LIST_KEYS, DropRefused, is_line, shown
from core.jobs.unpack.csv_records import check_text
from core.jobs.unpack.order import Bounds
from core.jobs.unpack.output import Output

_CHUNK = 1 << 20
_NEAR = 16  # characters: a value that is cut off there may go on in what was not read yet
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
_EXPECTED = "an array of objects, an object that holds one such array, or one object"


class _TooLong(Exception):
    """A value is longer than a line may be."""


class _Document:
    """The text of a document, value after value. Bytes that are no UTF-8 are kept: the line that has them is refused."""

    def __init__(self, stream: BinaryIO, bounds: Bounds) -> None:
        self._stream, self._bounds = stream, bounds
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._place = "", 0
        self._bytes = self._lines = self._columns = 0  # what was passed over: bytes, whole lines, characters after them
        self._is_ended = False

    def _more(self) -> None:
        """Read on, as much again as is held. Raises DropRefused (too_big, not_utf8)."""
        data = self._stream.read(max(_CHUNK, len(self._text) - self._place))
        self._is_ended = not data
        if not self._bytes:
            check_text(data)
            data = data.removeprefix(codecs.BOM_UTF8)
        self._bytes += len(data)
        if self._bytes > self._bounds.max_json_bytes:
            raise DropRefused(
                code="too_big",
                detail=f"the document has more than {self._bounds.max_json_bytes} bytes (intake.max_json_bytes); write it as "
                ".jsonl, one object a line, which may be larger",
            )
        self._lines, self._columns = self._where()
        self._text, self._place = self._text[self._place :] + self._decoder.decode(data, final=self._is_ended), 0

    def peek(self) -> str:
        """Give the next character that is no white space; "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._place)
            self._place = match.end() if match else self._place
            if self._place < len(self._text) or self._is_ended:
                return self._text[self._place : self._place + 1]
            self._more()

    def take(self, marks: str) -> str:
        """Pass over one of the marks and give it. Raises DropRefused (not_json)."""
        found = self.peek()
        expected = " or ".join(marks)
        if not found:
            raise self.broken(f"it ends where {expected} is expected: perhaps the file was cut off")
        if found not in marks:
            raise self.broken(f"expected {expected}, found {found!r}")
        self._place += 1
        return found

    def value(self) -> str:
        """Give the text of the next value. Raises _TooLong, DropRefused (not_json)."""
        self.peek()
        while True:
            try:
                end = _DECODER.raw_decode(self._text, self._place)[1]
                if end < len(self._text) - _NEAR or self._is_ended:  # "1" may go on as "1.5"
                    text, self._place = self._text[self._place : end], end
                    return text
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _NEAR
                if self._is_ended or not is_cut:
                    self._place = min(error.pos, len(self._text))
                    raise self.broken(error.msg[:1].lower() + error.msg[1:].removesuffix(" at")) from error
                if len(self._text) - self._place > self._bounds.max_line_bytes:
                    raise _TooLong from error
            except RecursionError as error:
                raise self.broken("it nests lists and objects too deep") from error
            self._more()

    def broken(self, what: str) -> DropRefused:
        """Give the refusal for what is wrong at this place."""
        lines, columns = self._where()
        return DropRefused(
            code="not_json",
            detail=f"the document stops being JSON on line {lines + 1}, column {columns + 1}: {what}. Mend it and drop it "
            "again",
        )

    def _where(self) -> tuple[int, int]:
        """Give how many whole lines, and how many characters after them, come before this place."""
        begins = self._text.rfind("\n", 0, self._place) + 1
        columns = self._place - begins + (0 if begins else self._columns)
        return self._lines + self._text.count("\n", 0, self._place), columns

    def too_long(self, what: str) -> DropRefused:
        """Give the refusal for a value that no line may hold."""
        return DropRefused(
            code="line_too_long",
            detail=f"{what} has more than {self._bounds.max_line_bytes} bytes (intake.max_line_bytes); expected {_EXPECTED}",
        )


def write_json(stream: BinaryIO, output: Output, bounds: Bounds, columns: Mapping[str, str]) -> str:
    """Write every element of a document; give what one of them is called. columns: of the sidecar.

    Raises DropRefused: not_json, not_utf8, wrong_spec, unknown_keys, empty_file, line_too_long, too_big.
    """
    document = _Document(stream, bounds)
    first = document.peek()
    if first == "[":
        document.take("[")
        _array(document, output)
    elif first == "{":
        return _objects(document, output, bounds, columns)
    elif first:
        raise DropRefused(code="wrong_spec", detail=f"the document begins with {first!r}; expected {_EXPECTED}")
    _check_end(document)
    if not output.records:
        what = "the array is empty" if first else "it holds nothing"
        raise DropRefused(code="empty_file", detail=f"{what}; expected {_EXPECTED}")
    return "element"


def _check_end(document: _Document) -> None:
    if found := document.peek():
        raise document.broken(f"the document is complete, but {found!r} follows")


def _array(document: _Document, output: Output | None) -> None:
    """Write the rest of the array that has just begun, or pass over it."""
    if document.peek() == "]":
        document.take("]")
        return
    while True:
        try:
            text = document.value()
        except _TooLong as error:
            raise document.too_long(f"element {output.records + 1}" if output else "an element") from error
        if output is not None:
            _write(text, output)
        if document.take(",]") == "]":
            return


def _write(text: str, output: Output) -> None:
    """Write a value as one line: a line break in it can only be white space."""
    output.line(text.replace("\n", " ").replace("\r", " ").encode("utf-8", "surrogateescape"))


def _objects(document: _Document, output: Output, bounds: Bounds, columns: Mapping[str, str]) -> str:
    """Write one object, or several one after the other, or the array of objects inside of the only one."""
    try:
        text = document.value()
    except _TooLong:
        _wrapped(document, output)
        _check_end(document)
        return "element"
    if document.peek() == "{":
        _write(text, output)
        while document.peek() == "{":
            try:
                _write(document.value(), output)
            except _TooLong as error:
                raise document.too_long(f"object {output.records + 1}") from error
        _check_end(document)
        return "object"
    _check_end(document)
    value = json.loads(text)
    if not is_line(value, columns) and any(_is_array(item) for item in value.values()):
        _wrapped(_Document(io.BytesIO(text.encode("utf-8", "surrogateescape")), bounds), output)
    else:
        _write(text, output)
    return "element"


def _is_array(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _wrapped(document: _Document, output: Output) -> None:
    """Write the elements of the only array of objects in the object that begins here."""
    written = ""
    mark = document.take("{")
    while mark != "}":
        if document.peek() != '"':
            document.take('"')
        try:
            key = json.loads(document.value())
            document.take(":")
            if document.peek() != "[":
                document.value()
        except _TooLong as error:
            raise document.too_long("one value of the object") from error
        if document.peek() == "[":
            document.take("[")
            is_of_objects = document.peek() == "{"
            if is_of_objects and (written or key in LIST_KEYS):
                raise _ambiguous(document, written, key)
            written = key if is_of_objects else written
            _array(document, output if is_of_objects else None)
        mark = document.take(",}")
    if not written:
        raise document.too_long("the object")


def _ambiguous(document: _Document, written: str, key: str) -> DropRefused:
    if not written:
        return document.too_long("the object")
    return DropRefused(
        code="unknown_keys",
        detail=f"the document is an object with several arrays of objects, {shown([written, key])}; expected {_EXPECTED}. Drop "
        "each array as a file of its own",
    )

"""Lines of a drop, read in bounded memory from any offset.

Place in the flow: intake reads every drop through it. File read: the drop. Invariant: the offsets and ends of the lines cover
the file without gap or overlap, whatever the file holds; no line longer than asked is ever held whole in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

_CHUNK = 1 << 20
_MARK = b"\xef\xbb\xbf"  # the byte order mark that some editors put at the start of a UTF-8 file


@dataclass(frozen=True, slots=True)
class RawLine:
    """One line without its end. number from 1; offset, length and end (where the next one starts) in bytes.

    data is the whole line unless it is longer than was asked for; then it is its beginning.
    """

    number: int
    offset: int
    length: int
    end: int
    data: bytes

    @property
    def is_blank(self) -> bool:
        """Say whether the line holds nothing but white space."""
        return not self.data.strip()


def read_lines(file: BinaryIO, offset: int, number: int, longest: int, beat: Callable[[], None]) -> Iterator[RawLine]:
    """Give the lines from offset on, the first of them numbered `number`; beat() is called for every MiB of an over-long line.

    A line of more than `longest` bytes is given with its first `longest` bytes. Raises OSError when the file cannot be read.
    """
    file.seek(offset)
    while data := file.readline(longest + 2):
        size, is_ended, more = len(data), data.endswith(b"\n"), data
        while more and not is_ended and len(data) == longest + 2:
            more = file.readline(_CHUNK)
            size, is_ended = size + len(more), more.endswith(b"\n")
            beat()
        yield _line(data, offset, number, size, is_ended, longest)
        offset, number = offset + size, number + 1


def cut_line(data: bytes, offset: int, number: int, longest: int) -> RawLine:
    """Give the line that these bytes of the file are, its end included."""
    return _line(data, offset, number, len(data), True, longest)


def _line(data: bytes, offset: int, number: int, size: int, is_ended: bool, longest: int) -> RawLine:
    if len(data) == size:
        data = data.removesuffix(b"\n").removesuffix(b"\r")
        length = len(data)
    else:
        length = size - is_ended
    if offset == 0:
        data = data.removeprefix(_MARK)
    return RawLine(number=number, offset=offset, length=length, end=offset + size, data=data[:longest])

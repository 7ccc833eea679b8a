"""A block of lines as arrays: where each line starts and ends, which characters are escaped, which quotes are not.

Place in the flow: core/jobs/plain finds the plain lines of a block with it. Reads and writes no file. Invariant: in a line
that is not dropped the only control character is its newline, every escape is one of JSON; quotes are those around texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

QUOTE, BACKSLASH, BLANK, NEWLINE = b'"\\ \n'
SETTLED = (
    (0xA1, 0x2FF), (0x391, 0x3A1), (0x3A3, 0x3CE), (0x400, 0x482), (0x48A, 0x52F), (0x2010, 0x2027), (0x2030, 0x205E),
    (0x20A0, 0x20BF), (0x2190, 0x21FF), (0x2200, 0x22FF), (0x3001, 0x3029), (0x3041, 0x3096), (0x30A1, 0x30FA),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFF01, 0xFF5E),
)  # fmt: skip
"""Characters that may be written as \\uXXXX in a plain line: each stays what it is in NFC, whatever of them is beside it."""

SPARE = 64
"""Bytes behind the lines that may be looked at."""


def has_byte(words: Any, byte: int) -> Any:
    """Mark with the highest bit each byte of 8-byte words that is this one, and some above it that are not."""
    import numpy as np

    ones = np.uint64(0x0101010101010101)
    difference = words ^ (ones * np.uint64(byte))
    return (difference - ones) & ~difference & (ones << np.uint64(7))


class Tables:
    """What each byte means behind a backslash. reserved: characters that must not be written as escapes."""

    def __init__(self, reserved: str) -> None:
        import numpy as np

        self.is_short, self.is_blank_escape = np.zeros(256, bool), np.zeros(256, bool)
        self.is_short[list(b'"\\bfnrt')] = True
        self.is_blank_escape[list(b"fnrt")] = True
        self.digit = np.full(256, 1 << 16)
        for digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
            self.digit[list(digits)] = range(16)
        self.is_settled = np.zeros(1 << 16, bool)
        for first, last in SETTLED:
            self.is_settled[first : last + 1] = True
        if any(ord(char) < 1 << 16 and self.is_settled[ord(char)] for char in reserved):
            self.is_settled[:] = False
        self._flags = np.empty(0, bool)

    def flags(self, size: int) -> Any:
        """Give room for a flag a byte; it is the same every time, as new memory costs more than what is done with it."""
        import numpy as np

        if len(self._flags) < size:
            self._flags = np.empty(size, bool)
        return self._flags[:size]


class Lines:
    """The lines of data[:size]; plain says which may still be plain. escaped: the places of what a backslash escapes."""

    def __init__(self, data: bytes, size: int, tables: Tables) -> None:
        import numpy as np

        self.data, self.size, self.tables = data, size, tables
        self.text = np.frombuffer(data if len(data) - size >= SPARE else data[:size] + bytes(SPARE), np.uint8)
        text = self.text[:size]
        flags = tables.flags(size)
        special = np.less(text.view(np.int8), BLANK, out=flags).nonzero()[0]  # control characters, and all that is not ASCII
        found = text[special]
        self.ends, self.high = special[found == NEWLINE], special[found > 127]
        self.starts = np.concatenate(([0], self.ends[:-1] + 1))
        self.plain = np.ones(len(self.ends), bool)
        if len(special) > len(self.ends) + len(self.high):
            self.drop_at(special[(found < BLANK) & (found != NEWLINE)])
        self.quotes = np.equal(text, QUOTE, out=flags).nonzero()[0]
        self.escaped = self._escaped(np.equal(text, BACKSLASH, out=flags).nonzero()[0])
        inner = self.escaped[self.text[self.escaped] == QUOTE]
        if len(inner):
            self.quotes = np.delete(self.quotes, np.searchsorted(self.quotes, inner))

    def _escaped(self, slashes: Any) -> Any:
        """Give the places of what is escaped: in a run of backslashes the first escapes the second, the third what follows."""
        import numpy as np

        order = np.arange(len(slashes))
        run = order.copy()
        run[1:] *= slashes[1:] - slashes[:-1] != 1
        escaped = slashes[(order - np.maximum.accumulate(run)) % 2 == 0] + 1
        others = escaped[~self.tables.is_short[self.text[escaped]]]
        if len(others):
            self.drop_at(others[~self._are_settled(others)])
        return escaped

    def _are_settled(self, places: Any) -> Any:
        """Say of each escape whether it is uXXXX of a character that needs no closer look."""
        code = 0
        for offset in range(1, 5):
            code = code * 16 + self.tables.digit[self.text[places + offset]]
        return (self.text[places] == ord("u")) & self.tables.is_settled[code * (code < 1 << 16)]

    def quote_counts(self) -> Any:
        """Give the number of quotes that open and close texts in each line."""
        import numpy as np

        counts = np.searchsorted(self.quotes, self.ends)
        counts[1:] -= counts[:-1].copy()
        return counts

    def end_with_blank_escape(self, ends: Any) -> Any:
        """Say of each text, given where it ends, whether it ends with an escaped blank."""
        import numpy as np

        may = self.tables.is_blank_escape[self.text[ends - 1]] & (self.text[ends - 2] == BACKSLASH)
        if may.any():
            may[may] = np.isin(ends[may] - 1, self.escaped)
        return may

    def drop(self, are_other: Any) -> None:
        """Take these lines, given as flags, for not plain."""
        self.plain &= ~are_other

    def drop_at(self, places: Any) -> None:
        """Take the lines that hold these places for not plain."""
        import numpy as np

        if len(places):
            self.plain[np.searchsorted(self.ends, places)] = False

    def drop_high(self, is_sound: Callable[[bytes], bool]) -> None:
        """Take those lines for not plain that hold characters which need a closer look, and are not sound."""
        import numpy as np

        numbers = np.searchsorted(self.ends, self._unsettled())
        for number in np.unique(numbers).tolist():
            if self.plain[number]:
                self.plain[number] = is_sound(self.data[self.starts[number] : self.ends[number]])

    def _unsettled(self) -> Any:
        """Give the places of all that is not ASCII and not a settled character in two or three bytes."""
        import numpy as np

        text, lead = self.text, self.text[self.high]
        two, three = self.high[(lead >= 0xC2) & (lead < 0xE0)], self.high[(lead >= 0xE0) & (lead < 0xF0)]
        second, third, last = (text[places].astype(int) ^ 0x80 for places in (two + 1, three + 1, three + 2))
        code = (text[two] & 0x1F).astype(int) << 6 | second
        two = two[(second < 0x40) & self.tables.is_settled[code & 0xFFFF]]
        code = (text[three] & 0xF).astype(int) << 12 | third << 6 | last
        three = three[(third < 0x40) & (last < 0x40) & (code > 0x7FF) & self.tables.is_settled[code & 0xFFFF]]
        if len(self.high) == 2 * len(two) + 3 * len(three):
            return self.high[:0]
        return np.setdiff1d(self.high, np.concatenate((two, two + 1, three, three + 1, three + 2)), assume_unique=True)

    def words(self, places: Any) -> Any:
        """Give the 8 bytes from every place on as one number."""
        import numpy as np

        return np.ndarray(len(self.text) - 7, "V8", self.text, 0, (1,))[places].view(np.uint64)

    def are(self, places: Any, expected: bytes) -> Any:
        """Say of every place whether these bytes, of which the last is none, stand there."""
        import numpy as np

        kind = f"S{len(expected)}"
        return np.ndarray(len(self.text) - len(expected) + 1, kind, self.text, 0, (1,))[places] == np.array(expected, kind)

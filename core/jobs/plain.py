"""Which lines of a block are plain chat, found for all of them at once: the quick way through stage QUICK.

Place in the flow: core/jobs/quick asks here for every block that intake reads. Reads and writes no file. Invariant: a line
that is called plain is one that the exact checks of core/jobs/quick accept as it stands; of other lines nothing is said.

A plain line is, byte for byte, {"messages": [{"role": "R", "content": "C"}, ...]} with or without blanks after commas and
colons, where R is user, assistant or system and C holds no quote but an escaped one and no control character. So it is JSON, no
key is there twice, nothing is nested. What is left to see is the order of the roles, blanks at the ends of contents, Unicode,
control tokens and questions of frozen suites. All is done on arrays of positions, a block at a time, because a look at each
line by itself takes longer than parsing it. numpy is imported with the first block: the library of the tokenizer, without which
no line is judged, needs it anyway.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from core.jobs.blocks import BACKSLASH, BLANK, Lines, Tables, has_byte
from core.text.digest import folded, problem_digest

HEAD = 8
"""Bytes of a question that are compared with those of the frozen suites before its digest is made."""

ROLES = ("user", "assistant", "system")
_USER, _ASSISTANT, _SYSTEM, _OTHER = range(4)


_HIGH = 0x8080808080808080


def head_of(problem: str) -> bytes:
    """Give the first bytes of a problem as every plain line has them that asks it, but for lines that are looked at anyway."""
    return folded(problem).encode("utf-8", "surrogatepass")[:HEAD]


class PlainLines:
    """Finds the plain lines of blocks.

    control: what no text may hold; digests of the questions that no line may ask; heads of all of them, None when not known.
    """

    def __init__(self, control: Iterable[str], digests: frozenset[str], heads: Collection[bytes] | None) -> None:
        import numpy as np

        tokens = sorted(control, key=len, reverse=True)
        spelt = [msgspec.json.encode(token)[1:-1] for token in tokens]
        self._control = re.compile(b"|".join(map(re.escape, spelt)))
        # Looked for instead of a token: a byte that text seldom holds, where it has one.
        self._signs = sorted({b"|" if b"|" in token else token for token in spelt if token.isascii()})
        self._foreign = [token for token in spelt if not token.isascii()]
        self._tables, self._layouts = Tables("".join(tokens)), [_Layout(blank) for blank in ("", " ")]
        self._digests = digests
        self._heads = None
        if heads is not None:
            whole = [head for head in heads if len(head) == HEAD]
            self._heads = np.unique(np.frombuffer(b"".join([*whole, bytes(HEAD)]), np.uint64))

    def find(self, data: bytes, size: int, longest: int) -> tuple[Any, Any]:
        """Give two arrays with an entry a line: where it ends, and whether it is plain and of at most `longest` bytes.

        data[:size]: whole lines, each with its newline.
        """
        lines = Lines(data, size, self._tables)
        lines.drop(lines.ends - lines.starts > longest)
        if any(data.find(sign, 0, size) >= 0 for sign in self._signs):
            lines.drop_at([match.start() for match in self._control.finditer(data, 0, size)])
        if len(lines.high):
            lines.drop_high(self._is_sound)
        counts = lines.quote_counts()
        lines.drop((counts % 8 != 2) | (counts == 2))
        is_spaced = lines.text[lines.starts + len('{"messages":')] == BLANK
        for layout, chosen in zip(self._layouts, (lines.plain & ~is_spaced, lines.plain & is_spaced), strict=True):
            if chosen.any():
                messages = _Messages(lines, layout, counts, chosen)
                messages.check()
                if self._digests:
                    self._drop_leaks(lines, *messages.last_questions())
        return lines.ends, lines.plain

    def _is_sound(self, line: bytes) -> bool:
        """Say whether a line is UTF-8 and NFC, and holds no escape that could compose and no control token."""
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            return False
        is_composed = unicodedata.is_normalized("NFC", text) and b"\\u" not in line
        return is_composed and not any(token in line for token in self._foreign)

    def _drop_leaks(self, lines: Lines, numbers: Any, begins: Any, ends: Any) -> None:
        """Make the digest of every last question that may be one of a frozen suite; drop the lines that ask one."""
        import numpy as np

        if self._heads is not None:
            heads = lines.words(begins)
            may_be = self._heads[np.minimum(np.searchsorted(self._heads, heads), len(self._heads) - 1)] == heads
            blanks = has_byte(heads, BLANK)
            unsettled = (heads & np.uint64(_HIGH)) | has_byte(heads, BACKSLASH) | (blanks & (blanks >> np.uint64(8)))
            may_be |= (unsettled != 0) | (ends - begins < HEAD)
            numbers, begins, ends = numbers[may_be], begins[may_be], ends[may_be]
        for number, begin, end in zip(numbers.tolist(), begins.tolist(), ends.tolist(), strict=True):
            if problem_digest(msgspec.json.decode(lines.data[begin - 1 : end + 1])) in self._digests:
                lines.plain[number] = False


class _Layout:
    """How a plain line is written, with or without blanks: how it opens, and what stands before a content for each role."""

    def __init__(self, blank: str) -> None:
        import numpy as np

        self.gap = len(blank)
        self.opening = f'{{"messages":{blank}['.encode()
        self.begins = [f'{{"role":{blank}"{role}",{blank}"content":{blank}"'.encode() for role in ROLES]
        self.sizes = np.array([*map(len, self.begins), 0])
        self.role = np.full(256, _OTHER)
        self.role[[ord(role[0]) for role in ROLES]] = range(len(ROLES))


class _Messages:
    """The messages of the chosen lines, which have as many quotes as plain ones, in order.

    opens, begins, ends: of each message and of its content; first, last: message of each of these lines.
    """

    def __init__(self, lines: Lines, layout: _Layout, counts: Any, chosen: Any) -> None:
        import numpy as np

        self._of, self._layout = lines, layout
        quotes = lines.quotes if chosen.all() else lines.quotes[np.repeat(chosen, counts)]
        self.lines = chosen.nonzero()[0]
        counts = counts[self.lines] // 8
        self.last = np.cumsum(counts) - 1
        self.first = self.last - counts + 1
        opening = 8 * np.arange(counts.sum()) + 2 * np.repeat(
            np.arange(1, len(counts) + 1), counts
        )  # each line has 2 of its own
        self.opens, self.ends = quotes[opening] - 1, quotes[opening + 7]
        self.role = layout.role[lines.text[self.opens + (len('{"role":"') + layout.gap)]]
        self.begins = self.opens + layout.sizes[self.role]

    def check(self) -> None:
        """Leave only those lines plain that are so to the last byte."""
        import numpy as np

        good = self._begin_right() & self._end_right() & self._follow() & self._are_stripped()
        answered = np.logical_or.reduceat(self.role == _ASSISTANT, self.first)
        self._of.plain[self.lines] = np.logical_and.reduceat(good, self.first) & answered & self._open_right()

    def _open_right(self) -> Any:
        """Say of each line whether it opens as a plain one."""
        starts, opening = self._of.starts[self.lines], self._layout.opening
        return self._of.are(starts, opening) & (self.opens[self.first] == starts + len(opening))

    def _begin_right(self) -> Any:
        """Say of each message whether its bytes up to the content, which is not empty, are those of a plain one."""
        right = self.ends > self.begins
        for role, begin in enumerate(self._layout.begins):
            chosen = (self.role == role).nonzero()[0]
            right[chosen] &= self._of.are(self.opens[chosen], begin)
        return right & (self.role != _OTHER)

    def _end_right(self) -> Any:
        """Say of each message whether the next one follows, or after the last one the end of the line."""
        text, ends, gap = self._of.text, self.ends, self._layout.gap
        follows = text[ends + 2] == ord(",")
        if gap:
            follows &= text[ends + 3] == BLANK
        follows[:-1] &= self.opens[1:] == ends[:-1] + (3 + gap)
        ends = ends[self.last]
        is_last = (text[ends + 2] == ord("]")) & (text[ends + 3] == ord("}"))
        follows[self.last] = is_last & (self._of.ends[self.lines] == ends + 4)
        return follows & (text[self.ends + 1] == ord("}"))

    def _follow(self) -> Any:
        """Say of each message whether it may stand where it stands: an answer needs something to answer."""
        import numpy as np

        may_answer = np.zeros(len(self.role), bool)
        may_answer[1:] = self.role[:-1] != _SYSTEM
        may_answer[self.first] = False
        return may_answer | (self.role != _ASSISTANT)

    def _are_stripped(self) -> Any:
        """Say of each content whether it begins and ends with something to see."""
        text = self._of.text
        first, last = text[self.begins], text[self.ends - 1]
        good = (first != BLANK) & (last != BLANK) & ~self._of.end_with_blank_escape(self.ends)
        good &= (first != BACKSLASH) | ~self._of.tables.is_blank_escape[text[self.begins + 1]]
        for at in (good & ((first > 127) | (last > 127))).nonzero()[0].tolist():
            content = self._of.data[self.begins[at] : self.ends[at]].decode("utf-8", "replace")
            good[at] = content == content.strip()
        return good

    def last_questions(self) -> tuple[Any, Any, Any]:
        """Give of each plain line its number and where the last message of a user begins and ends."""
        import numpy as np

        are_plain = self._of.plain[self.lines]
        if not are_plain.any():
            return (self.lines[:0],) * 3
        order = np.where(self.role == _USER, np.arange(len(self.role)), -1)
        asked = np.maximum.reduceat(order, self.first)[are_plain]
        return self.lines[are_plain], self.begins[asked], self.ends[asked]

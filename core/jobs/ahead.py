"""Lines of a drop, read a block at a time, with the verdicts on those that could be judged together.

Place in the flow: intake takes every line from here, in order, and asks for the verdict on it; for a line without one it calls
check_line. File read: the drop. Invariants: lines are those of core/jobs/lines; a verdict found ahead is the one that
check_line gives; nothing that is held here needs to be saved: after a kill it is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from core.jobs.job import Reason
from core.jobs.lines import RawLine, cut_line, read_lines
from core.jobs.plain import PlainLines
from core.jobs.quick import Setting, plain_lines
from core.jobs.validate import Accepted, check_plain

BLOCK = 1 << 21
"""Bytes that stage QUICK looks at at once: so many that the cost of a look is shared, so few that they take few megabytes."""

BATCH = 32 * 1024
"""Bytes of lines that stage STANDARD encodes at once, some hundredths of a second."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines in memory that lie at `offset` of the file. ends, plain: arrays with an entry a line: its newline, and
    whether it was found fine.
    """

    offset: int
    data: bytes
    ends: Any
    plain: Any

    def begin(self, at: int) -> int:
        """Give where in the file the line with this index begins."""
        return self.offset + (int(self.ends[at - 1]) + 1 if at else 0)

    def line(self, at: int, number: int, longest: int) -> RawLine:
        """Give the line with this index."""
        begin = self.begin(at)
        return cut_line(self.data[begin - self.offset : self.ends[at] + 1], begin, number, longest)


def read_block(file: BinaryIO, offset: int, by: PlainLines, longest: int) -> Block | None:
    """Read on at offset and take the lines through stage QUICK; None where no line ends within BLOCK bytes."""
    file.seek(offset)
    data = file.read(BLOCK)
    size = data.rfind(b"\n") + 1
    if not size:
        return None
    ends, plain = by.find(data, size, longest)
    return Block(offset, data, ends, plain)


class Ahead:
    """The lines of one drop and the verdicts on some of them. is_judging: true only while that is done, and after it broke."""

    def __init__(self, longest: int) -> None:
        """longest: bytes that a line may have."""
        self._longest = longest
        self.forget()

    def forget(self) -> None:
        """Forget what was read: the drop has changed."""
        self.is_judging = False
        self._block: Block | None = None
        self._next = self._judged = 0  # lines of the block
        self._verdicts: dict[int, Accepted | Reason] = {}
        self._quick: tuple[Setting, PlainLines | None] | None = None

    def verdict(self, line: RawLine) -> Accepted | Reason | None:
        """Give the verdict on a line that lines() gave, when it was found ahead."""
        return self._verdicts.pop(line.number, None)

    def lines(
        self, file: BinaryIO, offset: int, number: int, setting: Callable[[], Setting | None], beat: Callable[[], None]
    ) -> Iterator[RawLine]:
        """Give the lines from offset on, which is where the last line given ended; the first of them is numbered `number`.

        setting: asked again and again; while it gives None lines come one by one, without verdicts. Raises OSError.
        """
        while True:
            checks = setting()
            block = None if checks is None else self._block_at(file, offset, checks)
            if checks is None or block is None:
                lines = list(islice(read_lines(file, offset, number, self._longest, beat), 1))
            else:
                lines = self._batch(block, number, checks)
            for line in lines:
                self._next += 1
                yield line
                offset, number = line.end, number + 1
            if not lines:
                return

    def _block_at(self, file: BinaryIO, offset: int, checks: Setting) -> Block | None:
        """Give the block whose next line is at offset: the one in memory or, after it, another."""
        if self._block is None or self._next >= len(self._block.ends) or self._block.begin(self._next) != offset:
            if self._quick is None or self._quick[0] is not checks:
                self._quick = checks, plain_lines(checks)
            by = self._quick[1]
            self._block = None if by is None else read_block(file, offset, by, self._longest)
            self._next = self._judged = 0
            self._verdicts.clear()
        return self._block

    def _batch(self, block: Block, number: int, checks: Setting) -> list[RawLine]:
        """Give some lines from the next one on, those that are plain with their verdicts."""
        lines: list[RawLine] = []
        plain: list[RawLine] = []
        while self._next + len(lines) < len(block.ends) and sum(line.length for line in lines) < BATCH:
            at = self._next + len(lines)
            lines.append(block.line(at, number + len(lines), self._longest))
            if block.plain[at] and at >= self._judged:
                plain.append(lines[-1])
        self.is_judging = True
        verdicts = check_plain([line.data for line in plain], checks)
        self.is_judging = False
        self._judged = max(self._judged, self._next + len(lines))
        self._verdicts.update(zip((line.number for line in plain), verdicts, strict=True))
        return lines

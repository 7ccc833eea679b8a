"""Binary: seven levels from bitwise operations on four bits to multiplication.

Place in the flow: one entry of the registry. Reads and writes no file. Invariant: the golden answer follows from the problem
text alone and is the same at every level that poses the text, so that no level unlearns another. Sums are one bit wider than
the wider number and differences as wide as it, zero padded; products and conversions have no leading zeros. The grader reads
circled digits as plain ones and, for numbers, takes any leading zeros; answers to bitwise operations have four bits.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from core.skills.skill import HELD_OUT_ONE_IN, Level, Problem, UnknownProblem, answer_text, level_of
from core.text.digest import folded

_PLAIN = str.maketrans("①⓪", "10")
_CIRCLED = str.maketrans("10", "①⓪")
_TWO_NUMBERS = re.compile(r"([01]{1,16}) (and|or|xor|\+|-|\*) ([01]{1,16})")
_DECIMAL = re.compile(r"decimal (0|[1-9][0-9]{0,4}) to binary")
_BITWISE = ("and", "or", "xor")
_WIDTHS = {2: (3, 4), 3: (4, 6), 4: (4, 8), 5: (8, 8)}
_FREE_WIDTHS = (2, 10)
_FACTOR_WIDTHS = (2, 5)
_DECIMALS = (16, 1023)
# Level 2 has 320 problems: a tenth of them would be 27, too few for a suite of 50, so a fifth is held out (57).
_SMALL_SUM_WIDTH = 4
_SMALL_SUM_ONE_IN = 5
_EXAMPLES = {
    1: "1010 xor 0110", 2: "101 + 011", 3: "01101 + 10011", 4: "1101001 + 0010111", 5: "10110100 - 00101101",
    6: "①⓪①①⓪ + 110", 7: "decimal 37 to binary",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Task:
    """A problem text taken apart: bit strings left and right, or the decimal number in left when the operation is decimal."""

    operation: str
    left: str
    right: str

    @property
    def widths(self) -> tuple[int, int]:
        return len(self.left), len(self.right)

    @property
    def has_equal_widths(self) -> bool:
        return len(self.left) == len(self.right)

    @property
    def is_negative(self) -> bool:
        return self.operation == "-" and int(self.left, 2) < int(self.right, 2)


def _taken_apart(prompt: str) -> _Task | None:
    text = folded(prompt).translate(_PLAIN)
    if match := _TWO_NUMBERS.fullmatch(text):
        return _Task(match[2], match[1], match[3])
    if match := _DECIMAL.fullmatch(text):
        return _Task("decimal", match[1], "")
    return None


def _poses(level: int, task: _Task) -> bool:
    if level == 1:
        return task.operation in _BITWISE and task.widths == (4, 4)
    if level == 7:
        return task.operation in ("decimal", "*")
    if task.operation not in (("+",) if level < 5 else ("+", "-")) or task.is_negative:
        return False
    if level == 6:
        return True
    narrowest, widest = _WIDTHS[level]
    return task.has_equal_widths and narrowest <= len(task.left) <= widest


def _golden(task: _Task) -> str:
    if task.operation == "decimal":
        return format(int(task.left), "b")
    left, right = int(task.left, 2), int(task.right, 2)
    width = max(task.widths)
    if task.operation == "+":
        return format(left + right, f"0{width + 1}b")
    if task.operation == "*":
        return format(left * right, "b")
    value = {"-": left - right, "and": left & right, "or": left | right, "xor": left ^ right}[task.operation]
    return format(value, f"0{width}b")


def _bits(rng: random.Random, width: int) -> str:
    return format(rng.getrandbits(width), f"0{width}b")


def _number(rng: random.Random, widths: tuple[int, int]) -> str:
    width = rng.randint(*widths)
    return "1" + _bits(rng, width - 1)


def _draw_bitwise(rng: random.Random) -> str:
    return f"{_bits(rng, 4)} {rng.choice(_BITWISE)} {_bits(rng, 4)}"


def _draw_sum(level: int) -> Callable[[random.Random], str]:
    def draw(rng: random.Random) -> str:
        width = rng.randint(*_WIDTHS[level])
        return f"{_bits(rng, width)} + {_bits(rng, width)}"

    return draw


def _draw_sum_or_difference(rng: random.Random) -> str:
    width = rng.randint(*_WIDTHS[5])
    operation, left, right = rng.choice("+-"), _bits(rng, width), _bits(rng, width)
    if operation == "-" and left < right:
        left, right = right, left
    return f"{left} {operation} {right}"


def _draw_free_width(rng: random.Random) -> str:
    operation, left, right = rng.choice("+-"), _number(rng, _FREE_WIDTHS), _number(rng, _FREE_WIDTHS)
    if operation == "-" and int(left, 2) < int(right, 2):
        left, right = right, left
    left, right = (number.translate(_CIRCLED) if rng.random() < 0.5 else number for number in (left, right))
    return f"{left} {operation} {right}"


def _draw_conversion_or_product(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return f"decimal {rng.randint(*_DECIMALS)} to binary"
    return f"{_number(rng, _FACTOR_WIDTHS)} * {_number(rng, _FACTOR_WIDTHS)}"


_DRAW: dict[int, Callable[[random.Random], str]] = {
    1: _draw_bitwise, 2: _draw_sum(2), 3: _draw_sum(3), 4: _draw_sum(4), 5: _draw_sum_or_difference, 6: _draw_free_width,
    7: _draw_conversion_or_product,
}  # fmt: skip


class Binary:
    """Problems such as `1010 xor 0110`, `101 + 011`, `①⓪① - ①①`, `decimal 37 to binary`, `1011 * 110`."""

    name: ClassVar[str] = "binary"
    version: ClassVar[str] = "1.0.0"
    levels: ClassVar[tuple[Level, ...]] = (
        Level(1, "and, or, xor of 4 bits", 0.14),
        Level(2, "add 3-4 bits of equal width", 0.09),
        Level(3, "add 4-6 bits of equal width", 0.04),
        Level(4, "add 4-8 bits of equal width", 0.03),
        Level(5, "add and subtract 8 bits", 0.01),
        Level(6, "add and subtract at free width, circled digits too", 0.02),
        Level(7, "decimal to binary, and multiply", 0.02),
    )

    def draw(self, level: int, rng: random.Random) -> Problem:
        """Draw one problem, held out or not. Raises NotFound for an unknown level."""
        level_of(self, level)
        return self._problem(level, _DRAW[level](rng))

    def all_problems(self, level: int) -> Iterator[Problem] | None:
        """Give every problem of levels 1 and 2; the others are too large to list."""
        level_of(self, level)
        if level == 1:
            texts = [f"{a:04b} {name} {b:04b}" for name in _BITWISE for a in range(16) for b in range(16)]
        elif level == 2:
            sizes = [(width, range(1 << width)) for width in _WIDTHS[2]]
            texts = [f"{a:0{width}b} + {b:0{width}b}" for width, numbers in sizes for a in numbers for b in numbers]
        else:
            return None
        return (self._problem(level, text) for text in texts)

    def golden(self, prompt: str, level: int) -> str:
        """Compute the canonical right answer from the problem text. Raises UnknownProblem, NotFound."""
        return _golden(self._task(prompt, level))

    def grade(self, prompt: str, level: int, answer: str) -> bool:
        """Say whether an answer is right, from the problem text alone. Raises UnknownProblem, NotFound."""
        task = self._task(prompt, level)
        golden, given = _golden(task), answer_text(answer).translate(_PLAIN)
        if task.operation in _BITWISE:
            return given == golden
        return re.fullmatch("[01]+", given) is not None and int(given, 2) == int(golden, 2)

    def held_out_one_in(self, prompt: str) -> int:
        """Give 5 for sums of at most 4 bits, because they are few, else 10."""
        task = _taken_apart(prompt)
        if task is not None and task.operation == "+" and task.has_equal_widths and len(task.left) <= _SMALL_SUM_WIDTH:
            return _SMALL_SUM_ONE_IN
        return HELD_OUT_ONE_IN

    def _problem(self, level: int, prompt: str) -> Problem:
        return Problem(self.name, level, prompt, self.golden(prompt, level))

    def _task(self, prompt: str, level: int) -> _Task:
        level_of(self, level)
        task = _taken_apart(prompt)
        if task is None or not _poses(level, task):
            raise UnknownProblem(where=f"{self.name} level {level}", prompt=prompt[:80], example=_EXAMPLES[level])
        return task

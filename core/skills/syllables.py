"""Syllables (SYLLO): five levels from joining syllables to puzzles over a lexicon.

Place in the flow: one entry of the registry. Reads and writes no file. Invariant: the golden answer follows from the problem
text alone and is the only right one; the grader ignores case and, between words, the amount of white space.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import ClassVar

from core.records import strict_json
from core.skills.lexicon import ENTRIES, Entry, by_hint
from core.skills.skill import HELD_OUT_ONE_IN, Level, Problem, UnknownProblem, answer_text, level_of
from core.text.digest import folded

INVENTORY: tuple[str, ...] = tuple(consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou")
_COUNTS = {1: (2, 3), 2: (2, 3), 3: (3, 4), 4: (3, 4), 5: (2, 3)}
_PARTS = r"(?: [a-z]{1,12}){%d,%d}"
_JOIN = re.compile("join(" + _PARTS % _COUNTS[1] + ")")
_REVERSE = re.compile("reverse(" + _PARTS % _COUNTS[2] + ")")
_MISSING = re.compile(r"missing ([a-z]+):((?: (?:[a-z]{1,12}|_)){3,4})")
_ORDER = re.compile(r"order((?: [1-4] [a-z]{1,12}){3,4})")
_PUZZLE = re.compile(r"puzzle as json:((?: [a-z]{1,12})+)((?: \| [a-z ]+){2,3})")
_EXAMPLES = {
    1: "join ka lo mi", 2: "reverse ka lo mi", 3: "missing kalomi: ka _ mi", 4: "order 2 lo 1 ka 3 mi",
    5: f"puzzle as json: {' '.join(sorted(ENTRIES[0].syllables + ENTRIES[1].syllables))}"
       f" | {ENTRIES[0].hint} | {ENTRIES[1].hint}",
}  # fmt: skip


def _solve_join(text: str) -> str | None:
    match = _JOIN.fullmatch(text)
    return "".join(match[1].split()) if match else None


def _solve_reverse(text: str) -> str | None:
    match = _REVERSE.fullmatch(text)
    return " ".join(reversed(match[1].split())) if match else None


def _solve_missing(text: str) -> str | None:
    match = _MISSING.fullmatch(text)
    if match is None or match[2].split().count("_") != 1:
        return None
    word = match[1]
    before, after = ("".join(part.split()) for part in match[2].split("_"))
    gap = len(word) - len(before) - len(after)
    if gap < 1 or not word.startswith(before) or not word.endswith(after):
        return None
    return word[len(before) : len(before) + gap]


def _solve_order(text: str) -> str | None:
    match = _ORDER.fullmatch(text)
    if match is None:
        return None
    parts = match[1].split()
    placed = dict(zip((int(number) for number in parts[::2]), parts[1::2], strict=True))
    count = len(parts) // 2
    if sorted(placed) != list(range(1, count + 1)):
        return None
    return "".join(placed[place] for place in range(1, count + 1))


def _solve_puzzle(text: str) -> str | None:
    match = _PUZZLE.fullmatch(text)
    if match is None:
        return None
    entries = [by_hint(hint.strip()) for hint in match[2].split("|")[1:]]
    known = [entry for entry in entries if entry is not None]
    needed = Counter(syllable for entry in known for syllable in entry.syllables)
    if len(known) != len(entries) or needed != Counter(match[1].split()):
        return None
    return json.dumps([entry.word for entry in known], separators=(",", ":"))


_SOLVE: dict[int, Callable[[str], str | None]] = {
    1: _solve_join, 2: _solve_reverse, 3: _solve_missing, 4: _solve_order, 5: _solve_puzzle,
}  # fmt: skip


def _draw_join(rng: random.Random) -> str:
    return "join " + " ".join(rng.choices(INVENTORY, k=rng.randint(*_COUNTS[1])))


def _draw_reverse(rng: random.Random) -> str:
    return "reverse " + " ".join(rng.choices(INVENTORY, k=rng.randint(*_COUNTS[2])))


def _draw_missing(rng: random.Random) -> str:
    syllables = rng.sample(INVENTORY, rng.randint(*_COUNTS[3]))
    gap = rng.randrange(len(syllables))
    shown = ["_" if place == gap else syllable for place, syllable in enumerate(syllables)]
    return f"missing {''.join(syllables)}: {' '.join(shown)}"


def _draw_order(rng: random.Random) -> str:
    syllables = rng.sample(INVENTORY, rng.randint(*_COUNTS[4]))
    numbers = rng.sample(range(1, len(syllables) + 1), len(syllables))
    return "order " + " ".join(f"{number} {syllable}" for number, syllable in zip(numbers, syllables, strict=True))


def _draw_puzzle(rng: random.Random) -> str:
    entries: list[Entry] = rng.sample(ENTRIES, rng.randint(*_COUNTS[5]))
    bank = [syllable for entry in entries for syllable in entry.syllables]
    rng.shuffle(bank)
    return f"puzzle as json: {' '.join(bank)} | {' | '.join(entry.hint for entry in entries)}"


_DRAW: dict[int, Callable[[random.Random], str]] = {
    1: _draw_join, 2: _draw_reverse, 3: _draw_missing, 4: _draw_order, 5: _draw_puzzle,
}  # fmt: skip


def _is_word_list(given: str, golden: str) -> bool:
    try:
        words = strict_json(given)
    except (ValueError, RecursionError):
        return False
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return False
    expected: list[str] = json.loads(golden)
    return [word.casefold().strip() for word in words] == expected


class Syllables:
    """Problems such as `join ka lo mi`, `missing kalomi: ka _ mi`, and puzzles over the lexicon, answered as JSON."""

    name: ClassVar[str] = "syllables"
    version: ClassVar[str] = "1.0.0"
    levels: ClassVar[tuple[Level, ...]] = (
        Level(1, "join 2-3 syllables", 0.001),
        Level(2, "reverse 2-3 syllables", 0.001),
        Level(3, "the missing one of 3-4 syllables", 0.02),
        Level(4, "order 3-4 numbered syllables", 0.001),
        Level(5, "puzzle: syllables and hints to words, as JSON", 0.001),
    )

    def draw(self, level: int, rng: random.Random) -> Problem:
        """Draw one problem, held out or not. Raises NotFound for an unknown level."""
        level_of(self, level)
        prompt = _DRAW[level](rng)
        return Problem(self.name, level, prompt, self.golden(prompt, level))

    def all_problems(self, level: int) -> Iterator[Problem] | None:
        """Give None: every level is too large to list."""
        level_of(self, level)
        return None

    def golden(self, prompt: str, level: int) -> str:
        """Compute the only right answer from the problem text. Raises UnknownProblem, NotFound."""
        level_of(self, level)
        solution = _SOLVE[level](folded(prompt))
        if solution is None:
            raise UnknownProblem(where=f"{self.name} level {level}", prompt=prompt[:120], example=_EXAMPLES[level])
        return solution

    def grade(self, prompt: str, level: int, answer: str) -> bool:
        """Say whether an answer is right, from the problem text alone. Raises UnknownProblem, NotFound."""
        golden, given = self.golden(prompt, level), answer_text(answer)
        return _is_word_list(given, golden) if level == 5 else given.casefold() == golden

    def held_out_one_in(self, prompt: str) -> int:
        """Give 10: every level has hundreds of thousands of problems, or tens of thousands."""
        return HELD_OUT_ONE_IN

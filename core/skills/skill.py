"""What a skill is: problems by level and seed, the grader beside them, and the rule that holds problems out.

Place in the flow: generate_data draws training problems here, suites take the held-out ones, intake and probes grade with the
same grader. Reads and writes no file. Invariants: drawing is a pure function of skill, level and seed; a held-out problem is
never drawn for training, at whatever level its text may be posed; one text has one golden answer at all levels.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from core.errors import InvalidData, NotFound
from core.text.digest import folded, problem_digest

HELD_OUT_ONE_IN = 10
_DRAWS_PER_ITEM = 2_000
_THINKING = re.compile(r"\s*<think>.*?</think>", re.DOTALL)


class UnknownProblem(InvalidData):
    """{where}: this level poses no problem {prompt!r}; expected a problem like {example!r}."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level. chance: the share of problems that the best constant answer gets right, from above."""

    level: int
    title: str
    chance: float


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem with its golden answer."""

    skill: str
    level: int
    prompt: str
    answer: str

    @property
    def digest(self) -> str:
        """Give the digest of the prompt."""
        return problem_digest(self.prompt)

    @property
    def id(self) -> str:
        """Give an id that is stable over time: <skill>-<level>-<12 hex of the digest>."""
        return f"{self.skill}-{self.level}-{self.digest[:12]}"


class Skill(Protocol):
    """A family of problems in levels, with one structured grader."""

    name: ClassVar[str]
    version: ClassVar[str]
    levels: ClassVar[tuple[Level, ...]]

    def draw(self, level: int, rng: random.Random) -> Problem:
        """Draw one problem, held out or not. Raises NotFound for an unknown level."""
        ...

    def all_problems(self, level: int) -> Iterator[Problem] | None:
        """Give every problem of a level that is small enough to list, else None."""
        ...

    def golden(self, prompt: str, level: int) -> str:
        """Compute the canonical right answer from the problem text. Raises UnknownProblem, NotFound."""
        ...

    def grade(self, prompt: str, level: int, answer: str) -> bool:
        """Say whether an answer is right, from the problem text alone. Raises UnknownProblem, NotFound."""
        ...

    def held_out_one_in(self, prompt: str) -> int:
        """Give n where one in n problems like this one is held out: a divisor of HELD_OUT_ONE_IN."""
        ...


def level_of(skill: Skill, level: int) -> Level:
    """Give the description of a level. Raises NotFound naming the levels there are."""
    for known in skill.levels:
        if known.level == level:
            return known
    raise NotFound(kind=f"level of skill {skill.name}", name=level, known=[known.level for known in skill.levels])


def is_held_out(skill: Skill, prompt: str) -> bool:
    """Say whether a problem belongs to the examination and may never be trained on."""
    return int(problem_digest(prompt)[:8], 16) % skill.held_out_one_in(prompt) == 0


def generate(skill: Skill, level: int, count: int, seed: int) -> list[Problem]:
    """Draw count problems to train on, repeats allowed: the same list for the same skill version, level and seed."""
    level_of(skill, level)
    rng = random.Random(f"{skill.name} {skill.version} level {level} seed {seed}")
    drawn: list[Problem] = []
    while len(drawn) < count:
        problem = skill.draw(level, rng)
        if not is_held_out(skill, problem.prompt):
            drawn.append(problem)
    return drawn


def held_out(skill: Skill, level: int, most: int) -> list[Problem]:
    """Give up to most distinct held-out problems of a level, always the same ones, ordered by digest.

    A level that can be listed and holds out no more than most gives them all. Else they are drawn as training problems are;
    where a larger share is held out the draw is thinned, so that the examination has the mixture of the training data.
    Raises InvalidData when the level has too few problems to draw that many.
    """
    level_of(skill, level)
    everything = skill.all_problems(level)
    if everything is not None:
        listed = sorted((p for p in everything if is_held_out(skill, p.prompt)), key=lambda p: p.digest)
        if len(listed) <= most:
            return listed
    rng = random.Random(f"{skill.name} {skill.version} level {level} held out")
    found: dict[str, Problem] = {}
    for _ in range(most * _DRAWS_PER_ITEM):
        problem = skill.draw(level, rng)
        kept = rng.random() * HELD_OUT_ONE_IN < skill.held_out_one_in(problem.prompt)
        if kept and is_held_out(skill, problem.prompt):
            found[problem.digest] = problem
            if len(found) == most:
                return [found[digest] for digest in sorted(found)]
    raise InvalidData(
        where=f"skill {skill.name} level {level}",
        detail=f"only {len(found)} held-out problems turned up, expected {most}; list them in all_problems()",
    )


def answer_text(text: str) -> str:
    """Give the answer in a reply: NFC, white space folded, without the leading <think> block that some templates write."""
    return folded(_THINKING.sub("", text, count=1) if _THINKING.match(text) else text)

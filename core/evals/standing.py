"""Where every skill stands: the record of the curriculum, apart from what computes it.

Place in the flow: rank_checkpoints writes status/curriculum.json, generation, probes, status and web read it. Reads and
writes no file. Invariant: light to import (no skill, no score): `weaver status` answers in a fifth of a second.
"""

from __future__ import annotations

from core.records import Part, Record


class Evaluation(Part, frozen=True):
    """One evaluation of a level. low: Wilson's 95 % lower bound."""

    checkpoint: str
    n: int
    correct: int
    low: float


class LevelProgress(Part, frozen=True):
    """passes: passing evaluations in a row up to the last one. mastered_at: end of the mastering evaluation, or null."""

    level: int
    passes: int
    mastered_at: str | None
    last: tuple[Evaluation, ...]


class SkillProgress(Part, frozen=True):
    """mastered_level 0: none yet. training_level: the one to train on, never above the target."""

    training_level: int
    mastered_level: int
    target_level: int
    levels: tuple[LevelProgress, ...]


class Curriculum(Record, frozen=True, tag="weaver.curriculum/1"):
    """status/curriculum.json. Only enabled skills are in it; active_skill is null when nothing is left to learn."""

    model: str
    active_skill: str | None
    skills: dict[str, SkillProgress]


def is_finished(skill: SkillProgress) -> bool:
    """Say whether a skill has mastered its target level."""
    return skill.mastered_level >= skill.target_level


def nothing_to_learn(state: Curriculum) -> bool:
    """Say whether every enabled skill has mastered its target level; generation rests then."""
    return all(is_finished(skill) for skill in state.skills.values())

"""The curriculum: which level each skill has mastered and trains next, recomputed from the scores.

Place in the flow: its daemon writes the answer to status/curriculum.json; generate_data draws the training levels,
probe_checkpoints asks the wanted suites. Reads and writes no file. Invariant: a pure function of scores, order of checkpoints
and configuration, so the view may be lost at any moment.

A level is mastered by three passing evaluations of three checkpoints in a row, at most one level per skill and checkpoint. It
is lost only on the verdict "worse" of the paired test against the score that mastered it; the levels above go with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.config import SkillConfig
from core.errors import InvalidConfig
from core.evals.score import Score
from core.evals.standing import Curriculum as Curriculum
from core.evals.standing import Evaluation, LevelProgress, is_finished
from core.evals.standing import SkillProgress as SkillProgress
from core.evals.standing import nothing_to_learn as nothing_to_learn
from core.evals.statistics import Verdict, compare
from core.evals.suite import suite_name
from core.skills import registry

PASS_BOUND = 0.80
PASSES_NEEDED = 3
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Sat:
    """What the curriculum keeps of a score: thousands fit into a light daemon. right, answered: one bit per item digest."""

    evaluation: Evaluation
    finished_at: str
    is_passed: bool
    right: int
    answered: int


@dataclass(slots=True)
class _Level:
    level: int
    passes: int = 0
    mastering: _Sat | None = None
    last: list[Evaluation] = field(default_factory=list)

    def take(self, sat: _Sat) -> None:
        self.passes = self.passes + 1 if sat.is_passed else 0
        self.last = [*self.last, sat.evaluation][-_SHOWN:]

    def forget(self) -> None:
        self.passes, self.mastering = 0, None

    def is_lost_by(self, sat: _Sat, effect: float, significance: float) -> bool:
        if self.mastering is None:
            return False
        both = sat.answered & self.mastering.answered
        better = (both & sat.right & ~self.mastering.right).bit_count()
        worse = (both & ~sat.right & self.mastering.right).bit_count()
        return compare(better, worse, both.bit_count(), effect, significance) is Verdict.WORSE


def _sat(score: Score, places: dict[str, int]) -> _Sat:
    right = answered = 0
    for item in score.items:
        bit = 1 << places.setdefault(item.digest, len(places))
        answered |= bit if item.correct is not None else 0
        right |= bit if item.correct else 0
    evaluation = Evaluation(checkpoint=score.checkpoint, n=score.n, correct=score.correct, low=score.low)
    return _Sat(evaluation, score.finished_at, passes(score), right, answered)


def passes(score: Score) -> bool:
    """Say whether an evaluation passes: Wilson's 95 % lower bound is at least 0.80 (46 of 50, 88 of 100)."""
    return score.counts and score.low >= PASS_BOUND


def curriculum(
    model: str,
    scores: Iterable[Score],
    order: Sequence[str],
    skills: Mapping[str, SkillConfig],
    *,
    active_skill: str | None = None,
    effect: float = 0.10,
    significance: float = 0.05,
) -> Curriculum:
    """Compute the curriculum of a model.

    scores: may be a stream, a few hundred bytes of each are kept. order: the checkpoints in the order of their steps; scores of
    others are left out. skills: the configured ones, the disabled included. active_skill: a person's choice, else the first
    that has something to learn. effect: share of items that a level must lose to count as worse. Raises InvalidConfig for an
    unknown skill or target and for an active skill that is not enabled.
    """
    chosen = registry.enabled(skills)
    if active_skill is not None and active_skill not in chosen:
        raise InvalidConfig(
            path="active_skill", detail=f"{active_skill!r} is not an enabled skill; enabled: {', '.join(sorted(chosen))}"
        )
    sat = _sittings(model, scores, order)
    progress = {
        name: _skill_progress([sat[checkpoint].get(name, {}) for checkpoint in sat], name, config, effect, significance)
        for name, config in chosen.items()
    }
    return Curriculum(model=model, active_skill=active_skill or _active(progress, chosen), skills=progress)


def _sittings(model: str, scores: Iterable[Score], order: Sequence[str]) -> dict[str, dict[str, dict[int, _Sat]]]:
    """Give checkpoint -> skill -> level -> the last score that counts, the checkpoints in order."""
    sat: dict[str, dict[str, dict[int, _Sat]]] = {checkpoint: {} for checkpoint in order}
    places: dict[str, int] = {}
    for score in scores:
        if score.counts and score.kind == "p0" and score.model == model and score.checkpoint in sat:
            levels = sat[score.checkpoint].setdefault(score.skill, {})
            there = levels.get(score.level)
            if there is None or there.finished_at <= score.finished_at:
                levels[score.level] = _sat(score, places)
    return sat


def _skill_progress(
    history: Sequence[Mapping[int, _Sat]], name: str, config: SkillConfig, effect: float, significance: float
) -> SkillProgress:
    levels = [_Level(level.level) for level in registry.get(name).levels]
    mastered = 0
    for sitting in history:
        mastered = _after(levels, mastered, sitting, effect, significance)
    return SkillProgress(
        training_level=min(mastered + 1, config.target_level),
        mastered_level=mastered,
        target_level=config.target_level,
        levels=tuple(
            LevelProgress(
                level=level.level, passes=level.passes, last=tuple(level.last),
                mastered_at=level.mastering.finished_at if level.mastering is not None else None,
            )
            for level in levels
        ),
    )  # fmt: skip


def _after(levels: list[_Level], mastered: int, sitting: Mapping[int, _Sat], effect: float, significance: float) -> int:
    """Take the scores of one checkpoint and give the level mastered after it: lower, the same, or one higher."""
    for level in levels:
        if level.level in sitting:
            level.take(sitting[level.level])
    for level in levels[:mastered]:
        if level.level in sitting and level.is_lost_by(sitting[level.level], effect, significance):
            for lost in levels[level.level - 1 :]:
                lost.forget()
            return level.level - 1
    if mastered < len(levels):
        candidate = levels[mastered]
        if candidate.level in sitting and candidate.passes >= PASSES_NEEDED:
            candidate.mastering = sitting[candidate.level]
            return mastered + 1
    return mastered


def _active(progress: Mapping[str, SkillProgress], skills: Mapping[str, SkillConfig]) -> str | None:
    """Give the unfinished skill with the highest priority, then the smallest mastered share of its target, then by name."""
    unfinished = [name for name, skill in progress.items() if not is_finished(skill)]
    return min(
        unfinished,
        key=lambda name: (-skills[name].priority, progress[name].mastered_level / progress[name].target_level, name),
        default=None,
    )


def suites_wanted(state: Curriculum) -> list[str]:
    """Name the suites that a checkpoint is probed on: per enabled skill all mastered levels and the training level."""
    return [
        suite_name(name, level)
        for name, skill in sorted(state.skills.items())
        for level in range(1, max(skill.training_level, skill.mastered_level) + 1)
    ]

"""The ranking: every scored checkpoint of a model's surviving history in order, with the reason for every place.

Place in the flow: rank_checkpoints writes it to status/ranking.json, deploy_best takes its candidates from it, status and web
show it. Reads and writes no file. Invariant: a pure function of scores, history and the suites wanted now; void and practice
scores are read by nobody; a question that was not asked counts as wrong, so nobody gains by sitting fewer suites.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.checkpoints.checkpoint import Checkpoint
from core.checkpoints.places import Ranked as Ranked
from core.checkpoints.places import Ranking as Ranking
from core.evals.score import Score, latest_by_suite, pair
from core.evals.statistics import paired_interval
from core.names import checkpoint_step

SPEED = 1.0
"""The speed term of the composite: one constant per engine and host, so that it never orders checkpoints of one model."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is ranked: a checkpoint and its scores on the wanted suites."""

    checkpoint: str
    scores: Mapping[str, Score]
    total: int
    train_loss: float | None

    @property
    def correct(self) -> int:
        """Give the number of right answers."""
        return sum(score.correct for score in self.scores.values())

    @property
    def accuracy(self) -> float:
        """Give the share of all questions that it got right."""
        return self.correct / self.total if self.total else 0.0

    @property
    def golden_loss(self) -> float | None:
        """Give the mean loss of the golden answers over its suites; None unless each was asked for it."""
        losses = [score.loss for score in self.scores.values() if score.loss is not None]
        return sum(losses) / len(losses) if losses and len(losses) == len(self.scores) else None


def current_scores(scores: Iterable[Score]) -> list[Score]:
    """Leave out what may not be read and what is of an outdated version of its suite (another hash than the newest score's)."""
    counting = [score for score in scores if score.counts and score.kind == "p0"]
    newest: dict[str, Score] = {}
    for score in counting:
        if score.suite not in newest or newest[score.suite].finished_at <= score.finished_at:
            newest[score.suite] = score
    return [score for score in counting if score.suite_sha256 == newest[score.suite].suite_sha256]


def rank(
    scores: Iterable[Score],
    wanted: Sequence[str],
    records: Mapping[str, Checkpoint],
    taken_back: Collection[str] = (),
) -> list[Ranked]:
    """Order the checkpoints.

    wanted: names of the suites wanted now. records: the checkpoints of the surviving history whose weights are there; others
    are not ranked. taken_back: those that were deployed and rolled back. Accuracy decides, then composite, then step.
    """
    entries = _entries(scores, wanted, records)
    measured = all(entry.golden_loss is not None for entry in entries)
    composites = {entry.checkpoint: composite(entry, entry.golden_loss if measured else entry.train_loss) for entry in entries}

    def order(entry: Entry) -> tuple[float, float, int]:
        tie = composites[entry.checkpoint]
        return entry.accuracy, -1.0 if tie is None else tie, checkpoint_step(entry.checkpoint)

    entries.sort(key=order, reverse=True)
    return [_ranked(place, entries, composites, wanted, taken_back) for place in range(1, len(entries) + 1)]


def composite(entry: Entry, loss: float | None) -> float | None:
    """Give 0.4 / (1 + loss) + 0.4 accuracy + 0.2 speed; None without a loss."""
    return None if loss is None else 0.4 / (1 + loss) + 0.4 * entry.accuracy + 0.2 * SPEED


def _entries(scores: Iterable[Score], wanted: Sequence[str], records: Mapping[str, Checkpoint]) -> list[Entry]:
    by_checkpoint: dict[str, list[Score]] = {}
    sizes: dict[str, int] = {}
    for score in current_scores(scores):
        if score.suite in wanted and score.checkpoint in records:
            by_checkpoint.setdefault(score.checkpoint, []).append(score)
            sizes[score.suite] = max(sizes.get(score.suite, 0), score.n)
    total = sum(sizes.values())
    return [Entry(name, latest_by_suite(found), total, records[name].train_loss) for name, found in by_checkpoint.items()]


def _ranked(
    place: int,
    entries: Sequence[Entry],
    composites: Mapping[str, float | None],
    wanted: Sequence[str],
    taken_back: Collection[str],
) -> Ranked:
    entry = entries[place - 1]
    low, high, shared = _to_first(entry, entries[0])
    reason = f"{entry.correct} of {entry.total} questions right"
    if place == 1:
        reason += ", the most"
    else:
        above = entries[place - 2]
        if entry.accuracy == above.accuracy:
            same = composites[entry.checkpoint] == composites[above.checkpoint]
            reason += f", as many as {above.checkpoint}, which is {'newer' if same else 'of the higher composite'}"
        points = 100 * (entries[0].accuracy - entry.accuracy)
        reason += f"; {points:.1f} points behind the first"
        reason += f" (95 % interval {100 * low:+.1f} to {100 * high:+.1f} on {shared} shared questions)"
    barred = _barred(entry, wanted, taken_back)
    return Ranked(
        place=place, checkpoint=entry.checkpoint, accuracy=entry.accuracy, low=low, high=high,
        composite=composites[entry.checkpoint], eligible=not barred, reasons=[reason, *barred],
    )  # fmt: skip


def _to_first(entry: Entry, first: Entry) -> tuple[float, float, int]:
    """Give the paired interval of the difference to the first and the number of questions both answered."""
    pairings = [pair(entry.scores[suite], first.scores[suite]) for suite in entry.scores.keys() & first.scores.keys()]
    better, worse = sum(len(p.better) for p in pairings), sum(len(p.worse) for p in pairings)
    shared = sum(p.n for p in pairings)
    low, high = paired_interval(better, worse, shared)
    return (0.0, 0.0, shared) if entry is first else (low, high, shared)


def _barred(entry: Entry, wanted: Sequence[str], taken_back: Collection[str]) -> list[str]:
    """Say why a checkpoint may not be deployed; empty when it may."""
    reasons = []
    if checkpoint_step(entry.checkpoint) == 0:
        reasons.append("the base is the first opponent and is never deployed")
    missing = [suite for suite in wanted if suite not in entry.scores]
    if missing:
        reasons.append(f"not asked {', '.join(missing)}: counted as wrong")
    if entry.checkpoint in taken_back:
        reasons.append("it was deployed and rolled back: it is not deployed again by itself")
    return reasons

"""Scores: what one checkpoint answered on one suite, item by item, written once.

Place in the flow: probe_checkpoints grades and writes them; ranking, curriculum, regression and deployment read them. Writes
and reads models/<model>/scores/<checkpoint>/<suite>-<utc>-<host>.json. Invariants: an error is never a wrong answer; accuracy
is over the answered items; a score with more than 5 % errors is void and is read by nobody; a score is never rewritten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core import files, records
from core.clock import compact, from_iso
from core.errors import AlreadyExists, InvalidData
from core.evals.statistics import wilson
from core.evals.suite import Suite, SuiteItem
from core.names import checkpoint_order, identifier, is_checkpoint
from core.paths import ModelPaths
from core.records import Part, Record
from core.skills import registry
from core.skills.skill import Skill

VOID_ERROR_SHARE = 0.05


class Decoding(Part, frozen=True, kw_only=True):
    """How the answers were decoded. temperature 0 is greedy; max_tokens bounds the response."""

    temperature: float = 0.0
    max_tokens: int


class Reply(Part, frozen=True):
    """What came back for one item: an answer, or an error when none came. tokens: of the response; logprob: their sum."""

    answer: str | None = None
    error: str | None = None
    logprob: float | None = None
    tokens: int | None = None
    ms: float | None = None


class ScoreItem(Part, frozen=True):
    """One answered item. correct is null exactly when error is not."""

    id: str
    digest: str
    answer: str | None
    correct: bool | None
    logprob: float | None
    tokens: int | None
    ms: float | None
    error: str | None


class Score(Record, frozen=True, tag="weaver.score/1"):
    """The score of one checkpoint on one suite. n: answered items; low and high: Wilson's 95 % interval of correct / n.

    loss: mean negative log-probability per token of the golden answers, null when not asked for.
    """

    model: str
    checkpoint: str
    weights_id: str
    suite: str
    suite_sha256: str
    skill: str
    level: int
    kind: Literal["p0", "wide", "practice"]
    n: int
    correct: int
    errors: int
    void: bool
    accuracy: float | None
    low: float
    high: float
    loss: float | None
    tokens_per_s: float | None
    decoding: Decoding
    host: str
    started_at: str
    finished_at: str
    items: tuple[ScoreItem, ...]

    @property
    def counts(self) -> bool:
        """Say whether ranking, curriculum, promotion and regression may read this score."""
        return not self.void and self.kind != "practice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """Who sat the examination, where and when. started_at, finished_at: ISO 8601, UTC."""

    model: str
    checkpoint: str
    weights_id: str
    host: str
    decoding: Decoding
    started_at: str
    finished_at: str


def grade_answers(suite: Suite, replies: Mapping[str, Reply], sitting: Sitting, loss: float | None = None) -> Score:
    """Grade the replies, one for every item id of the suite.

    Raises InvalidData when a reply is missing, unknown, or has neither or both of answer and error.
    """
    expected, found = {item.id for item in suite.items}, set(replies)
    if expected != found:
        raise InvalidData(
            where=f"replies to suite {suite.name}",
            detail=f"{len(expected - found)} of {len(expected)} items have no reply, {len(found - expected)} are unknown",
        )
    skill = registry.get(suite.skill)
    items = tuple(_graded(skill, suite.level, item, replies[item.id]) for item in suite.items)
    errors = sum(item.error is not None for item in items)
    n, correct = len(items) - errors, sum(item.correct is True for item in items)
    low, high = wilson(correct, n)
    return Score(
        model=sitting.model, checkpoint=sitting.checkpoint, weights_id=sitting.weights_id, suite=suite.name,
        suite_sha256=suite.sha256, skill=suite.skill, level=suite.level, kind=suite.kind, n=n, correct=correct, errors=errors,
        void=errors > VOID_ERROR_SHARE * len(items), accuracy=correct / n if n else None, low=low, high=high, loss=loss,
        tokens_per_s=_tokens_per_s(items, sitting), decoding=sitting.decoding, host=sitting.host,
        started_at=sitting.started_at, finished_at=sitting.finished_at, items=items,
    )  # fmt: skip


def _graded(skill: Skill, level: int, item: SuiteItem, reply: Reply) -> ScoreItem:
    if (reply.answer is None) == (reply.error is None):
        raise InvalidData(where=f"reply to item {item.id}", detail="expected an answer or an error, exactly one of them")
    return ScoreItem(
        id=item.id, digest=item.digest, answer=reply.answer, error=reply.error,
        correct=None if reply.answer is None else skill.grade(item.prompt, level, reply.answer),
        logprob=reply.logprob, tokens=reply.tokens, ms=reply.ms,
    )  # fmt: skip


def _tokens_per_s(items: Sequence[ScoreItem], sitting: Sitting) -> float | None:
    """Give response tokens per second of wall time; None when a count or the time is unknown."""
    seconds = (from_iso(sitting.finished_at) - from_iso(sitting.started_at)).total_seconds()
    answered = [item.tokens for item in items if item.error is None]
    counts = [count for count in answered if count is not None]
    return sum(counts) / seconds if counts and len(counts) == len(answered) and seconds > 0 else None


def write_score(model: ModelPaths, score: Score) -> Path:
    """Write a score once and give its path. Raises AlreadyExists, UsageError for a name that is no identifier."""
    for kind, name in (("checkpoint", score.checkpoint), ("suite", score.suite), ("host", score.host)):
        identifier(name, kind)
    folder = model.scores(score.checkpoint)
    path = folder / f"{score.suite}-{compact(from_iso(score.finished_at))}-{score.host}.json"
    if path.exists():
        raise AlreadyExists(path=str(path))
    folder.mkdir(parents=True, exist_ok=True)
    files.replace_durable(path, records.encode(score) + b"\n")
    return path


@dataclass(frozen=True, slots=True)
class Unread:
    """A file among the scores that could not be read as one, and why. It is left as it is."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class ScoreBook:
    """All scores of a model, in the order of the checkpoints' steps and then of time, and the files that are none."""

    scores: tuple[Score, ...]
    unread: tuple[Unread, ...]


def each_score(model: ModelPaths, checkpoints: Collection[str] | None = None) -> Iterator[Score | Unread]:
    """Read the scores of a model one by one, in no promised order, of some checkpoints or of all: long histories fit nowhere.

    A torn, foreign or newer file comes as Unread: it is never raised and never touched.
    """
    root = model.scores("checkpoint").parent
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if checkpoints is not None and folder.name not in checkpoints:
            continue
        for path in sorted(folder.glob("[!.]*.json")):
            try:
                yield _read(path)
            except FileNotFoundError:
                continue
            except (InvalidData, OSError) as error:
                yield Unread(path, str(error))


def read_scores(model: ModelPaths, checkpoints: Collection[str] | None = None) -> ScoreBook:
    """Read the scores of some checkpoints, or of all: 40 kB of memory each, so name the checkpoints where that is possible."""
    found = list(each_score(model, checkpoints))
    scores = [score for score in found if isinstance(score, Score)]
    scores.sort(key=lambda score: (checkpoint_order(score.checkpoint), score.finished_at, score.suite, score.host))
    return ScoreBook(tuple(scores), tuple(unread for unread in found if isinstance(unread, Unread)))


def _read(path: Path) -> Score:
    score = records.read(Score, path)
    if not is_checkpoint(score.checkpoint) or score.checkpoint != path.parent.name:
        raise InvalidData(where=str(path), detail=f"is a score of {score.checkpoint!r}, expected {path.parent.name!r}")
    return score


def latest_by_suite(scores: Iterable[Score]) -> dict[str, Score]:
    """Give the last finished score that counts of each suite. All scores should be of one checkpoint."""
    latest: dict[str, Score] = {}
    for score in scores:
        if score.counts and (score.suite not in latest or latest[score.suite].finished_at <= score.finished_at):
            latest[score.suite] = score
    return latest


def best_by_suite(scores: Iterable[Score]) -> dict[str, Score]:
    """Give the score that counts with the highest accuracy of each suite; of equal ones the first."""
    best: dict[str, Score] = {}
    for score in scores:
        if score.counts and score.accuracy is not None:
            there = best.get(score.suite)
            if there is None or there.accuracy is None or score.accuracy > there.accuracy:
                best[score.suite] = score
    return best


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two scores on the same items. n: answered by both; better, worse: ids that only the first, only the other got right."""

    n: int
    better: tuple[str, ...]
    worse: tuple[str, ...]

    @property
    def effect(self) -> float:
        """Give the difference of the two shares, first minus other."""
        return (len(self.better) - len(self.worse)) / self.n if self.n else 0.0


def pair(first: Score, other: Score) -> Pairing:
    """Match two scores by item digest; items that either did not answer are left out."""
    others = {item.digest: item.correct for item in other.items if item.correct is not None}
    both = [item for item in first.items if item.correct is not None and item.digest in others]
    better = tuple(item.id for item in both if item.correct and not others[item.digest])
    worse = tuple(item.id for item in both if not item.correct and others[item.digest])
    return Pairing(len(both), better, worse)

"""The ranking orders by what was answered, and says why."""

from __future__ import annotations

import msgspec
import pytest

from core.checkpoints.checkpoint import Checkpoint
from core.checkpoints.ranking import Ranked, rank
from core.evals.score import Score
from core.evals.statistics import paired_interval
from tests.core.checkpoints.checkpoint_builder import make_record
from tests.core.checkpoints.score_builder import make_score

BASE, OLD, NEW = (f"checkpoint-{step}-20261120-2130" for step in (0, 100, 200))
SIZE = len(make_score("binary-1", BASE).items)


def records(*names: str, loss: float | None = 0.5) -> dict[str, Checkpoint]:
    made = {name: make_record("tiny", name, int(name.split("-")[1]), None) for name in names}
    return {name: msgspec.structs.replace(record, train_loss=loss) for name, record in made.items()}


def by_name(places: list[Ranked]) -> dict[str, Ranked]:
    return {place.checkpoint: place for place in places}


def order(places: list[Ranked]) -> list[str]:
    assert [place.place for place in places] == list(range(1, len(places) + 1))
    return [place.checkpoint for place in places]


def test_more_right_answers_come_first_and_the_interval_is_paired() -> None:
    scores = [make_score("binary-1", OLD, wrong=range(10)), make_score("binary-1", NEW, wrong=range(8, 12))]
    places = rank(scores, ["binary-1"], records(OLD, NEW))
    assert order(places) == [NEW, OLD]
    first, second = places
    assert first.accuracy == (SIZE - 4) / SIZE and (first.low, first.high) == (0.0, 0.0)
    assert (second.low, second.high) == paired_interval(2, 8, SIZE)
    assert f"{600 / SIZE:.1f} points behind the first" in second.reasons[0]
    assert f"{SIZE - 10} of {SIZE}" in second.reasons[0]


def test_newer_checkpoint_asked_harder_levels_is_not_ranked_below_an_old_one_asked_only_the_first() -> None:
    scores = [
        make_score("binary-1", OLD), make_score("binary-1", NEW, wrong=range(2)), make_score("binary-2", NEW, wrong=range(40)),
    ]  # fmt: skip
    places = rank(scores, ["binary-1", "binary-2"], records(OLD, NEW))
    assert order(places) == [NEW, OLD]
    assert by_name(places)[NEW].eligible
    assert not by_name(places)[OLD].eligible
    assert "not asked binary-2: counted as wrong" in by_name(places)[OLD].reasons


def test_suite_that_is_not_wanted_any_more_counts_for_nobody() -> None:
    scores = [make_score("binary-1", OLD, wrong=range(3)), make_score("binary-1", NEW), make_score("syllables-1", OLD)]
    assert order(rank(scores, ["binary-1"], records(OLD, NEW))) == [NEW, OLD]


def test_equal_accuracy_is_decided_by_composite_then_by_step() -> None:
    scores = [make_score("binary-1", OLD), make_score("binary-1", NEW)]
    same = rank(scores, ["binary-1"], records(OLD, NEW))
    assert order(same) == [NEW, OLD] and "newer" in same[1].reasons[0]
    assert same[0].composite == pytest.approx(0.4 / 1.5 + 0.4 + 0.2)
    lower = records(OLD, loss=0.1) | records(NEW, loss=0.2)
    decided = rank(scores, ["binary-1"], lower)
    assert order(decided) == [OLD, NEW] and "of the higher composite" in decided[1].reasons[0]


def test_loss_of_golden_answers_decides_only_when_everybody_has_one() -> None:
    lower = records(OLD, loss=0.1) | records(NEW, loss=0.2)
    with_loss = [make_score("binary-1", OLD, loss=0.9), make_score("binary-1", NEW, loss=0.3)]
    assert order(rank(with_loss, ["binary-1"], lower)) == [NEW, OLD]
    half = [make_score("binary-1", OLD, loss=0.9), make_score("binary-1", NEW)]
    assert order(rank(half, ["binary-1"], lower)) == [OLD, NEW]
    unknown = rank([make_score("binary-1", OLD)], ["binary-1"], records(OLD, loss=None))
    assert unknown[0].composite is None


def test_void_score_is_read_by_nobody() -> None:
    void = make_score("binary-1", NEW, failed=range(SIZE // 10))
    assert void.void
    assert order(rank([void, make_score("binary-1", OLD, wrong=range(50))], ["binary-1"], records(OLD, NEW))) == [OLD]


def test_score_on_an_outdated_suite_is_not_mixed_with_the_current_one() -> None:
    def other(score: Score) -> Score:
        return msgspec.structs.replace(score, suite_sha256="f" * 64)

    scores = [other(make_score("binary-1", OLD)), make_score("binary-1", NEW, wrong=range(5), second=9)]
    places = rank(scores, ["binary-1"], records(OLD, NEW))
    assert order(places) == [NEW]


def test_base_removed_off_chain_and_taken_back_ones_are_not_eligible() -> None:
    scores = [make_score("binary-1", name) for name in (BASE, OLD, NEW)]
    places = by_name(rank(scores, ["binary-1"], records(BASE, OLD), taken_back={OLD}))
    assert set(places) == {BASE, OLD}
    assert not places[BASE].eligible and "first opponent" in places[BASE].reasons[1]
    assert not places[OLD].eligible and "rolled back" in places[OLD].reasons[1]


def test_nothing_scored_is_an_empty_ranking() -> None:
    assert rank([], ["binary-1"], records(OLD)) == []

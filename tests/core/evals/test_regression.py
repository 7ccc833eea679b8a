"""The regression monitor: what blocks, what does not, and that it names the items."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.evals.regression import blocks, guards, unmeasured
from core.evals.suite import Suite


@pytest.mark.parametrize(
    ("best_wrong", "now_wrong", "is_blocked"),
    [
        (range(0), range(10), True),  # ten points, p 1/1024
        (range(0), range(9), False),  # nine points
        (range(0), range(0), False),
        (range(0, 10), range(10, 20), False),  # other items, no loss in sum
        (range(0, 18), range(18, 48), False),  # twelve points, p 0.056
        (range(0, 10), range(10, 35), True),  # fifteen points, p 0.008
        (range(50), range(0), False),
    ],
)
def test_block_needs_ten_points_and_five_percent(
    make_score: Any, best_wrong: range, now_wrong: range, is_blocked: bool
) -> None:
    found = blocks([make_score("binary-3", 60, wrong=now_wrong)], [make_score("binary-3", 50, wrong=best_wrong)])
    assert (found is not None) is is_blocked


def test_block_names_suite_opponent_and_newly_wrong_items(make_score: Any, suites: dict[str, Suite]) -> None:
    ids = [item.id for item in suites["binary-3"].items]
    found = blocks(
        [make_score("binary-3", 60, wrong=range(5, 30)), make_score("binary-1", 60)],
        [make_score("binary-3", 50, wrong=range(0, 8)), make_score("binary-1", 50)],
    )
    assert found is not None
    (guard,) = found.guards
    assert (guard.suite, guard.best_checkpoint, guard.n) == ("binary-3", "checkpoint-50-20261120-2130", 100)
    assert (guard.better, guard.worse, guard.effect) == (5, 22, -0.17)
    assert guard.newly_wrong == tuple(ids[8:30])
    assert "binary-3 by 17 points" in found.reason and "22 items newly wrong" in found.reason


def test_candidate_is_held_against_the_best_and_not_the_last(make_score: Any) -> None:
    best = [make_score("binary-3", step, wrong=range(3 * place)) for place, step in enumerate((50, 60, 70, 80))]
    assert blocks([make_score("binary-3", 90, wrong=range(12))], best[-1:]) is None
    assert blocks([make_score("binary-3", 90, wrong=range(12))], best) is not None


def test_void_scores_decide_nothing(make_score: Any) -> None:
    void = make_score("binary-3", 60, wrong=range(60), failed=range(90, 100))
    assert blocks([void], [make_score("binary-3", 50)]) is None
    assert unmeasured([void], [make_score("binary-3", 50)]) == ["binary-3"]


def test_score_of_another_version_of_the_suite_is_no_opponent(make_score: Any) -> None:
    older = msgspec.structs.replace(make_score("binary-3", 50), suite_sha256="0" * 64)
    assert guards([make_score("binary-3", 60, wrong=range(50))], [older]) == []


def test_suites_not_yet_measured_are_named(make_score: Any) -> None:
    best = [make_score(suite, 50) for suite in ("syllables-1", "binary-1", "binary-2")]
    assert unmeasured([make_score("binary-1", 60)], best) == ["binary-2", "syllables-1"]
    assert unmeasured([make_score("binary-1", 60)], []) == []


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_loss_that_is_not_finite_blocks(make_score: Any, loss: float) -> None:
    score = make_score("binary-3", 60)
    by_training = blocks([score], [], train_loss=loss)
    by_suite = blocks([msgspec.structs.replace(score, loss=loss)], [], train_loss=0.4)
    assert by_training is not None and "training loss" in by_training.reason
    assert by_suite is not None and "loss on binary-3" in by_suite.reason


def test_finite_or_unknown_loss_does_not_block(make_score: Any) -> None:
    assert blocks([make_score("binary-3", 60)], [], train_loss=0.0) is None
    assert blocks([make_score("binary-3", 60)], [], train_loss=None) is None

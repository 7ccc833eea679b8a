"""The statistics of examinations, against values from the literature and against brute force."""

from __future__ import annotations

from itertools import product
from math import sqrt

import pytest

from core.evals.statistics import Verdict, compare, paired_interval, sign_test, wilson


def test_forty_six_of_fifty_pass_and_forty_five_fail() -> None:
    assert wilson(46, 50)[0] >= 0.80 > wilson(45, 50)[0]


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # Brown, Cai and DasGupta 2001
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_bounds_solve_the_score_equation() -> None:
    for n in (1, 7, 50, 100):
        for correct in range(n + 1):
            for bound in wilson(correct, n):
                if 0 < bound < 1:
                    assert abs(correct / n - bound) / sqrt(bound * (1 - bound) / n) == pytest.approx(1.959964)


def test_wilson_without_observations_knows_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("correct", "n"), [(-1, 5), (6, 5), (1, 0)])
def test_impossible_share_is_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson(correct, n)


def test_sign_test_counts_all_outcomes_that_are_as_extreme() -> None:
    for n in range(9):
        for wins in range(n + 1):
            as_extreme = sum(sum(flips) >= wins for flips in product((0, 1), repeat=n))
            assert sign_test(wins, n - wins) == as_extreme / 2**n


@pytest.mark.parametrize(("wins", "losses", "p"), [(0, 0, 1.0), (5, 0, 1 / 32), (4, 0, 1 / 16), (0, 9, 1.0), (9, 1, 11 / 1024)])
def test_sign_test_gives_the_known_value(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == p


def test_sign_test_of_thousands_is_finite() -> None:
    assert sign_test(5_000, 5_000) == pytest.approx(0.504, abs=1e-3)
    assert 0 <= sign_test(6_000, 2_000) < 1e-300


def test_paired_interval_is_the_published_formula_and_symmetric() -> None:
    low, high = paired_interval(10, 2, 50)
    won, lost = 11 / 52, 3 / 52
    half = 1.959964 * sqrt((won + lost - (won - lost) ** 2) / 52)
    assert (low, high) == pytest.approx((won - lost - half, won - lost + half))
    assert paired_interval(2, 10, 50) == pytest.approx((-high, -low))
    assert -1 <= paired_interval(0, 1, 1)[0] < 0 < paired_interval(1, 0, 1)[1] <= 1


@pytest.mark.parametrize(("wins", "losses", "n"), [(3, 3, 5), (-1, 0, 5), (0, -1, 5)])
def test_impossible_counts_are_refused(wins: int, losses: int, n: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        paired_interval(wins, losses, n)


@pytest.mark.parametrize(
    ("wins", "losses", "n", "effect", "verdict"),
    [
        (20, 2, 100, 0.10, Verdict.BETTER),
        (2, 20, 100, 0.10, Verdict.WORSE),
        (5, 0, 100, 0.02, Verdict.BETTER),
        (4, 0, 100, 0.02, Verdict.NOT_ENOUGH),  # p is 1/16
        (0, 5, 100, 0.10, Verdict.SAME),  # significant, but five points are less than ten
        (0, 12, 100, 0.10, Verdict.WORSE),
        (18, 30, 100, 0.10, Verdict.NOT_ENOUGH),  # twelve points, but p is 0.06
        (0, 0, 100, 0.10, Verdict.SAME),
        (0, 0, 10, 0.10, Verdict.NOT_ENOUGH),
        (0, 0, 0, 0.10, Verdict.NOT_ENOUGH),
        (0, 0, 100, 0.0, Verdict.NOT_ENOUGH),  # without a minimum effect nothing is ever the same
    ],
)
def test_comparison_gives_the_verdict(wins: int, losses: int, n: int, effect: float, verdict: Verdict) -> None:
    assert compare(wins, losses, n, effect) is verdict


def test_significance_level_decides() -> None:
    assert compare(4, 0, 20, 0.02, significance=0.07) is Verdict.BETTER
    assert compare(4, 0, 20, 0.02, significance=0.05) is Verdict.NOT_ENOUGH

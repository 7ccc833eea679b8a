"""The error budget: five in a row, or a bucket that leaks."""

from __future__ import annotations

import pytest

from daemons.harness.budget import ErrorBudget


def spend(history: str, gap_s: float) -> int | None:
    """Play "x" for a failed and "." for a good tick, gap_s apart; give the tick that spent the budget, from 1."""
    budget = ErrorBudget()
    for number, tick in enumerate(history, 1):
        if tick == "x":
            budget.fail(number * gap_s)
        else:
            budget.succeed()
        if budget.is_spent:
            return number
    return None


@pytest.mark.parametrize(
    ("history", "gap_s", "spent_at"),
    [
        ("xxxxx", 1, 5),
        ("xxxx.xxxx.xxxx", 1, None),
        ("xxxxx", 3600, 5),  # a daemon of one tick an hour gives up too
        ("x." * 30, 1, 41),  # every other tick fails, faster than the bucket leaks
        ("x." * 200, 40, None),  # every other tick fails, slower than it leaks
        ("", 1, None),
    ],
)
def test_history_spends_the_budget_at(history: str, gap_s: float, spent_at: int | None) -> None:
    assert spend(history, gap_s) == spent_at


def test_retries_double_and_start_over_after_a_good_tick() -> None:
    budget = ErrorBudget()
    waits = []
    for _ in range(4):
        budget.fail(0.0)
        waits.append(budget.retry_s)
    assert waits == [1, 2, 4, 8]
    budget.succeed()
    budget.fail(0.0)
    assert budget.retry_s == 1

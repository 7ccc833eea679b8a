"""When the next tick is due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.errors import UsageError
from daemons.harness.schedule import Schedule

NOW = datetime(2026, 11, 20, 21, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("every", "due"),
    [
        ("10s", 110.0),  # counted from the start of the tick, not from its end
        ("2.5s", 102.5),
        ("10m", 700.0),
        ("2h", 7300.0),
        ("*/10 * * * *", 104.0 + 585.0),  # 21:40:00 is 585 s after now
        ("0 3 * * *", 104.0 + 5.5 * 3600 - 15),
    ],
)
def test_due_time_follows_the_rhythm(every: str, due: float) -> None:
    assert Schedule(every).next_due(started=100.0, mono=104.0, now=NOW) == pytest.approx(due, abs=0.01)


@pytest.mark.parametrize("every", ["", "10", "0s", "often", "* * *", "-5s", "61 * * * *"])
def test_nonsense_is_refused_with_what_is_valid(every: str) -> None:
    with pytest.raises(UsageError, match=r"every="):
        Schedule(every)


def test_date_that_never_comes_is_far_away() -> None:
    assert Schedule("0 0 31 2 *").next_due(0.0, 50.0, NOW) > 300 * 86400

"""How long a job that failed waits before it is tried again.

Place in the flow: train_next passes over jobs that must wait. Pure. Invariant: no jump of the clock makes a job wait longer
than its pause, and a stop, a skip or a death of the trainer makes it wait not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from core.clock import from_iso
from core.jobs.job import Attempt

FAILURES = ("failed", "diverged")
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0


def failures(attempts: Sequence[Attempt]) -> int:
    """Count the attempts that failed; a shutdown, a skip or an adoption is none."""
    return sum(attempt.outcome in FAILURES for attempt in attempts)


def pause_s(count: int) -> float:
    """Give the seconds between the count-th failure and the next attempt: 5, 10, 20 ... 300."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (count - 1)) if count else 0.0


def waits_s(attempts: Sequence[Attempt], now: datetime) -> float:
    """Give the seconds until a job may be tried again; 0 when its last attempt did not fail."""
    if not attempts or attempts[-1].outcome not in FAILURES:
        return 0.0
    pause = pause_s(failures(attempts))
    passed = (now - from_iso(attempts[-1].at)).total_seconds()
    return pause - passed if 0 <= passed < pause else 0.0

"""The error budget of one daemon process: how many failed ticks it may have before it gives up with exit code 75.

Pure: time comes in as an argument. Two rules, whichever is met first: IN_A_ROW failures without a good tick between them, or a
leaky bucket of BUCKET failures that loses one every LEAK_S seconds (a daemon that fails every other tick).
"""

from __future__ import annotations

IN_A_ROW = 5
BUCKET = 20.0
LEAK_S = 60.0
LONGEST_RETRY_S = 60.0


class ErrorBudget:
    """Counts failed ticks."""

    def __init__(self) -> None:
        self._row = 0
        self._level = 0.0
        self._at = 0.0

    def fail(self, now: float) -> None:
        """Count a failed tick; now in monotonic seconds."""
        self._level = max(0.0, self._level - (now - self._at) / LEAK_S) + 1.0
        self._at = now
        self._row += 1

    def succeed(self) -> None:
        """Count a good tick: the row of failures ends, the bucket goes on leaking."""
        self._row = 0

    @property
    def is_spent(self) -> bool:
        """Say whether the daemon should give up."""
        return self._row >= IN_A_ROW or self._level >= BUCKET

    @property
    def retry_s(self) -> float:
        """Give the wait before the next try, in seconds: 1, 2, 4 ... at most LONGEST_RETRY_S."""
        return min(LONGEST_RETRY_S, 2.0 ** max(0, self._row - 1))

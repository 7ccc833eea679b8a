"""How long to wait before a dead program is started again, and when dying so often is a crash loop.

Pure. Delays 0, 1, 2, 4 ... 300 s, up to a tenth longer by chance so that programs that died together do not start together.
"""

from __future__ import annotations

LONGEST_S = 300.0
JITTER = 0.1
HEALTHY_S = 600.0
SHORT_LIFE_S = 30.0
CRASH_LOOP = 8


def delay_s(deaths: int, chance: float) -> float:
    """Give the wait in seconds after the n-th death in a row (from 1) without HEALTHY_S of health; chance is in [0, 1)."""
    if deaths <= 1:
        return 0.0
    return min(LONGEST_S, 2.0 ** min(deaths - 2, 30)) * (1.0 + JITTER * chance)

"""The statistics of examinations: one share with its interval, and two players on the same questions.

Place in the flow: scores, curriculum, regression, ranking and deployment decide by these functions. Reads and writes no file;
standard library only. Invariant: every decision that the factory makes about quality comes from here.
"""

from __future__ import annotations

from enum import StrEnum
from math import comb, sqrt

Z95 = 1.959964
"""Two-sided 95 % point of the normal distribution. With it 46 of 50 pass a lower bound of 0.80 (0.812) and 45 fail (0.786);
the one-sided point 1.645 would let 45 pass (0.809)."""


class Verdict(StrEnum):
    """What a paired comparison says of the first player."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    NOT_ENOUGH = "not_enough"


def wilson(correct: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Give the score interval (low, high) of a share; (0, 1) without observations (Wilson 1927, JASA 22:209).

    correct may be fractional: an expected count. Raises ValueError unless 0 <= correct <= n.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n} is no share")
    if n == 0:
        return 0.0, 1.0
    share, spread = correct / n, z * z / n
    centre = share + spread / 2
    half = z * sqrt(share * (1 - share) / n + spread / (4 * n))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return (0.0 if correct == 0 else max(0.0, low)), (1.0 if correct == n else min(1.0, high))


def sign_test(wins: int, losses: int) -> float:
    """Give the exact one-sided p of at least this many wins when win and loss are equally likely; ties are left out.

    On paired right-or-wrong answers this is McNemar's exact test (McNemar 1947, Psychometrika 12:153). 1.0 without any
    difference; raises ValueError for negative counts.
    """
    if wins < 0 or losses < 0:
        raise ValueError(f"{wins} wins and {losses} losses cannot be counts")
    n = wins + losses
    ways = total = comb(n, wins)
    for k in range(wins, n):
        ways = ways * (n - k) // (k + 1)
        total += ways
    return total / (1 << n)


def paired_interval(wins: int, losses: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Give the interval (low, high) of the difference of two shares on the same n questions.

    Adjusted Wald interval, which also holds for few differences (Bonett and Price 2012, J. Educ. Behav. Stat. 37:479).
    Raises ValueError unless 0 <= wins + losses <= n.
    """
    if wins < 0 or losses < 0 or wins + losses > n:
        raise ValueError(f"{wins} wins and {losses} losses do not fit into {n} questions")
    won, lost = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    half = z * sqrt((won + lost - (won - lost) ** 2) / (n + 2))
    return max(-1.0, won - lost - half), min(1.0, won - lost + half)


def compare(wins: int, losses: int, n: int, effect: float, significance: float = 0.05) -> Verdict:
    """Judge a player against another on the same n questions, with a declared minimum effect (a share of the questions).

    Better or worse needs both the exact one-sided test and an observed difference of at least effect. Same needs the whole
    interval of the difference inside +-effect. Everything else is not enough questions.
    """
    low, high = paired_interval(wins, losses, n)
    difference = (wins - losses) / n if n else 0.0
    if difference > 0 and difference >= effect and sign_test(wins, losses) <= significance:
        return Verdict.BETTER
    if difference < 0 and -difference >= effect and sign_test(losses, wins) <= significance:
        return Verdict.WORSE
    return Verdict.SAME if -effect < low and high < effect else Verdict.NOT_ENOUGH

"""Whether a candidate may replace what is served: a paired test on the same questions, and guards against unlearning.

Place in the flow: deploy_best asks before it stages anything. Reads and writes no file. Invariants: a candidate is promoted
only if it is better than the opponent by the declared minimum effect and significantly so; it may not have lost 10 points on
any suite against the best score that a deployed checkpoint ever had there, so quality cannot erode step by step; a suite with
such a score that the candidate has not sat blocks it. Where the questions do not decide, the verdict says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.checkpoints.deployment import PairedTest
from core.config import EvalsConfig
from core.evals.regression import Guard, Regression, blocks, guards, unmeasured
from core.evals.score import Pairing, Score, latest_by_suite, pair
from core.evals.statistics import Verdict, compare, sign_test

POOLED = "all"
_ITEMS_NAMED = 10


class Promotion(StrEnum):
    """What is decided about a candidate."""

    PROMOTE = "promote"
    NOT_BETTER = "not better"
    NOT_ENOUGH = "not enough questions"
    BLOCKED = "blocked"
    UNMEASURED = "unmeasured"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with its evidence: the test pooled over all suites (suite `all`), that of each suite, and the guards."""

    verdict: Promotion
    reason: str
    test: PairedTest
    by_suite: list[PairedTest]
    guards: list[PairedTest]


def decide(
    candidate: Sequence[Score],
    opponent: Sequence[Score],
    best: Iterable[Score],
    config: EvalsConfig,
    train_loss: float | None = None,
) -> Decision:
    """Decide about a candidate.

    opponent: the scores of what is served, of the base before the first deployment. best: the scores of every checkpoint that
    was ever deployed. train_loss: the candidate's own. Only suites that candidate and opponent both sat are compared.
    """
    best = list(best)
    pairings = _pairings(candidate, opponent)
    by_suite = [_tested(suite, pairing) for suite, pairing in pairings.items()]
    pooled = Pairing(
        sum(p.n for p in pairings.values()),
        tuple(item for p in pairings.values() for item in p.better),
        tuple(item for p in pairings.values() for item in p.worse),
    )
    test = _tested(POOLED, pooled)
    guarded = [_guarded(guard) for guard in guards(candidate, best, config.regression_effect, config.significance)]
    missing = unmeasured(candidate, best)
    if missing:
        return Decision(
            Promotion.UNMEASURED, f"has not sat {', '.join(missing)}, where a deployed one has", test, by_suite, guarded
        )
    blocked = blocks(candidate, best, train_loss, config.regression_effect, config.significance)
    if blocked is not None:
        return Decision(Promotion.BLOCKED, blocked.reason + _newly_wrong(blocked), test, by_suite, guarded)
    verdict, reason = _compared(pooled, config)
    return Decision(verdict, reason, test, by_suite, guarded)


def _pairings(candidate: Sequence[Score], opponent: Sequence[Score]) -> dict[str, Pairing]:
    mine, theirs = latest_by_suite(candidate), latest_by_suite(opponent)
    pairings = {suite: pair(mine[suite], theirs[suite]) for suite in sorted(mine.keys() & theirs.keys())}
    return {suite: pairing for suite, pairing in pairings.items() if pairing.n}


def _tested(suite: str, pairing: Pairing) -> PairedTest:
    better, worse = len(pairing.better), len(pairing.worse)
    return PairedTest(suite=suite, better=better, worse=worse, p=sign_test(better, worse), effect=pairing.effect)


def _guarded(guard: Guard) -> PairedTest:
    """Give a guard as a test: its p is that of as many losses."""
    return PairedTest(suite=guard.suite, better=guard.better, worse=guard.worse, p=guard.p, effect=guard.effect)


def _newly_wrong(blocked: Regression) -> str:
    items = [item for guard in blocked.guards for item in guard.newly_wrong]
    more = f" and {len(items) - _ITEMS_NAMED} more" if len(items) > _ITEMS_NAMED else ""
    return f"; newly wrong: {', '.join(items[:_ITEMS_NAMED])}{more}" if items else ""


def _compared(pooled: Pairing, config: EvalsConfig) -> tuple[Promotion, str]:
    better, worse, n = len(pooled.better), len(pooled.worse), pooled.n
    found = f"{better} of {n} questions only it got right, {worse} only the other"
    needed = f"needed: {100 * config.promotion_effect:g} points more, p at most {config.significance:g}"
    match compare(better, worse, n, config.promotion_effect, config.significance):
        case Verdict.BETTER:
            return Promotion.PROMOTE, f"{found}: {100 * pooled.effect:.1f} points better, p {sign_test(better, worse):.2g}"
        case Verdict.WORSE:
            return Promotion.NOT_BETTER, f"{found}: worse; {needed}"
        case Verdict.SAME:
            return Promotion.NOT_BETTER, f"{found}: the same; {needed}"
        case _:
            return Promotion.NOT_ENOUGH, f"{found}: these questions do not decide; {needed}"

"""The regression monitor, first form: what a candidate has unlearned blocks its deployment.

Place in the flow: deploy_best asks before it promotes. Reads and writes no file. Invariant: a block needs a loss of at least
the effect limit (10 points) and an exact one-sided paired test at the significance level (5 %) on one suite, or a loss that is
not a finite number; nothing else blocks, and what blocks is named item by item.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from core.evals.score import Score, best_by_suite, latest_by_suite, pair
from core.evals.statistics import sign_test
from core.records import Part

EFFECT_LIMIT = 0.10
SIGNIFICANCE = 0.05


class Guard(Part, frozen=True):
    """A candidate against the best score on one suite. effect: difference of the shares; p: one-sided, of as many losses."""

    suite: str
    best_checkpoint: str
    n: int
    better: int
    worse: int
    effect: float
    p: float
    blocks: bool
    newly_wrong: tuple[str, ...]


class Regression(Part, frozen=True):
    """Why a candidate is blocked. guards: only those that block."""

    reason: str
    guards: tuple[Guard, ...]


def guards(
    candidate: Iterable[Score], best: Iterable[Score], effect: float = EFFECT_LIMIT, significance: float = SIGNIFICANCE
) -> list[Guard]:
    """Compare a candidate's latest scores with the best ones on the very same suites, where both have a score that counts."""
    mine = latest_by_suite(candidate)
    theirs = best_by_suite(
        score for score in best if score.suite in mine and score.suite_sha256 == mine[score.suite].suite_sha256
    )
    return [_guard(mine[suite], theirs[suite], effect, significance) for suite in sorted(mine.keys() & theirs.keys())]


def _guard(mine: Score, best: Score, effect: float, significance: float) -> Guard:
    pairing = pair(mine, best)
    p = sign_test(len(pairing.worse), len(pairing.better))
    return Guard(
        suite=mine.suite, best_checkpoint=best.checkpoint, n=pairing.n, better=len(pairing.better), worse=len(pairing.worse),
        effect=pairing.effect, p=p, blocks=pairing.effect <= -effect and p <= significance, newly_wrong=pairing.worse,
    )  # fmt: skip


def unmeasured(candidate: Iterable[Score], best: Iterable[Score]) -> list[str]:
    """Name the suites that have a best score and none of the candidate: it cannot pass a guard that it has not met yet."""
    return sorted(best_by_suite(best).keys() - latest_by_suite(candidate).keys())


def blocks(
    candidate: Sequence[Score], best: Iterable[Score], train_loss: float | None = None,
    effect: float = EFFECT_LIMIT, significance: float = SIGNIFICANCE,
) -> Regression | None:  # fmt: skip
    """Say why a candidate may not be deployed, or None. train_loss: of its checkpoint, nats per token, None if unknown."""
    losses = {"training loss": train_loss} | {f"loss on {score.suite}": score.loss for score in candidate}
    for what, loss in losses.items():
        if loss is not None and not isfinite(loss):
            return Regression(reason=f"the {what} is {loss}, expected a finite number", guards=())
    failed = tuple(guard for guard in guards(candidate, best, effect, significance) if guard.blocks)
    if not failed:
        return None
    worst = min(failed, key=lambda guard: guard.effect)
    reason = (
        f"{len(failed)} of its suites got worse; {worst.suite} by {-100 * worst.effect:.0f} points against"
        f" {worst.best_checkpoint} (p {worst.p:.4f}): {worst.worse} items newly wrong, {worst.better} newly right of {worst.n}"
    )
    return Regression(reason=reason, guards=failed)

"""Build scores through the real grader from the committed suites, for the tests of whatever decides by them."""

from __future__ import annotations

from collections.abc import Container
from functools import cache
from pathlib import Path

from core.evals.score import Decoding, Reply, Score, Sitting, grade_answers, write_score
from core.evals.suite import Suite, load_suites
from core.paths import Paths

SUITES = Path(__file__).parents[3] / "config" / "suites"


@cache
def committed_suites() -> dict[str, Suite]:
    """Give the suites of the checkout."""
    return load_suites(SUITES)


def make_score(
    suite: str,
    checkpoint: str,
    wrong: Container[int] = (),
    failed: Container[int] = (),
    second: int = 0,
    loss: float | None = None,
) -> Score:
    """Make a score: the items at the places in `wrong` are answered wrongly, those in `failed` not at all."""
    replies = {}
    for place, item in enumerate(committed_suites()[suite].items):
        reply = Reply(answer="?" if place in wrong else item.answer, tokens=3, ms=1.0)
        replies[item.id] = Reply(error="connection refused") if place in failed else reply
    sitting = Sitting(
        model="tiny", checkpoint=checkpoint, weights_id="0" * 16, host="local", decoding=Decoding(max_tokens=16),
        started_at="2026-11-20T21:30:00.000Z", finished_at=f"2026-11-20T21:{second // 60:02d}:{second % 60:02d}.123Z",
    )  # fmt: skip
    return grade_answers(committed_suites()[suite], replies, sitting, loss)


def put_score(
    paths: Paths, suite: str, checkpoint: str, wrong: Container[int] = (), failed: Container[int] = (), second: int = 0
) -> Score:
    """Make a score and write it where the probe would."""
    score = make_score(suite, checkpoint, wrong, failed, second)
    write_score(paths.model("tiny"), score)
    return score

"""Scores made for tests through the real grader: so many right, so many unanswered, of a committed suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.evals.score import Decoding, Reply, Score, Sitting, grade_answers
from core.evals.suite import Suite, load_suites

MakeScore = Callable[..., Score]


@pytest.fixture(scope="session")
def suites() -> dict[str, Suite]:
    return load_suites(Path(__file__).parents[3] / "config" / "suites")


@pytest.fixture(scope="session")
def make_score(suites: dict[str, Suite]) -> MakeScore:
    """Make a score: items in `wrong` are answered wrongly, items in `failed` not at all, all others rightly."""

    def make(
        suite: str, step: int, wrong: range = range(0), failed: range = range(0), at: str = "21:30:05", model: str = "tiny"
    ) -> Score:
        replies = {}
        for place, item in enumerate(suites[suite].items):
            right = Reply(answer=item.answer, tokens=len(item.answer), logprob=-0.5, ms=3.0)
            replies[item.id] = right if place not in wrong else Reply(answer="?", tokens=1, logprob=-2.0, ms=3.0)
            if place in failed:
                replies[item.id] = Reply(error="connection refused")
        sitting = Sitting(
            model=model, checkpoint=f"checkpoint-{step}-20261120-2130", weights_id=f"{step:016x}", host="local",
            decoding=Decoding(max_tokens=16), started_at="2026-11-20T21:30:00.000Z", finished_at=f"2026-11-20T{at}.123Z",
        )  # fmt: skip
        return grade_answers(suites[suite], replies, sitting)

    return make

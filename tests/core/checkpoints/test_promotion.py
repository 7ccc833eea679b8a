"""What may be promoted: better by the declared effect, nothing unlearned, enough questions."""

from __future__ import annotations

import pytest

from core.checkpoints.promotion import POOLED, Promotion, decide
from core.config import EvalsConfig
from core.evals.score import Score
from core.evals.statistics import sign_test
from tests.core.checkpoints.score_builder import committed_suites, make_score

BASE, CHAMPION, CANDIDATE = (f"checkpoint-{step}-20261120-2130" for step in (0, 100, 200))
CONFIG = EvalsConfig()
N = len(make_score("binary-1", BASE).items)


def one(checkpoint: str, wrong: range, suite: str = "binary-1") -> list[Score]:
    return [make_score(suite, checkpoint, wrong=wrong)]


def test_first_candidate_that_beats_the_base_is_promoted() -> None:
    decision = decide(one(CANDIDATE, range(70)), one(BASE, range(N)), [], CONFIG)
    assert decision.verdict is Promotion.PROMOTE
    assert decision.test.suite == POOLED and decision.test.better == N - 70 and decision.test.worse == 0
    assert decision.test.p == sign_test(N - 70, 0) and decision.test.effect == pytest.approx((N - 70) / N)
    assert decision.guards == []


def test_candidate_as_bad_as_the_base_is_not_promoted() -> None:
    decision = decide(one(CANDIDATE, range(N)), one(BASE, range(N)), [], CONFIG)
    assert decision.verdict in (Promotion.NOT_BETTER, Promotion.NOT_ENOUGH)


def test_a_few_more_right_answers_are_not_enough_questions() -> None:
    decision = decide(one(CANDIDATE, range(17)), one(CHAMPION, range(20)), [], CONFIG)
    assert decision.verdict is Promotion.NOT_ENOUGH
    assert "do not decide" in decision.reason


def test_significant_gain_below_the_declared_effect_is_not_promoted() -> None:
    wide = EvalsConfig(promotion_effect=0.20)
    assert decide(one(CANDIDATE, range(10)), one(CHAMPION, range(25)), [], CONFIG).verdict is Promotion.PROMOTE
    assert decide(one(CANDIDATE, range(10)), one(CHAMPION, range(25)), [], wide).verdict is not Promotion.PROMOTE


def test_worse_candidate_is_not_promoted() -> None:
    decision = decide(one(CANDIDATE, range(30)), one(CHAMPION, range(20)), [], CONFIG)
    assert decision.verdict is Promotion.NOT_BETTER and "worse" in decision.reason


def test_gains_on_several_suites_are_pooled() -> None:
    def sat(checkpoint: str, wrong: range) -> list[Score]:
        return [make_score(suite, checkpoint, wrong=wrong) for suite in ("binary-1", "binary-2", "syllables-1")]

    assert decide(one(CANDIDATE, range(17)), one(CHAMPION, range(20)), [], CONFIG).verdict is Promotion.NOT_ENOUGH
    pooled = decide(sat(CANDIDATE, range(17)), sat(CHAMPION, range(20)), [], CONFIG)
    assert pooled.verdict is Promotion.PROMOTE
    assert [test.suite for test in pooled.by_suite] == ["binary-1", "binary-2", "syllables-1"]
    assert pooled.test.better == 9


def test_gain_on_one_suite_does_not_pay_for_unlearning_another() -> None:
    candidate = one(CANDIDATE, range(12)) + one(CANDIDATE, range(0), "binary-2")
    champion = one(CHAMPION, range(0)) + one(CHAMPION, range(50), "binary-2")
    decision = decide(candidate, champion, champion, CONFIG)
    assert decision.test.effect > 0.25
    assert decision.verdict is Promotion.BLOCKED
    assert "12 items newly wrong" in decision.reason and "binary-1 by 15 points" in decision.reason
    lost = committed_suites()["binary-1"].items[:12]
    assert f"newly wrong: {', '.join(item.id for item in lost[:10])} and 2 more" in decision.reason
    assert {guard.suite: guard.worse for guard in decision.guards} == {"binary-1": 12, "binary-2": 0}


def test_erosion_is_measured_against_the_best_ever_deployed_not_the_last() -> None:
    best = one("checkpoint-50-20261120-2130", range(0)) + one(CHAMPION, range(7))
    candidate = one(CANDIDATE, range(13)) + one(CANDIDATE, range(0), "binary-2")
    champion = one(CHAMPION, range(7)) + one(CHAMPION, range(50), "binary-2")
    assert decide(candidate, champion, one(CHAMPION, range(7)), CONFIG).verdict is Promotion.PROMOTE
    assert decide(candidate, champion, best, CONFIG).verdict is Promotion.BLOCKED


def test_suite_that_the_candidate_has_not_sat_keeps_it_back() -> None:
    champion = one(CHAMPION, range(50)) + one(CHAMPION, range(0), "binary-2")
    decision = decide(one(CANDIDATE, range(0)), champion, champion, CONFIG)
    assert decision.verdict is Promotion.UNMEASURED and "binary-2" in decision.reason


def test_infinite_training_loss_blocks() -> None:
    decision = decide(one(CANDIDATE, range(0)), one(BASE, range(N)), [], CONFIG, train_loss=float("inf"))
    assert decision.verdict is Promotion.BLOCKED and "inf" in decision.reason


def test_no_shared_question_is_not_enough() -> None:
    decision = decide(one(CANDIDATE, range(0)), [], [], CONFIG)
    assert decision.verdict is Promotion.NOT_ENOUGH

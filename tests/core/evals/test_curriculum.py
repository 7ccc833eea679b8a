"""The curriculum as tables of histories: each row is what one checkpoint after another got wrong, of 100 items."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from core import records
from core.config import SkillConfig
from core.errors import InvalidConfig
from core.evals.curriculum import Curriculum, curriculum, nothing_to_learn, passes, suites_wanted
from core.evals.score import Score
from core.evals.statistics import wilson

ONLY_SYLLABLES = {"syllables": SkillConfig()}
BOTH = {"binary": SkillConfig(), "syllables": SkillConfig()}
Sitting = dict[int, int]  # level -> wrong items of 100

OK, BARELY, FAIL, LOST = 2, 12, 13, 40


def _history(make_score: Any, sittings: list[Sitting], skill: str = "syllables") -> tuple[list[Score], list[str]]:
    scores, order = [], []
    for place, sitting in enumerate(sittings):
        step = 50 * (place + 1)
        order.append(f"checkpoint-{step}-20261120-2130")
        for level, wrong in sitting.items():
            scores.append(make_score(f"{skill}-{level}", step, wrong=range(wrong), at=f"{place // 60:02d}:{place % 60:02d}:00"))
    return scores, order


def _after(make_score: Any, sittings: list[Sitting], **config: Any) -> Curriculum:
    scores, order = _history(make_score, sittings)
    return curriculum("tiny", scores, order, {"syllables": SkillConfig(**config)})


@pytest.mark.parametrize(
    ("sittings", "mastered", "training"),
    [
        ([], 0, 1),
        ([{1: LOST}], 0, 1),
        ([{1: OK}, {1: OK}], 0, 1),
        ([{1: OK}, {1: OK}, {1: OK}], 1, 2),
        ([{1: BARELY}] * 3, 1, 2),
        ([{1: FAIL}] * 10, 0, 1),
        ([{1: OK}, {1: OK}, {1: FAIL}, {1: OK}, {1: OK}], 0, 1),
        ([{1: OK}, {1: OK}, {1: FAIL}, {1: OK}, {1: OK}, {1: OK}], 1, 2),
        # a checkpoint that was never examined on the level does not break the row
        ([{1: OK}, {}, {1: OK}, {2: FAIL}, {1: OK}], 1, 2),
        # at most one level per checkpoint, though both rows are complete
        ([{1: OK, 2: OK}] * 3, 1, 2),
        ([{1: OK, 2: OK}] * 4, 2, 3),
        ([{1: OK, 2: OK, 3: OK}] * 5, 3, 3),
        # a complete row of level 2 waits for level 1, then for its next own evaluation
        ([{2: OK}] * 5, 0, 1),
        ([{2: OK}] * 3 + [{1: OK}] * 3, 1, 2),
        ([{2: OK}] * 3 + [{1: OK}] * 3 + [{2: OK}], 2, 3),
        ([{2: OK}] * 3 + [{1: OK}] * 3 + [{2: FAIL}], 1, 2),
        ([{2: OK}] * 3 + [{1: OK}] * 4, 1, 2),
        # mastered levels go on being examined; a failure that is not "worse" takes nothing away
        ([{1: BARELY}] * 3 + [{1: FAIL}] * 5, 1, 2),
        ([{1: OK}] * 3 + [{1: OK + 9}] * 5, 1, 2),
        # worse: ten points and the exact test
        ([{1: OK}] * 3 + [{1: OK + 10}], 0, 1),
        ([{1: OK}] * 3 + [{1: LOST}], 0, 1),
        ([{1: OK}] * 3 + [{1: LOST}, {1: OK}, {1: OK}], 0, 1),
        ([{1: OK}] * 3 + [{1: LOST}] + [{1: OK}] * 3, 1, 2),
        # passing and yet worse than when it was mastered: lost, and this evaluation starts no new row
        ([{1: 0}] * 3 + [{1: BARELY}, {1: OK}, {1: OK}], 0, 1),
        # the levels above a lost one go with it and come back one by one
        ([{1: OK, 2: OK}] * 4 + [{1: LOST, 2: OK}], 0, 1),
        ([{1: OK, 2: OK}] * 4 + [{1: LOST, 2: OK}] + [{1: OK, 2: OK}] * 3, 1, 2),
        ([{1: OK, 2: OK}] * 4 + [{1: LOST, 2: OK}] + [{1: OK, 2: OK}] * 4, 2, 3),
        ([{1: OK, 2: OK}] * 4 + [{1: LOST}] + [{1: OK}] * 3 + [{2: OK}] * 2, 1, 2),
        ([{1: OK, 2: OK}] * 4 + [{1: LOST}] + [{1: OK}] * 3 + [{2: OK}] * 3, 2, 3),
        ([{1: OK, 2: OK}] * 4 + [{1: OK, 2: LOST}], 1, 2),
        # levels beyond the target count as mastered but are not trained
        ([{1: OK, 2: OK, 3: OK, 4: OK}] * 6, 4, 3),
    ],
)
def test_history_gives_mastered_and_training_level(
    make_score: Any, sittings: list[Sitting], mastered: int, training: int
) -> None:
    found = _after(make_score, sittings).skills["syllables"]
    assert (found.mastered_level, found.training_level) == (mastered, training)


def test_three_scores_of_one_checkpoint_are_one_evaluation(make_score: Any) -> None:
    scores = [make_score("syllables-1", 50, wrong=range(OK), at=f"21:3{minute}:00") for minute in range(5)]
    found = curriculum("tiny", scores, ["checkpoint-50-20261120-2130"], ONLY_SYLLABLES).skills["syllables"]
    assert (found.mastered_level, found.levels[0].passes) == (0, 1)


def test_last_finished_score_of_a_checkpoint_is_the_one_read(make_score: Any) -> None:
    scores, order = _history(make_score, [{1: OK}, {1: OK}, {1: OK}])
    again = make_score("syllables-1", 150, wrong=range(LOST), at="23:00:00")
    assert curriculum("tiny", [again, *scores], order, ONLY_SYLLABLES).skills["syllables"].mastered_level == 0


def test_unanswered_items_take_no_level_away(make_score: Any) -> None:
    scores, order = _history(make_score, [{1: 0}] * 3)
    order.append("checkpoint-900-20261120-2130")
    few_errors = make_score("syllables-1", 900, wrong=range(9), failed=range(9, 14))
    assert curriculum("tiny", [*scores, few_errors], order, ONLY_SYLLABLES).skills["syllables"].mastered_level == 1
    worse = make_score("syllables-1", 900, wrong=range(10), failed=range(95, 100))
    assert curriculum("tiny", [*scores, worse], order, ONLY_SYLLABLES).skills["syllables"].mastered_level == 0


def test_level_is_compared_item_by_item(make_score: Any) -> None:
    scores, order = _history(make_score, [{1: 12}] * 3)
    order.append("checkpoint-900-20261120-2130")
    other_items = make_score("syllables-1", 900, wrong=range(12, 34))
    found = curriculum("tiny", iter([*scores, other_items]), order, ONLY_SYLLABLES).skills["syllables"]
    assert found.mastered_level == 1, "ten points lost, but 12 items better and 22 worse: p is 0.061"


def test_order_of_the_scores_does_not_matter(make_score: Any) -> None:
    scores, order = _history(make_score, [{1: OK, 2: FAIL}, {1: OK}, {1: OK, 2: OK}, {2: OK}, {1: LOST}, {1: OK, 2: OK}])
    expected = curriculum("tiny", scores, order, ONLY_SYLLABLES)
    rng = random.Random(3)
    for _ in range(20):
        rng.shuffle(scores)
        assert curriculum("tiny", scores, order, ONLY_SYLLABLES) == expected


def test_order_of_the_checkpoints_is_the_given_one(make_score: Any) -> None:
    scores, order = _history(make_score, [{1: OK}, {1: FAIL}, {1: OK}, {1: OK}])
    assert curriculum("tiny", scores, order, ONLY_SYLLABLES).skills["syllables"].mastered_level == 0
    moved = [order[1], order[0], *order[2:]]
    assert curriculum("tiny", scores, moved, ONLY_SYLLABLES).skills["syllables"].mastered_level == 1


def test_checkpoints_outside_the_order_and_other_models_are_left_out(make_score: Any) -> None:
    scores, order = _history(make_score, [{1: OK}] * 3)
    assert curriculum("tiny", scores, order[:2], ONLY_SYLLABLES).skills["syllables"].mastered_level == 0
    foreign = [msgspec.structs.replace(score, model="other") for score in scores]
    assert curriculum("tiny", foreign, order, ONLY_SYLLABLES).skills["syllables"].mastered_level == 0
    assert curriculum("other", foreign, order, ONLY_SYLLABLES).skills["syllables"].mastered_level == 1


@pytest.mark.parametrize("fields", [{"void": True}, {"kind": "practice"}, {"kind": "wide"}])
def test_void_practice_and_wide_scores_are_never_read(make_score: Any, fields: dict[str, Any]) -> None:
    scores, order = _history(make_score, [{1: OK}] * 3)
    scores[1] = msgspec.structs.replace(scores[1], **fields)
    assert curriculum("tiny", scores, order, ONLY_SYLLABLES).skills["syllables"].levels[0].passes == 2


def test_level_shows_its_row_and_its_last_five_evaluations(make_score: Any) -> None:
    found = _after(make_score, [{1: FAIL}, {1: OK}, {1: OK}, {1: OK}, {1: 3}, {1: 4}]).skills["syllables"].levels
    assert [level.level for level in found] == [1, 2, 3, 4, 5]
    assert (found[0].passes, found[0].mastered_at) == (5, "2026-11-20T00:03:00.123Z")
    assert [evaluation.correct for evaluation in found[0].last] == [98, 98, 98, 97, 96]
    assert (found[0].last[0].checkpoint, found[0].last[0].n) == ("checkpoint-100-20261120-2130", 100)
    assert found[0].last[0].low == pytest.approx(0.930, abs=1e-3)
    assert (found[1].passes, found[1].mastered_at, found[1].last) == (0, None, ())


def test_evaluation_passes_from_forty_six_of_fifty(make_score: Any) -> None:
    score = make_score("syllables-1", 50)
    for n, correct, is_passed in ((50, 46, True), (50, 45, False), (100, 88, True), (100, 87, False)):
        low, high = wilson(correct, n)
        assert passes(msgspec.structs.replace(score, n=n, correct=correct, low=low, high=high)) is is_passed


def test_skills_advance_apart(make_score: Any) -> None:
    binary, order = _history(make_score, [{1: 0}] * 3, "binary")
    syllables, _ = _history(make_score, [{1: FAIL}] * 3)
    found = curriculum("tiny", binary + syllables, order, BOTH)
    assert {name: skill.mastered_level for name, skill in found.skills.items()} == {"binary": 1, "syllables": 0}


def test_nothing_is_left_to_learn_when_every_enabled_skill_has_its_target(make_score: Any) -> None:
    binary, order = _history(make_score, [{1: 0}] * 4, "binary")
    syllables, _ = _history(make_score, [{1: 0, 2: 0}] * 4)
    reached = {"binary": SkillConfig(target_level=1), "syllables": SkillConfig(target_level=2)}
    rests = curriculum("tiny", binary + syllables, order, reached)
    assert nothing_to_learn(rests)
    assert rests.active_skill is None
    assert not nothing_to_learn(curriculum("tiny", binary, order, reached))
    assert nothing_to_learn(curriculum("tiny", binary, order, reached | {"syllables": SkillConfig(enabled=False)}))


def test_lost_level_gives_something_to_learn_again(make_score: Any) -> None:
    assert nothing_to_learn(_after(make_score, [{1: OK}] * 3, target_level=1))
    assert not nothing_to_learn(_after(make_score, [{1: OK}] * 3 + [{1: LOST}], target_level=1))


def test_checkpoint_is_probed_up_to_the_training_level_and_on_all_mastered_ones(make_score: Any) -> None:
    assert suites_wanted(curriculum("tiny", [], [], BOTH)) == ["binary-1", "syllables-1"]
    binary, order = _history(make_score, [{1: 0}] * 3, "binary")
    assert suites_wanted(curriculum("tiny", binary, order, BOTH)) == ["binary-1", "binary-2", "syllables-1"]
    assert suites_wanted(_after(make_score, [{1: OK, 2: OK}] * 4, target_level=2)) == ["syllables-1", "syllables-2"]
    assert suites_wanted(_after(make_score, [{1: OK, 2: OK}] * 4, target_level=1)) == ["syllables-1", "syllables-2"]
    assert suites_wanted(curriculum("tiny", [], [], {"binary": SkillConfig(enabled=False)})) == []


def test_active_skill_is_the_unfinished_one_of_highest_priority_then_least_progress(make_score: Any) -> None:
    binary, order = _history(make_score, [{1: 0}] * 3, "binary")
    assert curriculum("tiny", [], [], BOTH).active_skill == "binary"
    assert curriculum("tiny", binary, order, BOTH).active_skill == "syllables"
    preferred = BOTH | {"binary": SkillConfig(priority=2)}
    assert curriculum("tiny", binary, order, preferred).active_skill == "binary"
    finished = BOTH | {"binary": SkillConfig(priority=2, target_level=1)}
    assert curriculum("tiny", binary, order, finished).active_skill == "syllables"


def test_active_skill_chosen_by_a_person_stays() -> None:
    assert curriculum("tiny", [], [], BOTH, active_skill="syllables").active_skill == "syllables"


@pytest.mark.parametrize(
    ("skills", "active"),
    [({"juggling": SkillConfig()}, None), ({"binary": SkillConfig(target_level=8)}, None), (ONLY_SYLLABLES, "binary")],
)
def test_unknown_skill_target_or_active_skill_is_refused(skills: dict[str, SkillConfig], active: str | None) -> None:
    with pytest.raises(InvalidConfig):
        curriculum("tiny", [], [], skills, active_skill=active)


def test_record_has_the_shape_of_the_contract(make_score: Any) -> None:
    state = _after(make_score, [{1: OK}] * 3)
    plain = records.to_builtins(state)
    assert set(plain) == {"schema", "model", "active_skill", "skills"}
    assert plain["schema"] == "weaver.curriculum/1"
    skill = plain["skills"]["syllables"]
    assert set(skill) == {"training_level", "mastered_level", "target_level", "levels"}
    assert set(skill["levels"][0]) == {"level", "passes", "mastered_at", "last"}
    assert set(skill["levels"][0]["last"][0]) == {"checkpoint", "n", "correct", "low"}
    assert records.decode(Curriculum, records.encode(state), "here") == state

"""The contract that every skill keeps at every level: a new skill in the registry is tested here without a new line."""

from __future__ import annotations

import random
import statistics

import pytest

from core.errors import NotFound
from core.evals.statistics import wilson
from core.skills.registry import SKILLS
from core.skills.skill import (
    HELD_OUT_ONE_IN,
    Problem,
    Skill,
    UnknownProblem,
    generate,
    held_out,
    is_held_out,
    level_of,
)
from core.text.digest import folded

SEED = 7
LEVELS = [
    pytest.param(skill, level.level, id=f"{skill.name}-{level.level}") for skill in SKILLS.values() for level in skill.levels
]
STEPS = [
    pytest.param(skill, below.level, above.level, id=f"{skill.name}-{below.level}-{above.level}")
    for skill in SKILLS.values()
    for below, above in zip(skill.levels, skill.levels[1:], strict=False)
]
# A conversation is 20-40 tokens where a character is one token; only the puzzle over the lexicon is longer.
LONGEST = {("syllables", 5): (170, 60)}


def _sample(skill: Skill, level: int, count: int = 400) -> list[Problem]:
    return generate(skill, level, count, SEED)


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_same_seed_gives_the_same_problems_and_another_seed_others(skill: Skill, level: int) -> None:
    first = generate(skill, level, 200, seed=1)
    assert len(first) == 200
    assert first == generate(skill, level, 200, seed=1)
    assert first[:50] == generate(skill, level, 50, seed=1)
    assert first != generate(skill, level, 200, seed=2)
    assert all(problem.skill == skill.name and problem.level == level for problem in first)


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_golden_answer_grades_right(skill: Skill, level: int) -> None:
    for problem in [*_sample(skill, level), *held_out(skill, level, 100)]:
        assert problem.answer == skill.golden(problem.prompt, level)
        assert skill.grade(problem.prompt, level, problem.answer), problem
        assert skill.grade(problem.prompt, level, f"  {problem.answer}\n"), problem
        assert skill.grade(problem.prompt, level, f"<think>\n\n</think>\n\n{problem.answer}"), problem


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_answer_that_is_no_answer_grades_wrong(skill: Skill, level: int) -> None:
    for problem in _sample(skill, level, 100):
        for answer in ("", " ", "\n\t", "?", "null", "[]", '"', "\x00", "-", "_", problem.prompt, "<think>"):
            assert not skill.grade(problem.prompt, level, answer), (problem, answer)
        for answer in (f"{problem.answer} {problem.answer}", f"the answer is {problem.answer}", problem.answer + "!"):
            assert not skill.grade(problem.prompt, level, answer), (problem, answer)
        assert not skill.grade(problem.prompt, level, f"<think>{problem.answer}"), problem
        assert not skill.grade(problem.prompt, level, f"<think>{problem.answer}</think>"), problem


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_one_changed_character_grades_wrong(skill: Skill, level: int) -> None:
    rng = random.Random(SEED)
    for problem in _sample(skill, level, 200):
        place = rng.choice([i for i, character in enumerate(problem.answer) if character.isalnum()])
        other = rng.choice([c for c in ("01" if problem.answer[place] in "01" else "aeiou") if c != problem.answer[place]])
        changed = problem.answer[:place] + other + problem.answer[place + 1 :]
        assert not skill.grade(problem.prompt, level, changed), (problem, changed)
        shortened = problem.answer[:place] + problem.answer[place + 1 :]
        if problem.answer[place] != "0":
            assert not skill.grade(problem.prompt, level, shortened), (problem, shortened)


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_answer_of_another_problem_is_right_no_oftener_than_chance(skill: Skill, level: int) -> None:
    problems = _sample(skill, level, 1_500)
    counts: dict[str, int] = {}
    for problem in problems:
        counts[problem.answer] = counts.get(problem.answer, 0) + 1
    commonest = sorted(counts, key=lambda answer: -counts[answer])[:5]
    allowed = wilson(level_of(skill, level).chance * len(problems), len(problems))[1]
    for answer in commonest:
        right = sum(skill.grade(problem.prompt, level, answer) for problem in problems)
        assert right / len(problems) <= allowed, (answer, right)


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_generated_problem_is_never_held_out(skill: Skill, level: int) -> None:
    exam = {problem.digest for other in skill.levels for problem in held_out(skill, other.level, 100)}
    for problem in _sample(skill, level, 3_000):
        assert not is_held_out(skill, problem.prompt), problem
        assert problem.digest not in exam, problem


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_held_out_problems_are_fifty_distinct_ones_and_always_the_same(skill: Skill, level: int) -> None:
    exam = held_out(skill, level, 100)
    assert 50 <= len({problem.digest for problem in exam}) == len(exam) <= 100
    assert len({problem.id for problem in exam}) == len(exam)
    assert all(is_held_out(skill, problem.prompt) for problem in exam)
    assert exam == held_out(skill, level, 100)
    assert [problem.digest for problem in exam] == sorted(problem.digest for problem in exam)


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_about_a_tenth_is_held_out(skill: Skill, level: int) -> None:
    rng = random.Random(SEED)
    drawn = {problem.prompt: problem for problem in (skill.draw(level, rng) for _ in range(4_000))}
    ratios = [skill.held_out_one_in(prompt) for prompt in drawn]
    assert all(HELD_OUT_ONE_IN % ratio == 0 for ratio in ratios)
    expected = sum(1 / ratio for ratio in ratios)
    found = sum(is_held_out(skill, prompt) for prompt in drawn)
    assert abs(found - expected) <= 4 * expected**0.5, (found, expected)


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_prompt_and_answer_are_short_and_stay_as_they_are_when_folded(skill: Skill, level: int) -> None:
    longest_prompt, longest_answer = LONGEST.get((skill.name, level), (28, 11))
    for problem in [*_sample(skill, level, 2_000), *held_out(skill, level, 100)]:
        assert 0 < len(problem.prompt) <= longest_prompt, problem
        assert 0 < len(problem.answer) <= longest_answer, problem
        assert folded(problem.prompt) == problem.prompt
        assert folded(problem.answer) == problem.answer


@pytest.mark.parametrize(("skill", "below", "above"), STEPS)
def test_next_level_poses_other_problems(skill: Skill, below: int, above: int) -> None:
    easier = {problem.prompt for problem in _sample(skill, below, 2_000)}
    harder = [problem.prompt for problem in _sample(skill, above, 2_000)]
    shared = sum(prompt in easier for prompt in harder) / len(harder)
    assert shared <= 0.75, f"{shared:.0%} of level {above} are problems of level {below}"
    lengths = [statistics.mean(map(len, easier)), statistics.mean(map(len, harder))]
    assert shared == 0 or lengths[1] > lengths[0]


@pytest.mark.parametrize(("skill", "below", "above"), STEPS)
def test_text_posed_at_two_levels_has_one_answer(skill: Skill, below: int, above: int) -> None:
    for problem in _sample(skill, below, 500):
        try:
            assert skill.golden(problem.prompt, above) == problem.answer
        except UnknownProblem:
            continue


@pytest.mark.parametrize("skill", SKILLS.values(), ids=lambda skill: skill.name)
def test_listed_level_lists_all_that_is_drawn(skill: Skill) -> None:
    for level in skill.levels:
        listed = skill.all_problems(level.level)
        if listed is None:
            continue
        everything = list(listed)
        assert len(set(everything)) == len(everything)
        rng = random.Random(SEED)
        assert {skill.draw(level.level, rng) for _ in range(2_000)} <= set(everything)


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_problem_that_the_level_does_not_pose_is_refused_with_an_example(skill: Skill, level: int) -> None:
    for prompt in ("", "What is the capital of France?", "1 + ", "join", "order 1 ka", "decimal x to binary"):
        with pytest.raises(UnknownProblem) as error:
            skill.grade(prompt, level, "1")
        example = str(error.value.facts["example"])
        assert skill.golden(example, level), "the example in the error is itself a problem of this level"


@pytest.mark.parametrize("skill", SKILLS.values(), ids=lambda skill: skill.name)
def test_unknown_level_is_refused_with_the_known_ones(skill: Skill) -> None:
    prompt = _sample(skill, 1, 1)[0].prompt
    unknown = len(skill.levels) + 1
    for call in (
        lambda: generate(skill, unknown, 1, 0),
        lambda: held_out(skill, 0, 1),
        lambda: skill.draw(unknown, random.Random(0)),
        lambda: skill.all_problems(unknown),
        lambda: skill.golden(prompt, unknown),
        lambda: skill.grade(prompt, -1, "1"),
    ):
        with pytest.raises(NotFound, match=r"\[1, 2, 3"):
            call()


@pytest.mark.parametrize("skill", SKILLS.values(), ids=lambda skill: skill.name)
def test_levels_are_numbered_from_one_and_described(skill: Skill) -> None:
    assert [level.level for level in skill.levels] == list(range(1, len(skill.levels) + 1))
    assert len({level.title for level in skill.levels}) == len(skill.levels)
    assert all(0 < level.chance < 0.5 for level in skill.levels)

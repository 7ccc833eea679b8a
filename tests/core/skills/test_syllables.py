"""Syllables: answers written down by hand, what the grader takes and refuses, and the lexicon's order."""

from __future__ import annotations

import json

import pytest

from core.skills.lexicon import ENTRIES, by_hint
from core.skills.skill import UnknownProblem, generate
from core.skills.syllables import INVENTORY, Syllables

SYLLABLES = Syllables()
PUZZLE = "puzzle as json: na ti ba ger na | yellow fruit | striped cat"
BY_HAND = [
    (1, "join ka lo mi", "kalomi"),
    (1, "join ka ka", "kaka"),
    (2, "reverse ka lo mi", "mi lo ka"),
    (3, "missing kalomi: ka _ mi", "lo"),
    (3, "missing kalomi: _ lo mi", "ka"),
    (3, "missing kalomitu: ka lo mi _", "tu"),
    (4, "order 2 lo 1 ka 3 mi", "kalomi"),
    (4, "order 4 tu 2 lo 1 ka 3 mi", "kalomitu"),
    (5, PUZZLE, '["banana","tiger"]'),
]


@pytest.mark.parametrize(("level", "prompt", "answer"), BY_HAND)
def test_answer_found_by_hand_is_the_golden_one(level: int, prompt: str, answer: str) -> None:
    assert SYLLABLES.golden(prompt, level) == answer
    assert SYLLABLES.grade(prompt, level, answer)


@pytest.mark.parametrize(
    ("level", "prompt", "answer"),
    [
        (1, "join ka lo mi", "Kalomi"),
        (2, "reverse ka lo mi", "mi  lo\tka"),
        (5, PUZZLE, '[ "Banana",\n "tiger" ]'),
    ],
)
def test_another_right_spelling_grades_right(level: int, prompt: str, answer: str) -> None:
    assert SYLLABLES.grade(prompt, level, answer)


@pytest.mark.parametrize(
    ("level", "prompt", "answer"),
    [
        (1, "join ka lo mi", "ka lo mi"),
        (2, "reverse ka lo mi", "ka lo mi"),
        (2, "reverse ka lo mi", "miloka"),
        (3, "missing kalomi: ka _ mi", "kalomi"),
        (4, "order 2 lo 1 ka 3 mi", "lokami"),
        (5, PUZZLE, '["tiger","banana"]'),
        (5, PUZZLE, '["banana","tiger","tiger"]'),
        (5, PUZZLE, "banana tiger"),
        (5, PUZZLE, '{"1": "banana", "2": "tiger"}'),
        (5, PUZZLE, '["banana", 7]'),
        (5, PUZZLE, '"banana tiger"'),
        (5, PUZZLE, "[" * 100_000),
    ],
)
def test_wrong_answer_grades_wrong(level: int, prompt: str, answer: str) -> None:
    assert not SYLLABLES.grade(prompt, level, answer)


@pytest.mark.parametrize(
    ("level", "prompt"),
    [
        (1, "join ka"),
        (1, "reverse ka lo"),
        (3, "missing kalomi: ka lo mi"),
        (3, "missing kalomi: _ _ mi"),
        (3, "missing kalomi: ka _ tu"),
        (3, "missing kalo: ka _ lo"),
        (4, "order 1 lo 1 ka 3 mi"),
        (4, "order 2 lo 3 ka 4 mi"),
        (5, "puzzle as json: na ti ba ger | yellow fruit | striped cat"),
        (5, "puzzle as json: na ti ba ger na | yellow fruit | no such hint"),
    ],
)
def test_problem_without_exactly_one_answer_is_refused(level: int, prompt: str) -> None:
    with pytest.raises(UnknownProblem):
        SYLLABLES.grade(prompt, level, "lo")


def test_inventory_is_of_distinct_pairs_of_consonant_and_vowel() -> None:
    assert 60 <= len(INVENTORY) <= 100
    assert len(set(INVENTORY)) == len(INVENTORY)
    assert all(len(syllable) == 2 and syllable[0] not in "aeiou" and syllable[1] in "aeiou" for syllable in INVENTORY)


def test_level_asks_what_its_title_says() -> None:
    drawn = {level.level: [p.prompt for p in generate(SYLLABLES, level.level, 500, 3)] for level in SYLLABLES.levels}
    starts = {level: {prompt.split(" ")[0] for prompt in prompts} for level, prompts in drawn.items()}
    assert starts == {1: {"join"}, 2: {"reverse"}, 3: {"missing"}, 4: {"order"}, 5: {"puzzle"}}
    for level, counts in ((1, {3, 4}), (2, {3, 4}), (3, {5, 6}), (4, {7, 9})):
        assert {len(prompt.split(" ")) for prompt in drawn[level]} == counts
    assert len({prompt.split(" ").index("_") for prompt in drawn[3]}) == 4
    assert {prompt.count("|") for prompt in drawn[5]} == {2, 3}


def test_bank_of_a_puzzle_is_shuffled() -> None:
    given = 0
    for problem in generate(SYLLABLES, 5, 200, 3):
        bank = problem.prompt.partition(": ")[2].partition(" | ")[0].split()
        given += "".join(bank) == "".join(json.loads(problem.answer))
    assert given < 20


def test_lexicon_names_every_word_by_one_hint() -> None:
    assert len(ENTRIES) >= 300
    assert len({entry.word for entry in ENTRIES}) == len({entry.hint for entry in ENTRIES}) == len(ENTRIES)
    for entry in ENTRIES:
        assert 2 <= len(entry.syllables) <= 5, entry
        assert entry.word.isascii() and entry.word.isalpha() and entry.word.islower(), entry
        assert all(part.isascii() and part.isalpha() and part.islower() for part in entry.hint.split(" ")), entry
        assert 1 <= len(entry.hint.split(" ")) <= 6, entry
        assert entry.word not in entry.hint, entry
        assert by_hint(entry.hint) == entry
    assert by_hint("no such hint") is None

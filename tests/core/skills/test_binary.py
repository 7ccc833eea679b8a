"""Binary: answers written down by hand, and what the grader takes and refuses."""

from __future__ import annotations

import random

import pytest

from core.skills.binary import Binary
from core.skills.skill import UnknownProblem, generate

BINARY = Binary()
BY_HAND = [
    (1, "1010 xor 0110", "1100"),
    (1, "1010 and 0110", "0010"),
    (1, "1010 or 0110", "1110"),
    (2, "101 + 011", "1000"),
    (2, "0001 + 0001", "00010"),
    (3, "101101 + 010011", "1000000"),
    (4, "11111111 + 00000001", "100000000"),
    (5, "10000000 - 00000001", "01111111"),
    (5, "00000000 + 00000000", "000000000"),
    (6, "101 + 11", "1000"),
    (6, "10000 - 1", "01111"),
    (6, "①⓪① + ①①", "1000"),
    (6, "①⓪① - 11", "010"),
    (7, "decimal 37 to binary", "100101"),
    (7, "decimal 0 to binary", "0"),
    (7, "1011 * 110", "1000010"),
]


@pytest.mark.parametrize(("level", "prompt", "answer"), BY_HAND)
def test_answer_computed_by_hand_is_the_golden_one(level: int, prompt: str, answer: str) -> None:
    assert BINARY.golden(prompt, level) == answer


@pytest.mark.parametrize(
    ("level", "prompt", "answer"),
    [
        (6, "①⓪① + ①①", "①⓪⓪⓪"),
        (6, "101 + 11", "①⓪⓪0"),
        (2, "001 + 001", "10"),
        (2, "001 + 001", "0000000010"),
        (1, "1010 xor 0110", "①①⓪⓪"),
        (1, "①⓪①⓪ xor ⓪①①⓪", "1100"),
    ],
)
def test_another_right_notation_grades_right(level: int, prompt: str, answer: str) -> None:
    assert BINARY.grade(prompt, level, answer)


@pytest.mark.parametrize(
    ("level", "prompt", "answer"),
    [
        (1, "1010 and 0110", "10"),  # four bits in, four bits out
        (2, "001 + 001", "2"),
        (2, "001 + 001", "0b10"),
        (2, "001 + 001", "+10"),
        (2, "001 + 001", "1_0"),
        (2, "001 + 001", "1 0"),
        (2, "001 + 001", "٠١٠"),  # digits to int(), not to us
        (7, "decimal 10 to binary", "10"),
    ],
)
def test_wrong_notation_grades_wrong(level: int, prompt: str, answer: str) -> None:
    assert not BINARY.grade(prompt, level, answer)


@pytest.mark.parametrize(
    ("level", "prompt"),
    [
        (1, "101 xor 0110"),
        (1, "1010 + 0110"),
        (2, "10101 + 01010"),
        (2, "101 - 011"),
        (3, "101 + 011"),
        (4, "1010 + 101"),
        (5, "00000001 - 10000000"),
        (6, "1 - 11"),
        (7, "decimal 037 to binary"),
    ],
)
def test_problem_of_another_level_is_refused(level: int, prompt: str) -> None:
    with pytest.raises(UnknownProblem):
        BINARY.grade(prompt, level, "0")


def test_level_asks_what_its_title_says() -> None:
    drawn = {level.level: [p.prompt.split(" ") for p in generate(BINARY, level.level, 2_000, 3)] for level in BINARY.levels}
    assert {words[1] for words in drawn[1]} == {"and", "or", "xor"}
    for level, widths in ((2, {3, 4}), (3, {4, 5, 6}), (4, {4, 5, 6, 7, 8}), (5, {8})):
        assert {len(words[0]) for words in drawn[level]} == {len(words[2]) for words in drawn[level]} == widths
    assert {words[1] for words in drawn[5]} == {words[1] for words in drawn[6]} == {"+", "-"}
    assert any(len(words[0]) != len(words[2]) for words in drawn[6])
    assert {"①" in words[0] for words in drawn[6]} == {True, False}
    assert {words[0] == "decimal" for words in drawn[7]} == {True, False}


def test_small_sum_is_held_out_alike_at_every_level_that_poses_it() -> None:
    rng = random.Random(5)
    small = [p.prompt for p in (BINARY.draw(4, rng) for _ in range(500)) if len(p.prompt) == len("0000 + 0000")]
    assert small
    assert {BINARY.held_out_one_in(prompt) for prompt in small} == {5}
    assert BINARY.held_out_one_in("00000 + 00000") == BINARY.held_out_one_in("1010 xor 0110") == 10

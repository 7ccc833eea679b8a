"""The verdict on a file: what is forgiven, what is too much, and the numbers that are kept."""

from __future__ import annotations

import statistics

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.jobs.job import Reason
from core.jobs.tally import Tally


def tally(accepted: int = 0, **refused: int) -> Tally:
    made = Tally()
    for _ in range(accepted):
        made.accept(10, 10)
    for code, lines in refused.items():
        for line in range(lines):
            made.refuse(line + 1, Reason(code=code, message=f"because {code}"))
    return made


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (tally(95, not_json=5), None),
        (tally(94, not_json=6), "not_json"),
        (tally(94, not_json=3, bad_role=3), "bad_role"),
        (tally(94, not_json=4, bad_role=2), "not_json"),
        (tally(1, over_length=99), None),
        (tally(1, eval_leak=50, over_length=49), None),
        (tally(1, duplicate=99), None),
        (tally(0, over_length=5), "over_length"),
        (tally(0, eval_leak=5), "eval_leak"),
        (tally(), "empty_file"),
        (tally(1), None),
        (tally(10, not_json=1), "not_json"),
    ],
)
def test_share_of_refused_lines_decides_and_some_codes_are_forgiven(made: Tally, code: str | None) -> None:
    found = made.verdict(0.05)
    assert (found.code if found else None) == code


def test_rejection_says_how_many_why_and_where_the_first_is() -> None:
    made = tally(accepted=8)
    made.refuse(9, Reason(code="bad_role", message="message 1 has the role 'bot'"))
    made.refuse(10, Reason(code="not_json", message="no"))
    made.refuse(11, Reason(code="bad_role", message="another"))
    found = made.verdict(0.05)
    assert found is not None
    numbers = ("3 of 11 lines", "27.3%", "5%", "bad_role 2", "not_json 1")
    assert all(part in found.message for part in (*numbers, "line 9: message 1 has the role 'bot'", "quarantine.jsonl"))


def test_file_of_blank_lines_is_empty_and_says_so() -> None:
    found = Tally(blank=7).verdict(0.05)
    assert found is not None and found.code == "empty_file" and "7 blank lines" in found.message


def test_verdict_on_the_whole_file_comes_before_the_share() -> None:
    reason = Reason(code="preference_data", message="no")
    assert Tally(refusal=reason, rejected=3).verdict(0.05) == reason


@given(st.lists(st.integers(1, 50), min_size=1))
def test_token_lengths_are_those_of_the_lines(lengths: list[int]) -> None:
    made = Tally()
    for length in lengths:
        made.accept(length, length)
    found = made.token_counts()
    assert found is not None
    assert (found.min, found.max, found.total) == (min(lengths), max(lengths), sum(lengths))
    assert found.median == statistics.median_low(lengths)
    assert found.p95 in lengths and sum(length <= found.p95 for length in lengths) >= 0.95 * len(lengths)
    assert sum(length < found.p95 for length in lengths) < 0.95 * len(lengths)


def test_counts_always_add_up() -> None:
    counts = tally(5, not_json=2, duplicate=3, eval_leak=1).counts()
    assert (counts.dropped, counts.accepted, counts.rejected, counts.duplicate) == (11, 5, 3, 3)


def test_no_accepted_line_has_no_lengths() -> None:
    assert tally(0, not_json=1).token_counts() is None


def test_tally_survives_its_file() -> None:
    made = tally(3, not_json=2)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Tally) == made
    assert msgspec.json.decode(b'{"schema": "weaver.intake-cursor/1"}', type=Tally) == Tally()

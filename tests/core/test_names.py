"""Identifiers and the names made from what people and clocks say: always ids, never paths, sorted as meant."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from core.errors import UsageError
from core.names import (
    checkpoint_name,
    checkpoint_order,
    checkpoint_step,
    identifier,
    is_checkpoint,
    is_identifier,
    job_id,
    slug,
)

AT = datetime(2026, 11, 20, 21, 30, 5, 123999, tzinfo=UTC)
SHA = "9f2c01ab" + "0" * 56
HOSTILE = [
    "", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", "a\nb", "a\n", "\n", "a\0b", " ", "-", "--help", "a b", "ü",
    "\U0001f9f6", "\U0001f9f6" * 300, "x" * 5000, "\ud800", "\u202etxt.exe", "A", "CON", "$(reboot)", "*", "a;b", "%2e%2e%2f",
    "\u0660\u0661", "ﬁ", "a\\b",
]  # fmt: skip


@pytest.mark.parametrize("text", ["a", "0", "a-b_c.d", "checkpoint-0-20261120-2130", "x" * 100, "9.x"])
def test_identifier_is_given_back(text: str) -> None:
    assert is_identifier(text) and identifier(text, "job") == text


@pytest.mark.parametrize("text", [*HOSTILE, "a..b", ".hidden", "_x", "x" * 101])
def test_what_could_be_a_path_an_option_or_two_lines_is_no_identifier(text: str) -> None:
    assert not is_identifier(text)
    with pytest.raises(UsageError, match="is not a job id") as caught:
        identifier(text, "job")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("My File (2).jsonl", "my-file-2-jsonl"), ("Über-Größe", "uber-groe"), ("../../etc/passwd", "etc-passwd"),
        ("a\nb", "a-b"), ("\U0001f9f6\U0001f9f6", "drop"), ("", "drop"), ("---", "drop"), ("ﬁle", "file"), ("٣", "drop"),
        ("x" * 39 + "-y", "x" * 39), ("x" * 300, "x" * 40), ("\ud800a", "a"), (".jsonl", "jsonl"),
    ],
)  # fmt: skip
def test_slug_keeps_what_can_be_read(name: str, expected: str) -> None:
    assert slug(name) == expected


@seed(20261120)
@settings(max_examples=200, deadline=None, database=None)
@given(name=st.text(alphabet=st.characters(codec=None), max_size=60) | st.sampled_from(HOSTILE))
def test_every_name_makes_a_slug_and_a_job_id_that_are_ids(name: str) -> None:
    assert is_identifier(slug(name)) and len(slug(name)) <= 40
    job = job_id(AT, SHA, name)
    assert is_identifier(job) and job == f"20261120-213005123-9f2c01ab-{slug(name)}"


def test_jobs_sort_by_arrival_to_the_millisecond_also_across_time_zones() -> None:
    zones = [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))]
    times = [AT + timedelta(milliseconds=7 * n) for n in range(30)]
    jobs = [job_id(at.astimezone(zones[n % 3]), SHA, f"{99 - n}") for n, at in enumerate(times)]
    assert jobs == sorted(jobs)


# -- checkpoints ---------------------------------------------------------------------------------------------------------


def test_checkpoint_is_named_by_step_and_minute_in_utc() -> None:
    assert checkpoint_name(1500, AT) == "checkpoint-1500-20261120-2130"
    assert checkpoint_name(0, AT.astimezone(timezone(timedelta(hours=3)))) == "checkpoint-0-20261120-2130"


def test_name_that_is_taken_gets_the_first_free_number() -> None:
    base = "checkpoint-5-20261120-2130"
    taken: set[str] = set()
    for expected in (base, f"{base}-2", f"{base}-3"):
        name = checkpoint_name(5, AT, taken)
        assert name == expected and is_checkpoint(name) and is_identifier(name)
        taken.add(name)
    assert checkpoint_name(5, AT, {base, f"{base}-3"}) == f"{base}-2"
    assert checkpoint_name(6, AT, taken) == "checkpoint-6-20261120-2130"


def test_checkpoints_sort_by_step_as_a_number_then_by_time_then_by_their_number() -> None:
    ordered = [
        "checkpoint-0-20261121-0000", "checkpoint-9-20261121-0000", "checkpoint-200-20261120-2130",
        "checkpoint-1000-20261119-2130", "checkpoint-1000-20261120-0001", "checkpoint-1000-20261120-2130",
        "checkpoint-1000-20261120-2130-2", "checkpoint-1000-20261120-2130-10", "checkpoint-10000-20200101-0000",
    ]  # fmt: skip
    mixed = ordered[:]
    random.Random(7).shuffle(mixed)
    assert sorted(mixed, key=checkpoint_order) == ordered
    assert [checkpoint_step(name) for name in ordered] == [0, 9, 200, 1000, 1000, 1000, 1000, 1000, 10000]


@pytest.mark.parametrize(
    "name",
    [
        "", "checkpoint", "checkpoint-5", "checkpoint-5-20261120", "checkpoint-x-20261120-2130", "checkpoint-5-20261120-2130-",
        "checkpoint-5-20261120-2130-x", "checkpoint--5-20261120-2130", "checkpoint-5-20261120-2130\n",
        "xcheckpoint-5-20261120-2130", "checkpoint-5-20261120-2130/..", "checkpoint-5-2026112-2130",
        "checkpoint-\u0665-20261120-2130", "checkpoint-5-2026112\u0660-2130",
        f"checkpoint-{'9' * 5000}-20261120-2130", f"checkpoint-5-20261120-2130-{'9' * 5000}", "tmp-checkpoint-5", ".staging",
    ],
)  # fmt: skip
def test_anything_else_is_no_checkpoint_name(name: str) -> None:
    assert not is_checkpoint(name)
    with pytest.raises(UsageError, match="is not a checkpoint name"):
        checkpoint_order(name)

"""The order in which jobs are claimed, and how long one that failed waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.clock import iso
from core.jobs.job import Attempt
from core.jobs.order import claim_order, mark_skipped, next_in
from core.jobs.retrying import LONGEST_PAUSE_S, waits_s

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
A, B, C = (f"20261120-1159{second:02d}000-9f2c01ab-x" for second in (1, 2, 3))
LATER = "20261120-120100000-9f2c01ab-x"


def ended(outcome: str, at: datetime) -> Attempt:
    return Attempt(at=iso(at), event="finished", by="train_next", outcome=outcome)


def test_order_is_that_of_the_names_and_strangers_are_no_jobs(tmp_path: Path) -> None:
    for name in (C, A, ".hidden", "README.md", B):
        (tmp_path / name).mkdir()
    assert claim_order(tmp_path) == [A, B, C]
    assert next_in(tmp_path) == A
    assert next_in(tmp_path, but={A, B}) == C
    assert next_in(tmp_path / "not-there") is None


def test_skipped_job_comes_between_those_that_were_there_and_those_that_came_later(tmp_path: Path) -> None:
    for name in (A, B, C, LATER):
        (tmp_path / name).mkdir()
    (tmp_path / LATER).rmdir()
    mark_skipped(tmp_path, A)
    (tmp_path / LATER).mkdir()
    assert claim_order(tmp_path) == [B, C, A, LATER]
    mark_skipped(tmp_path, B)
    assert claim_order(tmp_path) == [C, A, LATER, B]
    assert next_in(tmp_path, but=[C]) == A
    mark_skipped(tmp_path, C)
    assert claim_order(tmp_path) == [A, LATER, B, C], "behind another that was skipped, too"


def test_folder_that_a_person_made_keeps_no_job_from_being_skipped(tmp_path: Path) -> None:
    for name in (A, B, "made-by-hand"):
        (tmp_path / name).mkdir()
    mark_skipped(tmp_path, A)
    assert claim_order(tmp_path) == [B, A, "made-by-hand"]


def test_job_that_is_skipped_alone_needs_no_mark(tmp_path: Path) -> None:
    mark_skipped(tmp_path, A)
    (tmp_path / A).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [A]


def test_marks_of_earlier_skips_and_of_jobs_that_left_go(tmp_path: Path) -> None:
    for name in (A, B):
        (tmp_path / name).mkdir()
    for job in (A, B, A):
        mark_skipped(tmp_path, job)
    assert len(list(tmp_path.glob(f".*~{A}"))) == 1
    (tmp_path / A).rmdir()
    (tmp_path / C).mkdir()
    mark_skipped(tmp_path, B)
    assert [path.name for path in tmp_path.glob(".*~*")] == [f".20261120-115903001~{B}"]


@pytest.mark.parametrize(("count", "pause"), [(1, 5), (2, 10), (3, 20), (9, LONGEST_PAUSE_S)])
def test_pause_doubles_with_each_failure_up_to_a_bound(count: int, pause: float) -> None:
    attempts = [ended("failed", NOON)] * count
    assert waits_s(attempts, NOON) == pause
    assert waits_s(attempts, NOON + timedelta(seconds=pause - 1)) == 1
    assert waits_s(attempts, NOON + timedelta(seconds=pause)) == 0


@pytest.mark.parametrize("outcome", ["stopped", "skipped", "trainer died", "completed"])
def test_what_is_no_failure_makes_no_job_wait(outcome: str) -> None:
    assert waits_s([ended("failed", NOON), ended(outcome, NOON)], NOON) == 0
    assert waits_s([], NOON) == 0


@pytest.mark.parametrize("years", [-10, 10])
def test_jump_of_the_clock_makes_no_job_wait_longer(years: int) -> None:
    assert waits_s([ended("failed", NOON)], NOON + timedelta(days=365 * years)) <= 5

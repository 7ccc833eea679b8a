"""Restart delays."""

from __future__ import annotations

import pytest

from weaver.backoff import LONGEST_S, delay_s


def test_delays_are_0_1_2_4_up_to_300() -> None:
    assert [delay_s(deaths, 0.0) for deaths in range(1, 13)] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_no_number_of_deaths_overflows() -> None:
    assert delay_s(10**9, 0.0) == LONGEST_S


@pytest.mark.parametrize("deaths", [2, 5, 20])
def test_jitter_adds_at_most_a_tenth(deaths: int) -> None:
    assert delay_s(deaths, 0.0) < delay_s(deaths, 0.999) < 1.1 * delay_s(deaths, 0.0)


def test_first_restart_is_at_once_whatever_the_jitter() -> None:
    assert delay_s(1, 0.999) == 0.0

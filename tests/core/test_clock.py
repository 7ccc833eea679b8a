"""Times as text, and the three clocks of this machine."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from core.clock import SystemClock, boot_id, compact, from_compact, from_iso, iso

ZONES = st.sampled_from([UTC, *(timezone(timedelta(hours=hours)) for hours in (-12, -3.5, 1, 5.75, 14))])
TIMES = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2999, 1, 1), timezones=ZONES)


def test_time_is_written_in_utc_with_milliseconds() -> None:
    at = datetime(2026, 11, 20, 21, 30, 5, 7999, tzinfo=UTC)
    assert iso(at) == "2026-11-20T21:30:05.007Z" == iso(at.astimezone(timezone(timedelta(hours=-5))))
    assert from_compact(compact(at)) == at.replace(microsecond=7000)
    assert compact(at) == "20261120-213005007" == compact(at.astimezone(timezone(timedelta(hours=13))))


@seed(20261120)
@settings(max_examples=100, deadline=None, database=None)
@given(at=TIMES, later=TIMES)
def test_written_time_is_read_back_to_the_millisecond_and_sorts_as_time_does(at: datetime, later: datetime) -> None:
    back = from_iso(iso(at))
    assert timedelta(0) <= at - back < timedelta(milliseconds=1) and back.utcoffset() == timedelta(0)
    assert iso(back) == iso(at)
    if back < from_iso(iso(later)):
        assert iso(at) < iso(later) and compact(at) < compact(later)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-20", "2026-11-20T21:30:05", "2026-13-20T21:30:05Z", "1700000000"])
def test_what_names_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_iso(text)


def test_system_clock_tells_utc_and_the_seconds_that_all_processes_share() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(clock.now().timestamp() - time.time()) < 5
    first = time.clock_gettime(time.CLOCK_MONOTONIC)
    now = clock.mono()
    assert first <= now <= time.clock_gettime(time.CLOCK_MONOTONIC)


def test_boot_id_is_that_of_the_kernel() -> None:
    assert boot_id() == boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", boot_id())

"""The outbox, pure: once an hour, counted, bounded, and receivers that fail asked less and less often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.notices import Notice
from daemons.notices.outbox import (
    MOST_WAITING,
    Outbox,
    admit,
    delivered,
    failed,
    next_for,
    next_retry_s,
    receiver_id,
    since_last_look,
    tidy,
)

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
EMPTY = Outbox(cursors={})


def notice(key: str = "parked:web") -> Notice:
    return Notice(kind="parked", key=key, title="t", body="b", at="2026-11-21T04:00:00.000Z", host="local")


def later(**by: float) -> datetime:
    return NOW + timedelta(**by)


def test_same_key_is_told_once_an_hour_and_the_rest_with_the_next() -> None:
    outbox = admit(EMPTY, notice(), ["r"], NOW)
    for minute in (1, 30, 59):
        outbox = admit(outbox, notice(), ["r"], later(minutes=minute))
    assert len(outbox.waiting) == 1
    outbox = tidy(delivered(outbox, "r", outbox.waiting[0].notice), ["r"], later(minutes=61))
    outbox = admit(outbox, notice(), ["r"], later(minutes=61))
    assert outbox.waiting[0].notice.suppressed == 3 and "3 more" in outbox.waiting[0].notice.body
    outbox = admit(outbox, notice("parked:oracle"), ["r"], later(minutes=62))
    assert len(outbox.waiting) == 2, "another subject is another thing"


def test_clock_that_was_set_back_silences_nothing() -> None:
    outbox = admit(EMPTY, notice(), ["r"], later(days=3650))
    outbox = failed(admit(outbox, notice(), ["r"], NOW), "r", "refused", later(days=3650))
    assert len(outbox.waiting) == 2
    assert next_for(outbox, "r", NOW) is not None, "nor does a receiver wait ten years"


def test_clock_set_ten_years_throws_nothing_away_and_a_day_is_still_a_day() -> None:
    for jump in (timedelta(days=3652), timedelta(days=-3652)):
        outbox = since_last_look(failed(admit(EMPTY, notice(), ["r"], NOW), "r", "away", NOW), NOW + jump)
        outbox = tidy(outbox, ["r"], NOW + jump)
        assert len(outbox.waiting) == 1 and outbox.left_out == 0
        for hours in range(25):
            outbox = tidy(
                since_last_look(outbox, NOW + jump + timedelta(hours=hours)), ["r"], NOW + jump + timedelta(hours=hours)
            )
        assert (outbox.waiting, outbox.left_out) == ((), 1)


def test_look_within_ten_minutes_of_the_last_changes_nothing_that_must_be_written() -> None:
    outbox = since_last_look(admit(EMPTY, notice(), ["r"], NOW), NOW)
    assert since_last_look(outbox, later(minutes=9)) is outbox
    assert since_last_look(EMPTY, NOW) == EMPTY


def test_failing_receiver_is_asked_less_and_less_often_and_the_other_gets_its_notices() -> None:
    outbox = admit(EMPTY, notice(), ["bad", "good"], NOW)
    waits = []
    for _ in range(10):
        outbox = failed(outbox, "bad", "no answer", NOW)
        waits.append(next_retry_s(outbox, NOW))
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert next_for(outbox, "bad", NOW) is None, "not in the moment in which it failed either"
    assert next_for(outbox, "bad", later(seconds=599)) is None
    first = next_for(outbox, "good", NOW)
    assert first is not None
    outbox = delivered(outbox, "good", first)
    assert next_for(outbox, "good", NOW) is None
    assert next_for(outbox, "bad", later(seconds=600)) == first
    outbox = delivered(outbox, "bad", first)
    assert (outbox.waiting, outbox.failing) == ((), {})


def test_what_waits_is_bounded_and_what_was_left_out_is_told() -> None:
    outbox = EMPTY
    for n in range(MOST_WAITING + 7):
        outbox = admit(outbox, notice(f"failed:{n}"), ["r"], NOW)
    outbox = tidy(outbox, ["r"], NOW)
    assert (len(outbox.waiting), outbox.left_out) == (MOST_WAITING, 7)
    outbox = tidy(outbox, ["r"], later(days=1, seconds=1))
    assert (len(outbox.waiting), outbox.left_out, outbox.told) == (0, MOST_WAITING + 7, {})
    outbox = admit(outbox, notice(), ["r"], later(days=2))
    assert f"{MOST_WAITING + 7} notices were left out" in outbox.waiting[0].notice.body and outbox.left_out == 0


def test_receiver_that_is_configured_no_more_is_forgotten() -> None:
    outbox = failed(admit(EMPTY, notice(), ["old", "new"], NOW), "old", "gone", NOW)
    outbox = tidy(outbox, ["new"], NOW)
    assert outbox.waiting[0].to == ("new",) and not outbox.failing and outbox.left_out == 0
    assert tidy(outbox, [], NOW).waiting == () and tidy(outbox, [], NOW).left_out == 0


def test_receivers_are_named_without_their_urls() -> None:
    assert "secret" not in receiver_id("https://example.com/secret") and receiver_id("a") != receiver_id("b")

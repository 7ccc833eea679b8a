"""What retention may name, and what it may never name."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

from hypothesis import given, seed
from hypothesis import strategies as st

from core.checkpoints.ledger import Link
from core.checkpoints.retention import (
    KEEP_STATES,
    NEWEST,
    Holdings,
    Keeping,
    Removal,
    ages_s,
    daily_marks,
    descendants,
    removable,
)
from core.clock import iso

ALL_OLD = Keeping(keep_s=0.0, keep_bytes=0, most=0)
"""Everything is too old and too much: what is left is what must stay."""


def named(step: int) -> str:
    return f"checkpoint-{step}-20261120-2130"


def line(steps: list[int]) -> dict[str, Link]:
    """Links of one line of history, made a second apart."""
    links = {}
    for place, step in enumerate(steps):
        parent = named(steps[place - 1]) if place else None
        links[named(step)] = Link(named(step), step, parent, f"2026-11-20T21:{place // 60:02d}:{place % 60:02d}.000Z")
    return links


def holdings(links: dict[str, Link], head: int | None) -> Holdings:
    chain, name = [], named(head) if head is not None else None
    while name is not None:
        chain.append(name)
        name = links[name].parent
    return Holdings(links, set(links), set(links), chain)


def test_old_checkpoints_go_and_the_newest_the_head_and_the_base_stay() -> None:
    there = holdings(line([0, *range(10, 300, 10)]), 290)
    removal = removable(there, ALL_OLD, [named(50), None])
    assert removal.weights == [named(step) for step in range(10, 200, 10) if step != 50]
    assert removal.states == removal.weights, "training can be taken back to what stays"
    tight = dataclasses.replace(there, state_sizes=dict.fromkeys(there.states, 3))
    removal = removable(tight, ALL_OLD, [named(50), None])
    assert sorted(removal.states) == sorted(named(step) for step in range(0, 280, 10)), "but not where there is no room"
    roomy = dataclasses.replace(ALL_OLD, keep_bytes=12 * 3)
    assert len(removable(tight, roomy, [named(50), None]).states) == len(there.states) - 12


def test_nothing_is_removable_while_there_is_no_head() -> None:
    there = holdings(line([0, 10, 20]), None)
    assert removable(there, ALL_OLD, []) == Removal([], [])


def test_new_checkpoints_after_a_reset_stay_although_their_steps_are_lower() -> None:
    links = line([0, *range(10, 200, 10)])
    late = {
        named(step): Link(named(step), step, named(parent), f"2026-11-20T22:00:{step:02d}.000Z")
        for step, parent in ((35, 30), (45, 35))
    }
    there = holdings(links | late, 45)
    removal = removable(there, ALL_OLD, [])
    assert not {named(35), named(45), named(30)} & set(removal.weights)
    assert named(45) not in removal.states


def test_checkpoint_of_a_run_whose_end_nobody_saw_stays_with_its_state() -> None:
    links = line([0, 10, 20, 30, 40])
    there = holdings(links, 10)
    assert descendants(links, named(10)) == {named(20), named(30), named(40)}
    removal = removable(there, ALL_OLD, [])
    assert named(40) not in removal.weights + removal.states
    assert named(10) not in removal.weights + removal.states


@seed(20261120)
@given(
    steps=st.lists(st.integers(1, 500), min_size=1, max_size=40, unique=True).map(sorted),
    data=st.data(),
    keep_s=st.floats(0, 100),
    keep_bytes=st.integers(0, 100),
    wanted=st.integers(0, 100),
)
def test_what_must_stay_is_never_named_and_the_rest_is_bounded(
    steps: list[int], data: st.DataObject, keep_s: float, keep_bytes: int, wanted: int
) -> None:
    links = line([0, *steps])
    head = data.draw(st.sampled_from(steps))
    kept = data.draw(st.lists(st.sampled_from([0, *steps])).map(lambda found: [named(step) for step in found]))
    there = dataclasses.replace(holdings(links, head), sizes=dict.fromkeys(links, 3))
    removal = removable(there, Keeping(keep_s=keep_s, keep_bytes=keep_bytes, wanted_bytes=wanted), kept)
    protected = set(links) - set(removable(there, ALL_OLD, kept).weights)
    assert {named(0), named(head), *kept, *(named(step) for step in steps[-NEWEST:])} <= protected
    assert not protected & set(removal.weights)
    assert named(head) not in removal.states
    for names in (removal.weights, removal.states):
        assert len(names) == len(set(names)) and set(names) <= set(links)
    is_all = set(removal.weights) == set(links) - protected
    assert is_all or 3 * (len(links) - len(removal.weights)) <= keep_bytes
    assert is_all or 3 * len(removal.weights) >= wanted
    assert len(links) - len(removal.states) <= KEEP_STATES + 2


def over_days(count: int, hours: float) -> dict[str, Link]:
    """Links of one line of history, so many hours apart."""
    start = datetime(2026, 11, 20, tzinfo=UTC)
    links = {}
    for step in range(count):
        parent = named(step - 1) if step else None
        links[named(step)] = Link(named(step), step, parent, iso(start + timedelta(hours=hours * step)))
    return links


def test_checkpoints_older_than_their_hours_go_but_for_the_last_of_each_day() -> None:
    links = over_days(121, 1)  # five days
    removal = removable(holdings(links, 120), Keeping(keep_s=36 * 3600, keep_bytes=10**12), [])
    gone = {int(name.split("-")[1]) for name in removal.weights}
    assert gone == set(range(1, 84)) - {23, 47, 71}
    assert daily_marks(links, list(links)) == {named(step) for step in (23, 47, 71, 95, 119, 120)}


def test_oldest_go_first_when_there_is_too_much_and_marks_of_days_last() -> None:
    links = over_days(60, 1)
    there = dataclasses.replace(holdings(links, 59), sizes=dict.fromkeys(links, 10))
    removal = removable(there, Keeping(keep_s=10**9, keep_bytes=400), [])
    assert removal.weights == [named(step) for step in range(1, 21)]
    removal = removable(there, Keeping(keep_s=10**9, keep_bytes=0), [])
    assert removal.weights[-2:] == [named(23), named(47)]


def test_room_is_made_when_the_disk_is_low_whatever_the_age() -> None:
    links = over_days(30, 1)
    there = dataclasses.replace(holdings(links, 29), sizes=dict.fromkeys(links, 10))
    removal = removable(there, Keeping(keep_s=10**9, keep_bytes=10**9, wanted_bytes=35), [])
    assert removal.weights == [named(step) for step in range(1, 5)]


def test_many_small_checkpoints_are_bounded_by_number() -> None:
    links = over_days(40, 0.01)
    removal = removable(holdings(links, 39), Keeping(keep_s=10**9, keep_bytes=10**9, most=30), [])
    assert removal.weights == [named(step) for step in range(1, 11)]


def test_jump_of_the_clock_by_ten_years_makes_nothing_old() -> None:
    links = over_days(30, 1)
    last = Link(named(30), 30, named(29), "2036-11-20T00:00:00.000Z")
    there = holdings({**links, named(30): last}, 30)
    before = removable(holdings(links, 29), Keeping(keep_s=48 * 3600, keep_bytes=10**12), [])
    assert removable(there, Keeping(keep_s=48 * 3600, keep_bytes=10**12), []).weights == before.weights == []
    assert ages_s(there.links, list(there.links), 3600.0)[named(29)] == 3600.0

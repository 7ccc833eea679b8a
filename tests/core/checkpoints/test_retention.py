"""What retention may name, and what it may never name."""

from __future__ import annotations

from hypothesis import given, seed
from hypothesis import strategies as st

from core.checkpoints.ledger import Link
from core.checkpoints.retention import KEEP_STATES, Holdings, Removal, descendants, removable


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
    removal = removable(there, 10, [named(50), None])
    assert removal.weights == [named(step) for step in range(10, 200, 10) if step != 50]
    assert removal.states == [named(step) for step in range(0, 280, 10)]


def test_nothing_is_removable_while_there_is_no_head() -> None:
    there = holdings(line([0, 10, 20]), None)
    assert removable(there, 0, []) == Removal([], [])


def test_new_checkpoints_after_a_reset_stay_although_their_steps_are_lower() -> None:
    links = line([0, *range(10, 200, 10)])
    late = {
        named(step): Link(named(step), step, named(parent), f"2026-11-20T22:00:{step:02d}.000Z")
        for step, parent in ((35, 30), (45, 35))
    }
    there = holdings(links | late, 45)
    removal = removable(there, 3, [])
    assert not {named(35), named(45), named(30)} & set(removal.weights)
    assert named(45) not in removal.states


def test_checkpoint_of_a_run_whose_end_nobody_saw_stays_with_its_state() -> None:
    links = line([0, 10, 20, 30, 40])
    there = holdings(links, 10)
    assert descendants(links, named(10)) == {named(20), named(30), named(40)}
    removal = removable(there, 0, [])
    assert named(40) not in removal.weights + removal.states
    assert named(10) not in removal.weights + removal.states


@seed(20261120)
@given(
    steps=st.lists(st.integers(1, 500), min_size=1, max_size=40, unique=True).map(sorted),
    data=st.data(),
    keep_last=st.integers(0, 12),
)
def test_what_must_stay_is_never_named_and_the_rest_is_bounded(steps: list[int], data: st.DataObject, keep_last: int) -> None:
    links = line([0, *steps])
    head = data.draw(st.sampled_from(steps))
    kept = data.draw(st.lists(st.sampled_from([0, *steps])).map(lambda found: [named(step) for step in found]))
    removal = removable(holdings(links, head), keep_last, kept)
    newest = [named(step) for step in steps][-keep_last:] if keep_last else []
    assert not {named(0), named(head), *kept, *newest} & set(removal.weights)
    assert named(head) not in removal.states
    for names in (removal.weights, removal.states):
        assert len(names) == len(set(names)) and set(names) <= set(links)
    assert len(links) - len(removal.weights) <= 2 * keep_last + 3 + len(set(kept))
    assert len(links) - len(removal.states) <= KEEP_STATES + 2

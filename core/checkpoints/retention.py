"""What may be removed of a model's checkpoints, and in which order; what must stay, and why.

Place in the flow: prune_checkpoints removes what this names, `weaver ckpt rm` refuses what must stay. Touches no file.
Invariants: head, base, served, previous, pinned, candidates and the newest are never named, nor is what a killed run goes on
from; ledger copies and scores are never named at all. "Newest" is by time made and, apart from that, by the surviving history:
after a reset new ones have lower steps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.checkpoints.ledger import Link

KEEP_STATES = 2


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is there. weights, states: names with weights, with training state. chain: from head to step 0."""

    links: Mapping[str, Link]
    weights: Collection[str]
    states: Collection[str]
    chain: Sequence[str]


@dataclass(frozen=True, slots=True)
class Removal:
    """What may go: training states first, then weights; oldest first."""

    states: list[str]
    weights: list[str]


def removable(there: Holdings, keep_last: int, kept: Iterable[str | None]) -> Removal:
    """Name what may be removed.

    keep_last: how many of the newest keep their weights. kept: what must stay for another reason (served, previous, pinned,
    candidates); None is passed over. Nothing is removable while the history is unknown (an empty chain).
    """
    if not there.chain:
        return Removal([], [])
    made = sorted(there.links, key=lambda name: (there.links[name].created_at, there.links[name].step))
    needed = needed_by_training(there)
    surviving = [name for name in there.chain if name in there.weights]
    weights = set(needed) | _newest(made, there.weights, keep_last) | set(surviving[:keep_last])
    weights |= {name for name in kept if name is not None}
    states = {name for name in needed if there.links[name].step or name == there.chain[0]}
    states |= _newest(made, there.states, KEEP_STATES)
    return Removal(
        states=[name for name in made if name in there.states and name not in states],
        weights=[name for name in made if name in there.weights and name not in weights],
    )


def needed_by_training(there: Holdings) -> dict[str, str]:
    """Give what training cannot do without, with the reason of each; everything while the history is unknown."""
    if not there.chain:
        return dict.fromkeys(there.links, "the history is unknown: there is no head")
    needed = {name: "it is the base" for name, link in there.links.items() if link.step == 0}
    ahead = descendants(there.links, there.chain[0]) & set(there.states) & set(there.weights)
    for name in sorted(ahead, key=lambda name: there.links[name].step)[-1:]:
        needed[name] = "training goes on from it"
    needed[there.chain[0]] = "it is the head: training continues from it"
    return needed


def descendants(links: Mapping[str, Link], head: str) -> set[str]:
    """Give the checkpoints that continue head: of a run whose end train_next has not seen yet, or cut off by a reset."""
    found: set[str] = set()
    for name, link in sorted(links.items(), key=lambda item: item[1].step):
        if link.parent == head or link.parent in found:
            found.add(name)
    return found


def _newest(made: Sequence[str], there: Collection[str], count: int) -> set[str]:
    return set([name for name in made if name in there][-count:]) if count else set()

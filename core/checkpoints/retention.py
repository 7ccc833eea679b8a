"""What may be removed of a model's checkpoints, and in which order; what must stay, and why.

Place in the flow: prune_checkpoints removes what this names, `weaver ckpt rm` refuses what must stay. Touches no file.
Invariants: head, base, served, previous, pinned, candidates and the newest are never named, nor is what a killed run goes on
from; ledger copies and scores are never named at all. "Newest" is by time made and, apart from that, by the surviving history:
after a reset new ones have lower steps. No jump of the clock makes what was made lately old.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.checkpoints.ledger import Link
from core.clock import from_iso

KEEP_STATES = 2
NEWEST = 10
MOST = 500
"""Checkpoints of one model that keep their weights, however small they are: every reader lists them all."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is there. weights, states: names with weights, with training state. chain: from head to step 0.

    sizes, state_sizes: bytes of each checkpoint's folder of weights, of its training state. cut: where resets cut the history
    off.
    """

    links: Mapping[str, Link]
    weights: Collection[str]
    states: Collection[str]
    chain: Sequence[str]
    sizes: Mapping[str, int] = field(default_factory=dict)
    state_sizes: Mapping[str, int] = field(default_factory=dict)
    cut: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long and how much. keep_s: seconds of making checkpoints; keep_bytes: of all weights; most: their number.

    wanted_bytes: what must become free at once, because the disk is near its floor: then age does not matter.
    """

    keep_s: float
    keep_bytes: int
    most: int = MOST
    wanted_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Removal:
    """What may go: training states first, then weights; oldest first."""

    states: list[str]
    weights: list[str]


def removable(there: Holdings, keeping: Keeping, kept: Iterable[str | None]) -> Removal:
    """Name what may be removed: training states, then weights that are too old, then the oldest of what is too much.

    kept: what must stay for another reason (served, previous, pinned, candidates); None is passed over. The states of these and
    of the newest stay as long as there is room: training can be taken back to them. The last checkpoint of a day outlives its
    age, and goes only when there is too much. Nothing is removable while the history is unknown (an empty chain).
    """
    if not there.chain:
        return Removal([], [])
    made = sorted(there.links, key=lambda name: (there.links[name].created_at, there.links[name].step))
    needed = needed_by_training(there)
    surviving = [name for name in there.chain if name in there.weights]
    protected = set(needed) | _newest(made, there.weights, NEWEST) | set(surviving[:NEWEST])
    protected |= {name for name in kept if name is not None}
    firm = {name for name in needed if there.links[name].step or name == there.chain[0]}
    firm |= _newest(made, there.states, KEEP_STATES)
    states = [name for name in made if name in there.states and name not in firm]
    with_weights = [name for name in made if name in there.weights]
    marks, ages = daily_marks(there.links, with_weights), ages_s(there.links, with_weights, keeping.keep_s / 3)
    old = [name for name in with_weights if name not in protected and ages[name] > keeping.keep_s and name not in marks]
    room = _Room.of(there, keeping, [name for name in states if name not in protected], old)
    gone_states = [name for name in states if name not in protected or room.takes(there.state_sizes.get(name, 0))]
    room.many = len(with_weights) - len(old) - keeping.most
    left = [name for name in with_weights if name not in protected and name not in old]
    for name in sorted(left, key=lambda name: (name in marks, with_weights.index(name))):
        if room.takes(there.sizes.get(name, 0)):
            old.append(name)
    return Removal(states=gone_states, weights=old)


@dataclass(slots=True)
class _Room:
    """How much must still go, in bytes and, of weights, in number."""

    bytes: int
    many: int = 0

    @staticmethod
    def of(there: Holdings, keeping: Keeping, states: Sequence[str], weights: Sequence[str]) -> _Room:
        """Give what must go beyond these, so that the rest fits and what is wanted becomes free."""
        total = sum(there.sizes.get(name, 0) for name in there.weights)
        total += sum(there.state_sizes.get(name, 0) for name in there.states)
        freed = sum(there.sizes.get(name, 0) for name in weights) + sum(there.state_sizes.get(name, 0) for name in states)
        return _Room(max(total - freed - keeping.keep_bytes, keeping.wanted_bytes - freed))

    def takes(self, size: int) -> bool:
        """Say whether one more thing of this size must go, and count it."""
        if self.bytes <= 0 and self.many <= 0:
            return False
        self.bytes -= size
        self.many -= 1
        return True


def daily_marks(links: Mapping[str, Link], made: Sequence[str]) -> set[str]:
    """Give the last checkpoint of each day (UTC), of those given in the order in which they were made."""
    return set({links[name].created_at[:10]: name for name in made}.values())


def ages_s(links: Mapping[str, Link], made: Sequence[str], longest_s: float) -> dict[str, float]:
    """Give how long before the newest each was made, in seconds; a pause between two counts at most longest_s.

    So neither a jump of the clock by years nor a holiday makes everything old at once.
    """
    ages: dict[str, float] = {}
    age, later = 0.0, None
    for name in reversed(made):
        at = from_iso(links[name].created_at)
        if later is not None:
            age += min(longest_s, max(0.0, (later - at).total_seconds()))
        ages[name], later = age, at
    return ages


def needed_by_training(there: Holdings) -> dict[str, str]:
    """Give what training cannot do without, with the reason of each; everything while the history is unknown."""
    if not there.chain:
        return dict.fromkeys(there.links, "the history is unknown: there is no head")
    needed = {name: "it is the base" for name, link in there.links.items() if link.step == 0}
    ahead = descendants(there.links, there.chain[0], there.cut) & set(there.states) & set(there.weights)
    for name in sorted(ahead, key=lambda name: there.links[name].step)[-1:]:
        needed[name] = "training goes on from it"
    needed[there.chain[0]] = "it is the head: training continues from it"
    return needed


def descendants(links: Mapping[str, Link], head: str, cut: Collection[str] = ()) -> set[str]:
    """Give the checkpoints that continue head, of a run whose end train_next has not seen yet; not what a reset cut off."""
    found: set[str] = set()
    for name, link in sorted(links.items(), key=lambda item: item[1].step):
        if name not in cut and (link.parent == head or link.parent in found):
            found.add(name)
    return found


def _newest(made: Sequence[str], there: Collection[str], count: int) -> set[str]:
    return set([name for name in made if name in there][-count:]) if count else set()

"""What may be removed by hand, what must stay and why, pins, and what dead owners left."""

from __future__ import annotations

import os

import pytest

from core.checkpoints.checkpoint import Head
from core.checkpoints.ledger import SIDECAR, Ledger
from core.checkpoints.pins import pin, unpin
from core.checkpoints.removal import (
    LEFT_OVER_S,
    bytes_in,
    folders_of,
    left_over,
    must_stay,
    removing,
    sweep,
    take_weights,
    temporaries,
)
from core.errors import Conflict, NotFound
from core.paths import Paths
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_state

AT = "2026-11-20T21:30:00.000Z"
NOW_S = 1e9


def remove_weights(paths: Paths, name: str) -> bool:
    with removing(paths, "tiny"):
        is_taken = take_weights(paths, "tiny", name)
    return is_taken


def chain(paths: Paths, count: int) -> list[str]:
    names: list[str] = []
    for step in range(count):
        names.append(make_checkpoint(paths, step * 10, names[-1] if names else None))
        make_state(paths, names[-1])
    return names


def test_everything_stays_while_there_is_no_head(paths: Paths) -> None:
    names = chain(paths, 3)
    assert must_stay(paths, Ledger(paths), "tiny").keys() == set(names)


def test_reason_of_each_that_must_stay_is_given(paths: Paths) -> None:
    names = chain(paths, 5)
    Ledger(paths).write_head("tiny", Head(checkpoint=names[2], reason="test", at=AT))
    pin(paths, "tiny", names[1], "a good one", AT)
    reasons = must_stay(paths, Ledger(paths), "tiny")
    assert set(reasons) == {names[0], names[1], names[2], names[4]}
    assert "base" in reasons[names[0]] and "pinned" in reasons[names[1]] and "head" in reasons[names[2]]
    assert "goes on" in reasons[names[4]]


def test_pin_of_what_is_gone_leaves_no_pin_behind(paths: Paths) -> None:
    with pytest.raises(Conflict, match="was removed while"):
        pin(paths, "tiny", "checkpoint-10-20261120-2130", "", AT)
    assert Ledger(paths).pins("tiny") == set()
    with pytest.raises(NotFound, match="Known: none"):
        unpin(paths, "tiny", "checkpoint-10-20261120-2130")


def test_weights_without_a_ledger_copy_are_not_removed(paths: Paths) -> None:
    [name] = chain(paths, 1)
    paths.model("tiny").ledger(name).unlink()
    assert not remove_weights(paths, name) and Ledger(paths).is_complete("tiny", name)
    Ledger(paths).keep_copies("tiny")
    assert remove_weights(paths, name) and not Ledger(paths).is_complete("tiny", name)


def test_torn_copy_is_made_whole_before_the_weights_go_and_a_torn_record_spoils_no_copy(paths: Paths) -> None:
    """Else the history would end there for good: nobody could train, rank or deploy any more."""
    base = make_checkpoint(paths, 0, None)
    names = [make_checkpoint(paths, 10, base), make_checkpoint(paths, 20, base)]
    paths.model("tiny").ledger(names[0]).write_bytes(b"")
    (paths.model("tiny").checkpoint(names[1]) / SIDECAR).write_bytes(b"torn")
    for name in names:
        assert remove_weights(paths, name)
        assert Ledger(paths).get("tiny", name).parent == base


def test_bytes_are_those_of_weights_and_state(paths: Paths) -> None:
    [name] = chain(paths, 1)
    folders = folders_of(paths, "tiny", name)
    assert folders == [paths.model("tiny").training_state(name), paths.model("tiny").checkpoint(name)]
    found = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    assert bytes_in(folders) == found > 0
    assert bytes_in([paths.home / "nowhere"]) == 0


def test_old_left_overs_are_named_and_swept_and_young_ones_are_not(paths: Paths) -> None:
    chain(paths, 1)
    mine = paths.model("tiny")
    orphan = mine.training_state("checkpoint-99-20261120-2130")
    kinds = [mine.trash / "a", mine.staging / "b", orphan]
    for folder in kinds:
        folder.mkdir(parents=True)
        os.utime(folder, (NOW_S, NOW_S))
    young = NOW_S + LEFT_OVER_S - 1
    assert left_over(paths, Ledger(paths), "tiny", young) == [mine.trash / "a"]
    found = left_over(paths, Ledger(paths), "tiny", NOW_S + LEFT_OVER_S + 1)
    assert found == kinds
    sweep(paths, "tiny", found)
    assert not any(folder.exists() for folder in kinds) and not list(mine.trash.iterdir())


def test_temporary_files_of_killed_writers_are_named_once_they_are_old(paths: Paths) -> None:
    temporary = paths.inbox / "high" / ".a.jsonl.4242.0123abcd.tmp"
    for path in (temporary, paths.inbox / "drop.tmp"):
        path.write_bytes(b"half")
        os.utime(path, (NOW_S, NOW_S))
    assert temporaries(paths, NOW_S + LEFT_OVER_S - 1) == []
    assert temporaries(paths, NOW_S + LEFT_OVER_S + 1) == [temporary]

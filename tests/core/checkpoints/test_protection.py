"""Whoever wants a checkpoint kept and whoever removes it exclude each other, whichever of them comes first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from core.checkpoints.champion import Champion
from core.checkpoints.checkpoint import Head
from core.checkpoints.history import advance_head
from core.checkpoints.ledger import Ledger
from core.checkpoints.pins import pin
from core.checkpoints.protection import deciding
from core.checkpoints.removal import must_stay, removing, take_state, take_weights
from core.checkpoints.reset import reset_head
from core.errors import Conflict
from core.paths import Paths
from core.records import encode_pretty
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_state
from tests.waiting import is_awaited

AT = "2026-11-20T21:30:00.000Z"


@pytest.fixture
def names(paths: Paths) -> list[str]:
    names: list[str] = []
    for step in range(4):
        names.append(make_checkpoint(paths, step * 10, names[-1] if names else None))
        make_state(paths, names[-1])
    advance_head(Ledger(paths), "tiny", AT)
    return names


def remove(paths: Paths, name: str) -> bool:
    """Remove a checkpoint unless it must stay."""
    ledger = Ledger(paths)
    with removing(paths, "tiny"):
        is_free = name not in must_stay(paths, ledger, "tiny")
        if is_free:
            take_state(paths, "tiny", name)
            take_weights(paths, "tiny", name)
    return is_free


def reset(paths: Paths, name: str) -> None:
    reset_head(paths, Ledger(paths), "tiny", name, "", AT)


def put_pin(paths: Paths, name: str) -> None:
    pin(paths, "tiny", name, "", AT)


def during(paths: Paths, first: Callable[[], object], second: Callable[[], object]) -> Future[object]:
    """Begin second while first has the lock, do first once second waits for it, and give how second ended."""
    with ThreadPoolExecutor(1) as thread:
        with deciding(paths.model("tiny")):
            ended = thread.submit(second)
            deadline = time.monotonic() + 60
            while not is_awaited(paths.model("tiny").root) and not ended.done() and time.monotonic() < deadline:
                pass
            first()
        ended.exception(60)
    return ended


@pytest.mark.parametrize("keep", [put_pin, reset])
def test_what_was_taken_away_first_is_neither_pinned_nor_reset_to(
    paths: Paths, names: list[str], keep: Callable[[Paths, str], None]
) -> None:
    def take() -> None:
        take_state(paths, "tiny", names[1])
        take_weights(paths, "tiny", names[1])

    ended = during(paths, take, lambda: keep(paths, names[1]))
    with pytest.raises(Conflict, match="removed"):
        ended.result()
    ledger = Ledger(paths)
    assert ledger.pins("tiny") == set() and ledger.chain("tiny")[0] == names[3]


def test_what_is_pinned_reset_to_or_served_before_a_removal_asks_stays(paths: Paths, names: list[str]) -> None:
    mine, ledger = paths.model("tiny"), Ledger(paths)

    def put_pin_file() -> None:
        mine.pins.mkdir()
        (mine.pins / f"{names[1]}.json").write_bytes(b"{}")

    def put_head() -> None:
        ledger.write_head("tiny", Head(checkpoint=names[2], reason="", at=AT, cut=[names[3]]))

    def put_alias() -> None:
        champion = Champion(alias="tiny/champion", checkpoint=names[3], weights_id=ledger.weights_id("tiny", names[3]), at=AT)
        mine.champion.write_bytes(encode_pretty(champion))

    for put, name in ((put_pin_file, names[1]), (put_head, names[2]), (put_alias, names[3])):
        assert during(paths, put, lambda name=name: remove(paths, name)).result() is False  # type: ignore[misc]
        assert ledger.is_complete("tiny", name) and ledger.has_state("tiny", name)


def test_lock_of_one_who_died_or_failed_is_free(paths: Paths, names: list[str]) -> None:
    with pytest.raises(OSError, match="full"), deciding(paths.model("tiny")):
        raise OSError("full")
    child = os.fork()
    if child == 0:
        with deciding(paths.model("tiny")):
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert remove(paths, names[1])
    assert not list(paths.model("tiny").trash.iterdir())

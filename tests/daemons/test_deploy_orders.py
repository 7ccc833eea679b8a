"""deploy_best obeys people: with the same proofs, once, and so that no choice of theirs is flipped straight back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.checkpoints.checkpoint import Head
from core.checkpoints.ledger import Ledger
from core.checkpoints.served import ever_served, served
from core.clock import iso
from core.errors import Unavailable
from core.orders import Order, answered, place
from core.records import encode_pretty
from daemons.deploy_best import DeployBest
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.daemons.test_deploy_best import Deploying

LATER = 45  # minutes after nine, when every choice of these tests is made at half past nine


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Deploying]:
    factory = Deploying(tmp_path)
    yield factory
    assert factory.oracle.aliases.get("champion") == factory.alias


def order(factory: Deploying, verb: str, **args: Any) -> Order:
    """Place an order as ann does."""
    return place(factory.home.paths, "deploy_best", verb, args, "ann", factory.home.clock.now())


def obey(factory: Deploying, verb: str, **args: Any) -> Order:
    """Place an order, let the daemon tick, give the answer."""
    placed = order(factory, verb, **args)
    factory.tick()
    answer = answered(factory.home.paths, placed.id)
    assert answer is not None
    return answer


def two_deployed(factory: Deploying) -> tuple[str, str]:
    first = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    second = factory.grow(20, binary=10, syllables=20)
    factory.tick()
    assert factory.alias == second
    return first, second


def test_rollback_by_hand_is_proved_recorded_with_its_reason_and_served(factory: Deploying) -> None:
    first, second = two_deployed(factory)
    factory.oracle.calls.clear()
    answer = obey(factory, "rollback", reason="it swears")
    assert answer.ok is True and f"tiny/{first} is served" in (answer.message or "")
    assert factory.oracle.calls == [("load", first), ("alias", first)]
    record = factory.records[-1]
    assert (record.verdict, record.checkpoint, record.previous, record.by) == ("rolled_back", second, first, "ann")
    assert record.id == answer.id and "it swears" in record.reason and record.proof is not None
    assert (factory.alias, factory.view().checkpoint) == (first, f"tiny/{first}")


def test_what_was_rolled_back_by_hand_is_never_deployed_again_by_itself(factory: Deploying) -> None:
    first, second = two_deployed(factory)
    obey(factory, "rollback")
    for _ in range(3):
        factory.tick()
    assert factory.alias == first and served(factory.records) == (first, None)
    third = factory.grow(30, minute=LATER, binary=5, syllables=5)
    factory.tick()
    assert factory.alias == third
    obey(factory, "rollback")
    for _ in range(3):
        factory.tick()
    assert factory.alias == first
    assert [one.checkpoint for one in factory.records if one.verdict == "deployed"] == [first, second, third]


def test_checkpoint_that_was_there_when_a_person_chose_does_not_take_its_place(factory: Deploying) -> None:
    first, second = two_deployed(factory)
    assert obey(factory, "deploy", checkpoint=f"tiny/{first}").ok is True
    record = factory.records[-1]
    assert (record.verdict, record.checkpoint, record.previous, record.by) == ("deployed", first, second, "ann")
    report = [factory.tick() for _ in range(3)][-1]
    assert factory.alias == first and "chosen by hand" in report.note
    hardly = factory.grow(30, minute=LATER, binary=39, syllables=60)
    factory.tick()
    assert factory.alias == first and (factory.records[-1].verdict, factory.records[-1].checkpoint) == ("refused", hardly)
    better = factory.grow(40, minute=LATER + 1, binary=5, syllables=5)
    factory.tick()
    assert factory.alias == better and "chosen by hand" not in factory.tick().note


def test_checkpoint_made_before_the_choice_but_examined_after_it_is_held_back_too(factory: Deploying) -> None:
    first, _ = two_deployed(factory)
    late = factory.grow(30)
    obey(factory, "deploy", checkpoint=first)
    factory.score(late, "binary-1", 0)
    factory.score(late, "syllables-1", 0)
    for _ in range(3):
        factory.tick()
    assert factory.alias == first


@pytest.mark.parametrize("days", [3652, -3652])
def test_choice_made_while_the_clock_was_wrong_holds_back_what_was_there_and_nothing_else(
    factory: Deploying, days: int
) -> None:
    first, _ = two_deployed(factory)
    factory.home.clock.jumped = timedelta(days=days)
    obey(factory, "deploy", checkpoint=first)
    factory.home.clock.jumped = timedelta()
    for _ in range(3):
        factory.tick()
    assert factory.alias == first
    better = factory.grow(30, binary=5, syllables=5)
    factory.tick()
    assert factory.alias == better


def test_rolled_back_checkpoint_may_be_deployed_by_hand_and_counts_again(factory: Deploying) -> None:
    first, second = two_deployed(factory)
    obey(factory, "rollback")
    assert ever_served(factory.records) == [first]
    assert obey(factory, "deploy", checkpoint="tiny@20").ok is True
    assert factory.alias == second and ever_served(factory.records) == [first, second]


def test_rollback_of_the_first_deployment_serves_the_base(factory: Deploying) -> None:
    factory.grow(10, binary=40, syllables=60)
    factory.tick()
    assert obey(factory, "rollback").ok is True
    assert factory.alias == factory.names[0]
    again = obey(factory, "rollback")
    assert again.ok is False and "nothing to roll back to" in (again.message or "")
    assert factory.alias == factory.names[0]


def test_rollback_passes_over_what_was_removed_or_cut_off(factory: Deploying) -> None:
    first, second = two_deployed(factory)
    third = factory.grow(30, binary=2, syllables=2)
    factory.tick()
    (factory.home.paths.model("tiny").checkpoint(second) / "model.safetensors").unlink()
    assert obey(factory, "rollback").ok is True
    assert factory.alias == first
    assert factory.records[-1].checkpoint == third


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("checkpoint-99-20261120-2130", "There is no checkpoint"),
        ("{served}", "served already"),
        ("{off}", "off-chain"),
        ("{gone}", "not complete"),
    ],
)
def test_what_may_not_be_served_is_refused_with_the_reason_and_nothing_changes(
    factory: Deploying, text: str, words: str
) -> None:
    first, second = two_deployed(factory)
    off = factory.grow(30)
    head = Head(checkpoint=second, reason="reset", at=iso(factory.home.clock.now()))
    Ledger(factory.home.paths).write_head("tiny", head)
    (factory.home.paths.model("tiny").checkpoint(first) / "model.safetensors").unlink()
    records = factory.records
    answer = obey(factory, "deploy", checkpoint=text.format(served=second, off=off, gone=first))
    assert answer.ok is False and words in (answer.message or "")
    assert factory.alias == second and factory.records == records


def test_unknown_verb_and_another_model_are_refused(factory: Deploying) -> None:
    answer = obey(factory, "promote")
    assert answer.ok is False and "deploy, rollback" in (answer.message or "")
    other = make_checkpoint(factory.home.paths, 7, None, model="other")
    answer = obey(factory, "deploy", checkpoint=f"other/{other}")
    assert answer.ok is False and "default model" in (answer.message or "")


def test_damaged_choice_is_recorded_as_failed_and_what_is_served_stays(factory: Deploying) -> None:
    first, second = two_deployed(factory)
    (factory.home.paths.model("tiny").checkpoint(first) / "model.safetensors").write_bytes(b"other")
    answer = obey(factory, "deploy", checkpoint=first)
    assert answer.ok is False and "as before" in (answer.message or "")
    assert factory.records[-1].verdict == "failed" and factory.records[-1].by == "ann"
    assert factory.alias == second and factory.view().checkpoint == f"tiny/{second}"


def test_choice_that_fails_its_proof_after_the_flip_goes_back(factory: Deploying) -> None:
    first, second = two_deployed(factory)
    factory.oracle.on_alias[first] = lambda: factory.oracle.swaps.update({first: second})
    answer = obey(factory, "deploy", checkpoint=first)
    assert answer.ok is False and factory.alias == second
    record = factory.records[-1]
    assert (record.verdict, record.checkpoint, record.previous, record.by) == ("rolled_back", first, second, "deploy_best")


@pytest.mark.parametrize("calls", range(8))
@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_order_waits_for_an_oracle_that_goes_away_at_any_call_and_is_obeyed_once(
    factory: Deploying, verb: str, calls: int
) -> None:
    first, _ = two_deployed(factory)
    before = len(factory.records)
    placed = order(factory, verb, **({"checkpoint": first} if verb == "deploy" else {}))
    factory.oracle.away_after = calls
    try:
        factory.tick()
    except Unavailable:
        assert answered(factory.home.paths, placed.id) is None
    factory.oracle.away_after, factory.oracle.is_away = None, False
    for _ in range(3):
        factory.tick(DeployBest(factory.oracle.connect))
    answer = answered(factory.home.paths, placed.id)
    assert answer is not None and answer.ok is True
    assert factory.alias == first and len(factory.records) == before + 1


def test_rollback_that_was_recorded_but_not_answered_is_not_obeyed_twice(factory: Deploying) -> None:
    _, second = two_deployed(factory)
    third = factory.grow(30, binary=2, syllables=2)
    factory.tick()
    answer = obey(factory, "rollback")
    record = factory.records[-1]
    (factory.home.paths.orders / "done" / f"{answer.id}.json").unlink()
    unanswered = Order(id=answer.id, verb="rollback", args={}, by="ann", at=answer.at)
    (factory.home.paths.orders / "deploy_best" / f"{answer.id}.json").write_bytes(encode_pretty(unanswered))
    factory.tick()
    assert factory.alias == second and factory.records[-1] == record and record.checkpoint == third
    told = answered(factory.home.paths, answer.id)
    assert told is not None and told.ok is True


def test_two_orders_are_obeyed_in_their_order(factory: Deploying) -> None:
    first, second = two_deployed(factory)
    order(factory, "rollback")
    factory.home.clock.passed_s += 1.0
    order(factory, "deploy", checkpoint=second)
    while factory.tick().again:
        pass
    assert [record.verdict for record in factory.records[-2:]] == ["rolled_back", "deployed"]
    assert factory.alias == second and first in factory.records[-2].reason + str(factory.records[-2].previous)

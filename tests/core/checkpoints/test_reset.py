"""Taking training back: head moves to an ancestor and never forward into what was cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.checkpoints.checkpoint import Head
from core.checkpoints.history import advance_head, newest_complete, where_to_go_on
from core.checkpoints.ledger import Ledger
from core.checkpoints.removal import holdings
from core.checkpoints.reset import refuse_reset, reset_head
from core.checkpoints.retention import needed_by_training
from core.errors import Conflict
from core.files import remove_tree
from core.paths import Paths
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_state
from tests.core.home_files import make_home

AT = "2026-11-20T21:30:00.000Z"


def history(paths: Paths, *steps: int, parent: str | None = None, suffix: str = "") -> list[str]:
    names: list[str] = []
    for step in steps:
        names.append(make_checkpoint(paths, step, names[-1] if names else parent, suffix=suffix))
        make_state(paths, names[-1])
    return names


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path)


def test_head_goes_back_and_does_not_advance_into_what_was_taken_back(paths: Paths) -> None:
    names = history(paths, 0, 10, 20, 30)
    ledger = Ledger(paths)
    advance_head(ledger, "tiny", AT)
    assert ledger.chain("tiny")[0] == names[3]
    assert reset_head(paths, ledger, "tiny", names[1], "harmful", AT) == [names[3], names[2]]
    for _ in range(2):
        advance_head(ledger, "tiny", AT)
        assert ledger.chain("tiny") == [names[1], names[0]]
    assert newest_complete(ledger, "tiny", names[1]) == names[1], "the trainer goes on from there too"
    head = ledger.head("tiny")
    assert head is not None
    assert (head.reason, head.cut) == ("harmful", [names[2]])


def test_training_after_a_reset_is_the_new_history_and_a_second_reset_keeps_the_first(paths: Paths) -> None:
    names = history(paths, 0, 10, 20)
    ledger = Ledger(paths)
    advance_head(ledger, "tiny", AT)
    reset_head(paths, ledger, "tiny", names[1], "first", AT)
    new = history(paths, 15, 25, parent=names[1], suffix="-2")
    advance_head(ledger, "tiny", AT)
    assert ledger.chain("tiny") == [new[1], new[0], names[1], names[0]]
    reset_head(paths, ledger, "tiny", names[0], "second", AT)
    advance_head(ledger, "tiny", AT)
    assert ledger.chain("tiny") == [names[0]]
    head = ledger.head("tiny")
    assert head is not None
    assert head.cut == [names[2], names[1]]


def test_going_on_from_what_was_taken_back_means_head(paths: Paths) -> None:
    names = history(paths, 0, 10, 20, 30)
    ledger = Ledger(paths)
    advance_head(ledger, "tiny", AT)
    assert [where_to_go_on(ledger, "tiny", name) for name in names] == names
    reset_head(paths, ledger, "tiny", names[1], "", AT)
    assert [where_to_go_on(ledger, "tiny", name) for name in names] == [names[0], names[1], names[1], names[1]]


def test_what_was_taken_back_is_not_needed_for_training_any_more(paths: Paths) -> None:
    names = history(paths, 0, 10, 20)
    ledger = Ledger(paths)
    advance_head(ledger, "tiny", AT)
    reset_head(paths, ledger, "tiny", names[1], "", AT)
    assert set(needed_by_training(holdings(paths, ledger, "tiny"))) == {names[0], names[1]}


@pytest.mark.parametrize(
    ("damage", "told"), [("off", "off the surviving history"), ("weights", "were removed"), ("state", "has its state")]
)
def test_checkpoint_that_training_cannot_continue_from_is_refused(paths: Paths, damage: str, told: str) -> None:
    names = history(paths, 0, 10, 20)
    ledger = Ledger(paths)
    advance_head(ledger, "tiny", AT)
    target = names[1]
    model = paths.model("tiny")
    if damage == "off":
        target = history(paths, 12, parent=names[0], suffix="-2")[0]
    elif damage == "weights":
        remove_tree(model.checkpoint(target), model.trash)
    else:
        remove_tree(model.training_state(target), model.trash)
    before = ledger.head("tiny")
    with pytest.raises(Conflict, match=told):
        refuse_reset(ledger, "tiny", target)
    with pytest.raises(Conflict, match=told):
        reset_head(paths, ledger, "tiny", target, "", AT)
    assert ledger.head("tiny") == before


def test_head_of_before_there_were_resets_is_read(paths: Paths) -> None:
    names = history(paths, 0)
    (paths.model("tiny").head).write_text(
        f'{{"schema": "weaver.head/1", "checkpoint": "{names[0]}", "reason": "", "at": "{AT}"}}'
    )
    assert Ledger(paths).head("tiny") == Head(checkpoint=names[0], reason="", at=AT, cut=[])

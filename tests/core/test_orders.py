"""Orders: files with the contract's keys, answered once, and never obeyed twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.orders import answer, answered, pending, place
from core.paths import Paths

NOW = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)
KEYS = {"schema", "id", "verb", "args", "by", "at"}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.make()
    return paths


def test_order_has_the_keys_of_the_contract_and_its_answer_two_more(paths: Paths) -> None:
    order = place(paths, "train_next", "pause", {}, "person", NOW)
    path = paths.orders / "train_next" / f"{order.id}.json"
    assert set(json.loads(path.read_bytes())) == KEYS and pending(paths, "train_next") == [order]
    assert answered(paths, order.id) is None
    answer(paths, "train_next", order, True, "paused")
    done = json.loads((paths.orders / "done" / path.name).read_bytes())
    assert set(done) == {*KEYS, "ok", "message"} and (done["ok"], done["message"]) == (True, "paused")
    assert pending(paths, "train_next") == [] and not path.exists()


@pytest.mark.parametrize(
    "text",
    ["{", "{}", '{"schema": "weaver.order/1", "id": "another", "verb": "pause", "args": {}, "by": "x", "at": "x"}'],
    ids=["torn", "no order", "the id of another file"],
)
def test_file_that_is_no_order_is_answered_with_its_error_and_kept(paths: Paths, text: str) -> None:
    folder = paths.orders / "train_next"
    folder.mkdir()
    (folder / "wanted.json").write_text(text)
    assert pending(paths, "train_next") == [] == pending(paths, "train_next")
    assert (paths.orders / "done" / "wanted.damaged.json").read_text() == text
    reply = json.loads((paths.orders / "done" / "wanted.json").read_bytes())
    assert reply["ok"] is False and "wanted.json" in reply["message"]

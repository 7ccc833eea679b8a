"""Orders: files with the contract's keys, answered once, and never obeyed twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import InvalidData
from core.files import Ops
from core.orders import Order, answer, answered, pending, place
from core.paths import Paths

NOW = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)
KEYS = {"schema", "id", "verb", "args", "by", "at"}


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


class Killed(BaseException):
    """The process ends here."""


class KilledAt(Ops):
    """System calls before the k-th of which, or after it, the process ends."""

    def __init__(self, at: int, is_after: bool) -> None:
        super().__init__()
        self._left, self._is_after = at, is_after

    def _do(self, act: Callable[[], None]) -> None:
        self._left -= 1
        if self._left == -1 and not self._is_after:
            raise Killed
        act()
        if self._left == -1:
            raise Killed

    def write_new(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        write = super().write_new
        self._do(lambda: write(path, data, mode))

    def fsync(self, path: Path) -> None:
        fsync = super().fsync
        self._do(lambda: fsync(path))

    def replace(self, source: Path, target: Path) -> None:
        replace = super().replace
        self._do(lambda: replace(source, target))

    def rename_new(self, source: Path, target: Path) -> None:
        rename = super().rename_new
        self._do(lambda: rename(source, target))


def put(paths: Paths, name: str, text: str) -> Path:
    path = paths.orders / "train_next" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def done(paths: Paths) -> list[str]:
    return sorted(path.name for path in (paths.orders / "done").iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(6))
def test_answering_killed_anywhere_loses_no_answer_and_what_was_answered_is_not_obeyed_again(
    paths: Paths, at: int, is_after: bool
) -> None:
    order = place(paths, "train_next", "skip", {}, "person", NOW)
    path = paths.orders / "train_next" / f"{order.id}.json"
    with pytest.raises(Killed):
        answer(paths, "train_next", order, True, "skipped", KilledAt(at, is_after))
    answer_is_written = b'"ok"' in path.read_bytes() if path.exists() else True
    assert pending(paths, "train_next") == ([] if answer_is_written else [order])
    if not answer_is_written:
        assert at <= 2 and answered(paths, order.id) is None
        answer(paths, "train_next", order, True, "skipped")
    reply = answered(paths, order.id)
    assert reply is not None and (reply.ok, reply.message, reply.verb) == (True, "skipped", "skip")
    assert pending(paths, "train_next") == [] and done(paths) == [path.name] and not path.exists()


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(6))
def test_refusal_killed_anywhere_is_finished_by_the_next_life(paths: Paths, at: int, is_after: bool) -> None:
    put(paths, "wanted.json", "{")
    with pytest.raises(Killed):
        pending(paths, "train_next", KilledAt(at, is_after))
    assert pending(paths, "train_next") == []
    assert done(paths) == ["wanted.damaged.json", "wanted.json"]
    assert json.loads((paths.orders / "done" / "wanted.json").read_bytes())["ok"] is False


def test_orders_come_in_the_order_in_which_they_were_placed_and_only_to_their_owner(paths: Paths) -> None:
    placed = [place(paths, "train_next", "pause", {"n": n}, "person", NOW + timedelta(seconds=9 - n)) for n in range(10)]
    place(paths, "weaver", "restart", {"name": "web"}, "person", NOW)
    assert pending(paths, "train_next") == placed[::-1]
    assert [order.verb for order in pending(paths, "weaver")] == ["restart"]
    assert pending(paths, "nobody") == []


def test_placing_the_same_order_twice_makes_two(paths: Paths) -> None:
    assert len({place(paths, "weaver", "restart", {}, "person", NOW).id for _ in range(20)}) == 20
    assert len(pending(paths, "weaver")) == 20


def test_answered_order_that_is_put_back_is_not_obeyed_again_and_keeps_its_first_answer(paths: Paths) -> None:
    order = place(paths, "train_next", "skip", {}, "person", NOW)
    path = paths.orders / "train_next" / f"{order.id}.json"
    as_placed = path.read_text()
    answer(paths, "train_next", order, True, "first")
    for text in (as_placed, (paths.orders / "done" / path.name).read_text()):
        path.write_text(text)
        assert pending(paths, "train_next") == [] and not path.exists()
    reply = answered(paths, order.id)
    assert reply is not None and reply.message == "first"


def test_damaged_file_with_the_name_of_an_answered_order_leaves_its_answer(paths: Paths) -> None:
    order = place(paths, "train_next", "skip", {}, "person", NOW)
    answer(paths, "train_next", order, True, "first")
    put(paths, f"{order.id}.json", "{")
    assert pending(paths, "train_next") == []
    reply = answered(paths, order.id)
    assert reply is not None and reply.message == "first"
    assert done(paths) == [f"{order.id}.damaged.json", f"{order.id}.json"]


def test_damaged_files_of_one_name_are_all_kept_and_keep_no_order_waiting(paths: Paths) -> None:
    order = place(paths, "train_next", "pause", {}, "person", NOW)
    for turn in range(3):
        put(paths, "bad.json", "{" * (turn + 1))
        assert pending(paths, "train_next") == [order]
    names = ("bad.damaged.json", "bad-2.damaged.json", "bad-3.damaged.json")
    assert [(paths.orders / "done" / name).read_text() for name in names] == ["{", "{{", "{{{"]


def test_what_is_no_file_is_put_aside_unopened(paths: Paths) -> None:
    order = place(paths, "train_next", "pause", {}, "person", NOW)
    folder = paths.orders / "train_next"
    (folder / "a-folder.json").mkdir()
    os.mkfifo(folder / "a-pipe.json")
    (folder / "a-link.json").symlink_to(paths.orders)
    assert pending(paths, "train_next") == [order]
    assert [path.name for path in folder.iterdir()] == [f"{order.id}.json"]
    for name in ("a-folder", "a-pipe", "a-link"):
        assert f"{name}.damaged.json" in done(paths)
        assert "no regular file" in (paths.orders / "done" / f"{name}.json").read_text()


@pytest.mark.parametrize("name", ["x" * 250 + ".json", os.fsdecode(b"\xff\xfe.json")], ids=["long", "not UTF-8"])
def test_name_that_no_id_has_keeps_nobody_waiting(paths: Paths, name: str) -> None:
    put(paths, name, "{}")
    assert pending(paths, "train_next") == []
    assert list((paths.orders / "train_next").iterdir()) == [] and len(done(paths)) == 2


def test_hidden_and_other_files_are_no_orders(paths: Paths) -> None:
    names = [".x.json", ".x.json.1.0a1b2c3d.tmp", "notes.txt"]
    for name in names:
        put(paths, name, "{")
    assert pending(paths, "train_next") == [] and done(paths) == []
    assert sorted(path.name for path in (paths.orders / "train_next").iterdir()) == names


def test_order_of_a_newer_version_is_refused_with_both_versions(paths: Paths) -> None:
    put(paths, "new.json", '{"schema": "weaver.order/2", "id": "new", "verb": "pause"}')
    assert pending(paths, "train_next") == []
    reply = (paths.orders / "done" / "new.json").read_text()
    assert "weaver.order/2" in reply and "weaver.order/1" in reply


def test_answer_makes_the_folder_of_answers_when_it_is_gone(paths: Paths) -> None:
    order = place(paths, "train_next", "pause", {}, "person", NOW)
    (paths.orders / "done").rmdir()
    answer(paths, "train_next", order, False, "no job runs")
    reply = answered(paths, order.id)
    assert reply is not None and reply.ok is False


def test_argument_that_no_record_can_hold_places_nothing(paths: Paths) -> None:
    for bad in (float("nan"), "\ud800"):
        with pytest.raises(InvalidData):
            place(paths, "weaver", "restart", {"name": bad}, "person", NOW)
    assert pending(paths, "weaver") == []


def test_answer_of_another_schema_is_no_answer_to_an_order(paths: Paths) -> None:
    assert Order(id="x", verb="v", args={}, by="b", at="t").ok is None
    put(paths, "wanted.json", "{")
    pending(paths, "train_next")
    with pytest.raises(InvalidData, match="refused-order"):
        answered(paths, "wanted")

"""Following the event files: every event once, across rotations and torn records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import core.log
from core.files import append_record
from core.log import write_event
from core.paths import Paths
from daemons.notices.following import PIECE_BYTES, Cursor, ends, read_news


def names(events: list[dict[str, object]]) -> list[object]:
    return [event["event"] for event in events]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "logs" / "events").mkdir(parents=True)
    return Paths(tmp_path)


def test_each_event_is_given_once_in_the_order_of_time(paths: Paths) -> None:
    folder = paths.logs / "events"
    write_event(paths, "weaver", "old")
    cursors = ends(folder)
    for program, event in (("weaver", "a"), ("train_next", "b"), ("weaver", "c")):
        write_event(paths, program, event)
    events, cursors, is_more = read_news(folder, cursors)
    assert sorted(str(name) for name in names(events)) == ["a", "b", "c"]
    assert [event["at"] for event in events] == sorted(str(event["at"]) for event in events)
    events, again, is_more = read_news(folder, cursors)
    assert (events, again, is_more) == ([], cursors, False)


def test_record_that_is_being_written_waits_and_a_torn_one_is_passed_over(paths: Paths) -> None:
    path = paths.logs / "events" / "weaver.jsonl"
    write_event(paths, "weaver", "a")
    with path.open("ab") as file:
        file.write(b'{"event":"tor')
    events, cursors, _ = read_news(path.parent, {})
    assert names(events) == ["a"]
    write_event(paths, "weaver", "b")
    assert names(read_news(path.parent, cursors)[0]) == ["b"]


def test_rotation_loses_and_repeats_nothing(paths: Paths) -> None:
    folder = paths.logs / "events"
    path = folder / "weaver.jsonl"
    write_event(paths, "weaver", "a")
    _, cursors, _ = read_news(folder, {})
    write_event(paths, "weaver", "b")
    with path.open("ab") as file:
        file.truncate(core.log.EVENT_BYTES + 1)  # a hole of zeros: as large as a file that is rotated
    write_event(paths, "weaver", "c")
    assert (folder / "weaver.1.jsonl").exists()
    found, is_more = list[object](), True
    while is_more:
        events, cursors, is_more = read_news(folder, cursors)
        found += names(events)
    assert found == ["b", "c"]


def test_more_than_a_piece_is_read_in_pieces(paths: Paths) -> None:
    folder = paths.logs / "events"
    record = json.dumps({"at": "x", "event": "long", "text": "y" * 200_000}).encode()
    for _ in range(12):
        append_record(folder / "weaver.jsonl", record)
    count, cursors, is_more, rounds = 0, dict[str, Cursor](), True, 0
    while is_more:
        events, cursors, is_more = read_news(folder, cursors)
        count, rounds = count + len(events), rounds + 1
    assert count == 12 and rounds >= 12 * 200_000 // PIECE_BYTES


def test_deleted_events_begin_anew(paths: Paths) -> None:
    folder = paths.logs / "events"
    for event in ("a", "b"):
        write_event(paths, "weaver", event)
    _, cursors, _ = read_news(folder, {})
    (folder / "weaver.jsonl").unlink()
    write_event(paths, "weaver", "c")
    assert names(read_news(folder, cursors)[0]) == ["c"]

"""Logs: one JSON object a line, numbered without gaps, floods thinned and counted."""

from __future__ import annotations

import json

import pytest

from core.files import read_records
from core.log import BURST, EVENT_BYTES, LONGEST_HALF, open_log, write_event
from core.paths import Paths
from core.records import strict_json


def test_records_are_numbered_one_by_one_and_a_flood_is_thinned(paths: Paths) -> None:
    log = open_log(paths, "flooder")
    for number in range(BURST * 20):
        log.info("record %d", number, extra={"event": "flood", "job": "a-job"})
    for handler in log.handlers:
        handler.close()
    lines = [json.loads(line) for line in (paths.logs / "flooder.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) < BURST * 20
    assert {line["program"] for line in lines} == {"flooder"} and {line["job"] for line in lines} == {"a-job"}
    assert set(lines[0]) == {
        "at", "mono", "boot_id", "seq", "level", "program", "event", "msg", "job", "checkpoint",
    }  # fmt: skip


def test_name_that_is_not_utf8_costs_neither_record_nor_event(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    log = open_log(paths, "reader")
    log.warning("cannot read %s", "\udcff.jsonl", extra={"job": "a \ud800 job"})
    log.warning("next")
    for handler in log.handlers:
        handler.close()
    lines = [strict_json(line) for line in (paths.logs / "reader.jsonl").read_bytes().splitlines()]
    assert [line["msg"] for line in lines] == ["cannot read ?.jsonl", "next"] and lines[0]["job"] == "a ? job"
    assert capsys.readouterr().err == ""
    write_event(paths, "reader", "lost", name="\udcff.jsonl")
    [event] = [strict_json(record) for record in read_records(paths.logs / "events" / "reader.jsonl")]
    assert (event["program"], event["event"], event["name"]) == ("reader", "lost", "?.jsonl")


def test_long_message_keeps_its_beginning_and_its_end(paths: Paths) -> None:
    log = open_log(paths, "talker")
    log.error("first words %s last words", "x" * 10**7)
    for handler in log.handlers:
        handler.close()
    [line] = (paths.logs / "talker.jsonl").read_text(encoding="utf-8").splitlines()
    message = json.loads(line)["msg"]
    assert message.startswith("first words x") and message.endswith("x last words") and "characters left out" in message
    assert len(line) < 2 * LONGEST_HALF + 1000


def test_events_are_kept_twice_at_most(paths: Paths) -> None:
    path = paths.logs / "events" / "busy.jsonl"
    for content in (b"first\n", b"second\n"):
        path.write_bytes(content + b"x" * EVENT_BYTES)
        write_event(paths, "busy", "next")
        assert path.stat().st_size < 1000
        assert path.with_suffix(".1.jsonl").read_bytes().startswith(content)
    assert len(list(path.parent.iterdir())) == 2

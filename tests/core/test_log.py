"""Logs: one JSON object a line, numbered without gaps, floods thinned and counted."""

from __future__ import annotations

import json

from core.log import BURST, open_log
from core.paths import Paths


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

"""What trace reads to follow lines; what it says of them is tested from the command line, in tests/weaver/cli/test_history."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from core.accounting.trace import trace
from core.checkpoints.ledger import SIDECAR
from core.jobs.job import Line
from core.records import encode
from tests.core.accounting.test_lines import put_head, train
from tests.core.home_files import make_home, put_job

_opened: list[str] | None = None


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(args[0]))


def test_records_of_the_checkpoints_are_read_as_often_for_many_lines_as_for_one(tmp_path: Path) -> None:
    global _opened
    paths = make_home(tmp_path / "home")
    job = put_job(paths, "completed", accepted=9)
    line = encode(Line([{"role": "user", "content": "again"}])) + b"\n"
    (paths.state("completed") / job / "data.jsonl").write_bytes(line * 9)
    last = train(paths, 0, None, {})
    for step in range(1, 4):
        last = train(paths, step, last, {job: [3 * step - 2, 3 * step - 1, 3 * step]})
    put_head(paths, last)
    sys.addaudithook(_note)
    counts = []
    for query in (f"{job}:1", "again"):
        _opened = []
        found = trace(paths, query, 20).lines
        counts.append(sum(name.endswith(SIDECAR) for name in _opened))
        _opened = None
        assert [(one.fate, len(one.passages)) for one in found] == [("trained", 1)] * len(found)
    assert len(found) == 9
    assert counts[0] == counts[1] > 0

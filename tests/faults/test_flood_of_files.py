"""Very many files at once: each becomes one job, none is lost, and a watch_inbox that dies in between changes nothing."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from core.accounting.audit import audit
from tests.daemons.inbox_builder import InboxHome, good, jsonl, make_tokenizer

FILES = int(os.environ.get("FLOOD_FILES", "600"))
"""The issue's figure is 10,000, which takes minutes of flushing: FLOOD_FILES=10000 runs it."""


def test_every_file_of_a_flood_becomes_one_job_over_several_lives(tmp_path: Path) -> None:
    """About 15 s: 600 files are taken, validated and flushed one by one."""
    inbox = InboxHome(tmp_path / "home", make_tokenizer(tmp_path / "tokenizer"))
    for number in range(FILES):
        hidden = inbox.paths.inbox / f".{number}"
        hidden.write_text(jsonl(good(2, first=10 * number)))
        hidden.rename(inbox.paths.inbox / f"flood-{number}.jsonl")
    ticks = 0
    while inbox.spool.undecided():
        ticks += 1
        assert ticks < 20 + FILES, "it does not get on"
        inbox.clock.passed_s += 1.0
        inbox.tick()
        if ticks % 3 == 0:
            inbox.restart()
    names = Counter(inbox.spool.read(job)[1].name for job in inbox.spool.list("normal"))
    assert names == {f"flood-{number}.jsonl": 1 for number in range(FILES)}
    found = audit(inbox.paths)
    wrong = [text for one in found.invariants if one.id in ("I1", "I3") for text in one.violations]
    assert (wrong, found.lines.dropped, found.lines.pending) == ([], 2 * FILES, 2 * FILES)

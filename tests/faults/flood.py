"""Very many files at once in an inbox, taken by a watch_inbox that dies again and again; for tests and benchmarks/faults.py."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from core.accounting.audit import audit
from tests.daemons.inbox_builder import InboxHome, good, jsonl, make_tokenizer

LIVES = 3
"""Ticks of one life."""


def flood(root: Path, files: int) -> list[str]:
    """Drop so many files of two lines at once, have all of them taken, and say what is not as it must be."""
    inbox = InboxHome(root / "home", make_tokenizer(root / "tokenizer"))
    for number in range(files):
        hidden = inbox.paths.inbox / f".{number}"
        hidden.write_text(jsonl(good(2, first=10 * number)))
        hidden.rename(inbox.paths.inbox / f"flood-{number}.jsonl")
    ticks = 0
    while inbox.spool.undecided():
        ticks += 1
        if ticks > 20 + files:
            return [f"after {ticks} ticks {inbox.spool.undecided()} files have no verdict"]
        inbox.clock.passed_s += 1.0
        inbox.tick()
        if ticks % LIVES == 0:
            inbox.restart()
    names = Counter(inbox.spool.read(job)[1].name for job in inbox.spool.list("normal"))
    wrong = {name: count for name, count in names.items() if count != 1}
    missing = {f"flood-{number}.jsonl" for number in range(files)} - names.keys()
    found = audit(inbox.paths)
    texts = [f"{one.id}: {text}" for one in found.invariants if one.id in ("I1", "I3") for text in one.violations]
    texts += [f"jobs of one file: {wrong}"] if wrong else []
    texts += [f"no job: {sorted(missing)[:5]} of {len(missing)}"] if missing else []
    if (found.lines.dropped, found.lines.pending) != (2 * files, 2 * files):
        texts.append(f"I1: {2 * files} lines were dropped, the audit says {found.lines}")
    return texts

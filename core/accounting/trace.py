"""What became of one line: from the drop to the checkpoints that hold it.

Place in the flow: `weaver trace` asks. Reads job.json, data.jsonl, quarantine.jsonl, poison.jsonl and attempts.jsonl of the
jobs and the records of the checkpoints; writes nothing. Invariant: a line is called trained only if a checkpoint of the
surviving history says that it consumed it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from core.checkpoints.ledger import Ledger
from core.errors import InvalidData, NotFound, UsageError
from core.jobs.archive import opened
from core.jobs.job import Job, QuarantinedLine
from core.jobs.poison import poison_of
from core.jobs.spool import Spool
from core.paths import PRIORITIES, STATES, Paths
from core.records import Part, Record, decode
from core.runs.run import RowSpan

SHOWN_TEXT = 200

Fate = Literal["trained", "pending", "rejected", "duplicate", "failed", "removed", "expired", "reverted"]


class Passage(Part, frozen=True):
    """A checkpoint that consumed a line: in which epoch, between which steps, and whether it is of the surviving history."""

    checkpoint: str
    epoch: int
    steps_from: int
    steps_to: int
    is_surviving: bool


class TracedLine(Part, frozen=True):
    """One line. line: its number in data.jsonl, or null for a refused one; drop_line: its number in the drop, if refused."""

    job: str
    name: str
    state: str
    line: int | None
    drop_line: int | None
    fate: Fate
    reason: str | None
    text: str
    passages: list[Passage]


class Trace(Record, frozen=True, tag="weaver.trace/1"):
    """`weaver trace --json`. is_cut: there are more lines than were asked for."""

    query: str
    lines: list[TracedLine]
    is_cut: bool


class _History:
    """What the checkpoints of the models consumed; the records of each model are read once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, dict[str, list[tuple[RowSpan, Passage]]]] = {}

    def passages(self, record: Job, number: int) -> list[Passage]:
        """Give the checkpoints that consumed a line of a job, by step and epoch."""
        if record.model not in self._known:
            self._known[record.model] = self._read(record.model)
        spans = self._known[record.model].get(record.id, [])
        found = [passage for span, passage in spans if number in span.lines]
        return sorted(found, key=lambda passage: (passage.steps_to, passage.epoch))

    def _read(self, model: str) -> dict[str, list[tuple[RowSpan, Passage]]]:
        try:
            chain, links = set(self._ledger.chain(model)), self._ledger.links(model)
        except (NotFound, InvalidData):  # a model without a history
            return {}
        found: dict[str, list[tuple[RowSpan, Passage]]] = {}
        for name, link in links.items():
            parent = (links.get(link.parent) or self._ledger.get(model, link.parent)).step if link.parent else 0
            for span in self._ledger.get(model, name).consumed:
                passage = Passage(
                    checkpoint=f"{model}/{name}", epoch=span.epoch, steps_from=parent + 1, steps_to=link.step,
                    is_surviving=name in chain,
                )  # fmt: skip
                found.setdefault(span.job, []).append((span, passage))
        return found


def trace(paths: Paths, query: str, most: int) -> Trace:
    """Follow `<job>:<line>` (a line of its data.jsonl), or every line that holds the text, newest jobs first.

    Raises NotFound for a job, a line or a text that is nowhere, UsageError for no text.
    """
    if not query.strip():
        raise UsageError(detail="trace what? Give <job>:<line>, or a text that the line holds")
    spool, history = Spool(paths), _History(Ledger(paths))
    job, _, number = query.rpartition(":")
    if job and number.isascii() and number.isdigit():
        found = [_numbered(paths, spool, history, job, int(number))]
    else:
        found = _holding(paths, spool, history, query, most + 1)
        if not found:
            raise NotFound(kind="line with the text", name=query[:100], known="the lines of all jobs in queue/ were searched")
    return Trace(query=query, lines=found[:most], is_cut=len(found) > most)


def _numbered(paths: Paths, spool: Spool, history: _History, job: str, number: int) -> TracedLine:
    state, record = spool.read(job)
    for at, data in _lines(paths.state(state) / job / "data.jsonl"):
        if at == number:
            return _accepted(spool, history, state, record, at, data)
    count = record.lines.accepted if record.lines else 0
    raise NotFound(kind=f"line in data.jsonl of {job}", name=str(number), known=f"lines 1 to {count}")


def _holding(paths: Paths, spool: Spool, history: _History, text: str, most: int) -> list[TracedLine]:
    """Search every job; a text is also found as JSON writes it, with escapes."""
    needles = _needles(text)
    found: list[TracedLine] = []
    for job in sorted({job for state in STATES for job in spool.list(state)}, reverse=True):
        try:
            state, record = spool.read(job)
        except (NotFound, InvalidData):  # moved on, or for the audit to tell
            continue
        folder = paths.state(state) / job
        for at, data in _lines(folder / "data.jsonl"):
            if any(needle in data for needle in needles):
                found.append(_accepted(spool, history, state, record, at, data))
        for refused, raw in _refused(folder / "quarantine.jsonl"):
            if any(needle in raw for needle in needles):
                found.append(_left_out(state, record, refused, raw))
        if len(found) >= most:
            break
    return found[:most]


def _needles(text: str) -> set[bytes]:
    try:
        return {text.encode(), msgspec.json.encode(text)[1:-1]}
    except UnicodeEncodeError as error:  # bytes of a command line that are no UTF-8
        raise UsageError(detail=f"{text!r} is not UTF-8, which all lines are") from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with opened(path) as file:
            yield from enumerate(file, 1)
    except FileNotFoundError:  # a rejected drop that was never read, or data that was removed to save space
        return


def _refused(path: Path) -> Iterator[tuple[QuarantinedLine, bytes]]:
    for _, data in _lines(path):
        try:
            line = decode(QuarantinedLine, data, str(path))
            yield line, base64.b64decode(line.raw_b64)
        except (InvalidData, binascii.Error):  # for the audit to tell
            continue


def _left_out(state: str, record: Job, line: QuarantinedLine, raw: bytes) -> TracedLine:
    return TracedLine(
        job=record.id, name=record.name, state=state, line=None, drop_line=line.line,
        fate="duplicate" if line.code == "duplicate" else "rejected", reason=f"{line.code}: {line.reason}", text=_shown(raw),
        passages=[],
    )  # fmt: skip


def _accepted(spool: Spool, history: _History, state: str, record: Job, number: int, data: bytes) -> TracedLine:
    passages = history.passages(record, number)
    reason = spool.reason(record.id)
    poison = next((line for line in poison_of(spool.folder(record.id)) if line.line == number), None)
    fate, why = _fate(state, passages, reason.code if reason else "", poison.reason if poison else None)
    return TracedLine(
        job=record.id, name=record.name, state=state, line=number, drop_line=None, fate=fate,
        reason=why or (f"{reason.code}: {reason.message}" if reason else None), text=_shown(data), passages=passages,
    )  # fmt: skip


def _fate(state: str, passages: Sequence[Passage], code: str, poison: str | None) -> tuple[Fate, str | None]:
    """Give a line's class, as the audit counts it, and the reason that is its own."""
    if any(passage.is_surviving for passage in passages):
        return "trained", None
    if poison is not None:
        return "failed", poison
    if state == "rejected":
        known: dict[str, Fate] = {"duplicate": "duplicate", "removed": "removed", "expired": "expired"}
        return known.get(code, "rejected"), None
    if state == "failed":
        return "failed", None
    if passages and state == "completed":
        return "reverted", "only checkpoints off the surviving history hold it"
    return "pending", None if state in (*PRIORITIES, "processing") else "no checkpoint holds it"


def _shown(data: bytes) -> str:
    text = data.decode("utf-8", "replace").strip()
    return text if len(text) <= SHOWN_TEXT else text[: SHOWN_TEXT - 1] + "…"

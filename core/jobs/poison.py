"""Lines that training cannot take: which they are, and which one is being tried right now.

Place in the flow: the trainer child writes processing/<job>/poison.jsonl (append) when a line made its numbers not finite, its
step fail or its process die, and probe.json while it tries a line alone. Everybody else reads: the audit counts these lines as
failed, the plan leaves them out. Invariant: data.jsonl is never rewritten; a line is named only after it failed by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from core.errors import CorruptRecord
from core.files import OPS, Ops, append_record, read_records
from core.process import ProcessRef
from core.records import Record, decode, encode, read_if_there

POISON = "poison.jsonl"
PROBE = "probe.json"


class PoisonLine(Record, frozen=True, tag="weaver.poison/1"):
    """One line of poison.jsonl. line: its number in data.jsonl (from 1); step: the global step that it spoiled.

    code says what it did: a loss or a gradient that is not finite, an error, the death of the process. checkpoint: the last one
    before, from which this can be seen again; probes: how many trials found it; raw_b64: the line, or its beginning.
    """

    line: int
    code: Literal["loss", "gradient", "error", "death"]
    reason: str
    step: int
    checkpoint: str
    probes: int
    at: str
    raw_b64: str


class Probe(Record, frozen=True, tag="weaver.probe/1"):
    """probe.json: this line is being tried alone at this step; if the file is still there, the trainer died of it.

    deaths: how often it died of it before; by: the trainer that tries it. Another one that finds the file may die of anything.
    It outlives a skip and a crash of everything, as the line stays what it is; a person who retries the job has it put aside.
    """

    job: str
    line: int
    step: int
    deaths: int
    by: ProcessRef
    at: str


def probe_of(folder: Path) -> Probe | None:
    """Give the line of a job that is tried alone, or was when the trainer died; None also when a power cut tore the record.

    It is not flushed: a torn one says no more than none, and the lines are tried again. Raises NewerRecord.
    """
    try:
        return read_if_there(Probe, folder / PROBE)
    except CorruptRecord:
        return None


def poison_of(folder: Path) -> list[PoisonLine]:
    """Give the lines of a job that are left out, each once, in the order in which they were found. Raises CorruptRecord."""
    path = folder / POISON
    found: dict[int, PoisonLine] = {}
    for record in read_records(path):
        line = decode(PoisonLine, record, str(path))
        found.setdefault(line.line, line)
    return list(found.values())


def add_poison(folder: Path, line: PoisonLine, ops: Ops = OPS) -> None:
    """Leave a line out from now on."""
    append_record(folder / POISON, encode(line), ops)

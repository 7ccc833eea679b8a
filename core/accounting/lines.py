"""What became of every dropped line (I1).

Place in the flow: core/accounting/audit.py asks first. Reads job.json, data.jsonl, quarantine.jsonl, poison.jsonl and
attempts.jsonl of every job and the records of every checkpoint; writes nothing. Invariant: the classes of lines add up to what
was dropped and no line is unaccounted.

A line counts as trained only if a checkpoint of the surviving history (the chain from head) says that it consumed it. Jobs
are read before the chain, and the chain only grows, so a factory at work is never accused of what it is just doing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.accounting.records import AuditLines, Findings
from core.checkpoints.ledger import Ledger
from core.errors import InvalidData, NotFound
from core.jobs.job import Job
from core.jobs.poison import poison_of
from core.jobs.spool import Spool
from core.paths import PRIORITIES, STATES, Paths

_BLOCK = 1 << 20


@dataclass(frozen=True)
class _Known:
    """One job as it was when the audit looked; rest is what its accepted lines are that no checkpoint consumed.

    poison: lines that training could not take.
    """

    id: str
    model: str
    dropped: int
    accepted: int
    rejected: int
    duplicate: int
    rest: str
    lost: int
    poison: frozenset[int]


def account(paths: Paths, ledger: Ledger) -> tuple[AuditLines, Findings]:
    """Put every line of every job into its class. Never raises for what it finds wrong."""
    lines = Findings()
    jobs = _read_jobs(paths, lines)
    accepted = {job.id: job.accepted for job in jobs}
    consumed = _Consumed(ledger, accepted, lines)
    totals = _count(jobs, consumed, lines)
    _refuse_strangers(paths, consumed.jobs(), set(accepted), lines)
    return totals, lines


def _read_jobs(paths: Paths, findings: Findings) -> list[_Known]:
    """Read every job; the folders are listed twice, so that one which moves meanwhile is not missed."""
    spool, known = Spool(paths), []
    for job in sorted({job for state in (*STATES, *STATES) for job in spool.list(state)}):
        findings.checked += 1
        try:
            state, record = spool.read(job)
            found = _describe(paths, spool, state, record)
        except (NotFound, InvalidData) as error:
            findings.add(f"{job}: {error}")
            continue
        if found is not None:
            known.append(found)
            if found.dropped != found.accepted + found.rejected + found.duplicate:
                findings.add(f"{job}: {found.dropped} lines dropped, but its record says what became of another number")
            if found.lost:
                findings.add(f"{job}: {found.lost} lines are neither in data.jsonl nor in quarantine.jsonl")
    return known


def _describe(paths: Paths, spool: Spool, state: str, record: Job) -> _Known | None:
    """Say what the lines of a job are now; None when its drop was never read as lines."""
    if record.lines is None:
        return None
    rest = {"completed": "unaccounted", "failed": "failed"}.get(state, "pending")
    if state == "rejected":
        reason = spool.reason(record.id)
        code = reason.code if reason else ""
        rest = code if code in ("duplicate", "removed", "expired") else "rejected"
    lost = 0
    if state in (*PRIORITIES, "processing", "failed"):
        folder = paths.state(state) / record.id
        kept = (_line_count(folder / "data.jsonl"), _line_count(folder / "quarantine.jsonl"))
        wanted = (record.lines.accepted, record.lines.rejected + record.lines.duplicate)
        if (paths.state(state) / record.id).is_dir():  # else it was moved on while we counted
            lost = sum(max(0, want - there) for want, there in zip(wanted, kept, strict=True))
    return _Known(
        id=record.id, model=record.model, dropped=record.lines.dropped, accepted=record.lines.accepted,
        rejected=record.lines.rejected, duplicate=record.lines.duplicate, rest=rest, lost=lost,
        poison=frozenset(line.line for line in poison_of(spool.folder(record.id))),
    )  # fmt: skip


def _line_count(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
    except FileNotFoundError:
        return 0


class _Consumed:
    """Which lines of which job the checkpoints consumed: on the surviving history, and, read only when asked for, off it.

    One byte a line; byte 0 says that a checkpoint names a line that the job does not have.
    """

    def __init__(self, ledger: Ledger, accepted: dict[str, int], findings: Findings) -> None:
        self._ledger, self._accepted = ledger, accepted
        self._chains: dict[str, set[str]] = {}
        self._on: dict[tuple[str, str], bytearray] = {}
        self._off: dict[tuple[str, str], bytearray] | None = None
        for model in ledger.models():
            try:
                self._chains[model] = set(ledger.chain(model))
            except InvalidData as error:
                findings.add(str(error))
                self._chains[model] = set()
            self._gather(model, self._chains[model], self._on)

    def _gather(self, model: str, names: set[str], into: dict[tuple[str, str], bytearray]) -> None:
        for name in names:
            for span in self._ledger.get(model, name).consumed:
                marks = into.setdefault((model, span.job), bytearray(self._accepted.get(span.job, 0) + 1))
                for line in span.lines:
                    marks[line if 0 < line < len(marks) else 0] = 1

    def jobs(self) -> set[str]:
        """Give the jobs that the surviving history names."""
        return {job for _, job in self._on}

    def marks(self, job: _Known) -> bytearray:
        """Give the marks of a job on the surviving history."""
        return self._on.get((job.model, job.id), bytearray(job.accepted + 1))

    def reverted(self, job: _Known) -> int:
        """Count the lines, poison apart, that only checkpoints off the surviving history consumed."""
        if self._off is None:
            self._off = {}
            for model, chain in self._chains.items():
                self._gather(model, set(self._ledger.links(model)) - chain, self._off)
        off = self._off.get((job.model, job.id), bytearray(job.accepted + 1))
        marks = self.marks(job)
        return sum(off[line] and not marks[line] and line not in job.poison for line in range(1, len(marks)))


def _count(jobs: list[_Known], consumed: _Consumed, findings: Findings) -> AuditLines:
    """Put every line into its class; what no class takes is unaccounted."""
    total = dict.fromkeys(AuditLines.__struct_fields__, 0)
    for job in jobs:
        marks = consumed.marks(job)
        if marks[0]:
            findings.add(f"{job.id}: a checkpoint names lines that the job does not have ({job.accepted} accepted)")
        trained = sum(marks[1:])
        poisoned = sum(1 for line in job.poison if 0 < line < len(marks) and not marks[line])
        rest, reverted = job.accepted - trained - poisoned, 0
        if job.rest == "unaccounted" and rest:
            reverted = consumed.reverted(job)
            if rest - reverted:
                findings.add(f"{job.id} is completed, but no checkpoint consumed {rest - reverted} of its {job.accepted} lines")
        total["dropped"] += job.dropped
        total["trained"] += trained
        total["rejected"] += job.rejected
        total["duplicate"] += job.duplicate
        total["reverted"] += reverted
        total["failed"] += poisoned
        total[job.rest] += rest - reverted - min(job.lost, rest - reverted)
    classes = sum(count for name, count in total.items() if name not in ("dropped", "unaccounted"))
    total["unaccounted"] = total["dropped"] - classes
    return AuditLines(**total)


def _refuse_strangers(paths: Paths, consumed: set[str], known: set[str], findings: Findings) -> None:
    """Report jobs that checkpoints consumed and that are in no state: what became of their other lines, nobody knows."""
    spool = Spool(paths)
    for job in sorted(consumed - known):
        try:
            spool.find(job)
        except NotFound:
            findings.add(f"a checkpoint consumed rows of job {job}, which is nowhere in the queue")

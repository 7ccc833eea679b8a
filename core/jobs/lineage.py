"""Lineage: of what each generator made and each validator judged, how much passed, how much was refused, and why.

Place in the flow: watch_inbox keeps status/data_lineage.json with it; GET /api/lineage serves that view, and makes up for it
where it is missing. Reads job.json and quarantine.jsonl of every job, each once: both are written before a job is published.
Invariants: the tallies follow from the job folders alone, whoever adds them up and in whatever order; total = passed + failed +
duplicate, of jobs and of lines; a rate of nothing is null.
"""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from core.errors import InvalidData, NotFound
from core.files import replace_quick
from core.jobs.job import Job, Maker, Reason
from core.jobs.spool import Spool
from core.names import is_identifier
from core.paths import STATES, Paths
from core.records import Part, Record, encode_pretty, read_if_there

PERSON = "person"
MOST_REASONS = 10
MOST_OFFENDERS = 5
READ_BYTES = 1 << 26
"""How much of one quarantine.jsonl is read; lines beyond it are refused lines whose code is not counted."""
_DUPLICATE = "duplicate"


class Outcomes(Part, frozen=True):
    """How many jobs or lines; passed: queued for training, failed: refused (all lines of a refused file are)."""

    total: int
    passed: int
    failed: int
    duplicate: int


class ReasonTally(Part, frozen=True):
    """One code: how many lines were refused with it, and how many whole files."""

    code: str
    lines: int
    jobs: int


class Offender(Part, frozen=True):
    """A job with refused lines; failed_share from 0 to 1, null when it was never read as lines; reason is the first one."""

    job: str
    name: str
    failed_share: float | None
    reason: Reason | None


class MakerTally(Part, frozen=True):
    """One version of a generator or validator; version is null for people. fail_rate: failed lines / all lines.

    uncounted: failed lines that stand in no reason, because their quarantine is larger than what is read of it.
    """

    id: str
    version: str | None
    jobs: Outcomes
    lines: Outcomes
    fail_rate: float | None
    reasons: list[ReasonTally]
    uncounted: int
    worst: list[Offender]


class Lineage(Record, frozen=True, tag="weaver.lineage/1"):
    """status/data_lineage.json and GET /api/lineage. unreadable: jobs whose record cannot be read, in no tally."""

    jobs: int
    unreadable: int
    generators: list[MakerTally]
    validators: list[MakerTally]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What one job adds. Lines by what became of them; codes of the refused lines; name and reason only where one is needed."""

    generator: tuple[str, str | None]
    validator: tuple[str, str | None]
    outcome: str
    passed: int
    failed: int
    duplicate: int
    codes: tuple[tuple[str, int], ...]
    uncounted: int
    is_counted: bool
    name: str
    reason: Reason | None

    @property
    def share(self) -> float | None:
        """Give the share of failed lines; None when there are no lines."""
        total = self.passed + self.failed + self.duplicate
        return self.failed / total if total and self.is_counted else None


class _Refused(msgspec.Struct):
    """What is looked at in a line of quarantine.jsonl."""

    line: int
    code: str
    reason: str


class LineageTally:
    """The facts of all jobs, each read once and kept in memory. One thread at a time."""

    def __init__(self, paths: Paths, read_bytes: int = READ_BYTES) -> None:
        self._paths, self._spool, self._read_bytes = paths, Spool(paths), read_bytes
        self._facts: dict[str, _Facts] = {}
        self._unreadable: set[str] = set()
        self._is_changed = True
        self._written: tuple[int, ...] | None = None

    def look(self, is_enough: Callable[[], bool] = lambda: False) -> bool:
        """Read the jobs that are new, forget those that are gone; False when it was enough before all were read."""
        there = self._names()
        gone = self._facts.keys() - there
        for job in gone:
            del self._facts[job]
        before, is_whole = self._unreadable, True
        self._unreadable = set()
        for job in sorted(there - self._facts.keys()):
            if is_enough():
                is_whole = False
                break
            try:
                self._facts[job] = self._read(job)
                self._is_changed = True
            except FileNotFoundError:  # moved on while we read
                is_whole = False
            except (InvalidData, NotFound, OSError):
                if any((self._paths.state(state) / job).is_dir() for state in STATES):
                    self._unreadable.add(job)
        self._is_changed |= bool(gone) or (is_whole and self._unreadable != before)
        return is_whole

    def keep_view(self, is_enough: Callable[[], bool]) -> bool:
        """Look, and write the view if it is no longer true, gone or not as we left it; False when jobs are left to read."""
        if not self.look(is_enough):
            return False
        path = view_path(self._paths)
        if self._is_changed or self._written is None or _identity(path) != self._written:
            replace_quick(path, encode_pretty(self.lineage()))
            self._written, self._is_changed = _identity(path), False
        return True

    def lineage(self) -> Lineage:
        """Add up what is known."""
        generators: dict[tuple[str, str | None], list[tuple[str, _Facts]]] = {}
        validators: dict[tuple[str, str | None], list[tuple[str, _Facts]]] = {}
        for job in sorted(self._facts):
            facts = self._facts[job]
            generators.setdefault(facts.generator, []).append((job, facts))
            validators.setdefault(facts.validator, []).append((job, facts))
        return Lineage(
            jobs=len(self._facts), unreadable=len(self._unreadable),
            generators=_tallies(generators), validators=_tallies(validators),
        )  # fmt: skip

    def _names(self) -> set[str]:
        """Give the ids of all jobs. The folders are listed twice, so that one which moves meanwhile is not missed."""
        names: set[str] = set()
        for state in (*STATES, *STATES):
            try:
                names.update(os.listdir(self._paths.state(state)))  # noqa: PTH208 - ten thousand names every two seconds
            except FileNotFoundError:
                continue
        return {name for name in names if name in self._facts or is_identifier(name)}

    def _read(self, job: str) -> _Facts:
        _, record = self._spool.read(job)
        folder = self._spool.folder(job)
        codes, first, read_all = _codes(folder / "quarantine.jsonl", self._read_bytes)
        if not (folder / "job.json").exists():
            raise FileNotFoundError(folder)
        return _facts(record, codes, first, read_all)


def _facts(job: Job, codes: Counter[str], first: Reason | None, read_all: bool) -> _Facts:
    """Say what a job adds, given the codes of its refused lines and the first of them."""
    lines, reason = job.lines, job.reason
    accepted, rejected, duplicate = (lines.accepted, lines.rejected, lines.duplicate) if lines else (0, 0, 0)
    outcome = "passed" if reason is None else (_DUPLICATE if reason.code == _DUPLICATE else "failed")
    failed = rejected + (accepted if outcome == "failed" else 0)
    codes.pop(_DUPLICATE, None)
    rest = max(0, failed - codes.total())
    if outcome == "failed" and reason is not None and read_all:
        codes[reason.code] += rest  # counted when the verdict on the whole file was known already, or accepted in vain
        rest = 0
    return _Facts(
        generator=_key(job.generator), validator=_key(job.validator), outcome=outcome,
        passed=accepted if outcome == "passed" else 0, failed=failed,
        duplicate=duplicate + (accepted if outcome == _DUPLICATE else 0), codes=tuple(codes.items()), uncounted=rest,
        is_counted=lines is not None, name=job.name if failed or outcome == "failed" else "",
        reason=(reason if outcome == "failed" else first) if failed or outcome == "failed" else None,
    )  # fmt: skip


def _key(maker: Maker | None) -> tuple[str, str | None]:
    return (maker.id, maker.version) if maker else (PERSON, None)


def _codes(path: Path, most: int) -> tuple[Counter[str], Reason | None, bool]:
    """Count the codes of the refused lines; give the first one as a reason, and whether the whole file was read."""
    codes, first, decoder = Counter[str](), None, msgspec.json.Decoder(_Refused)
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    refused = decoder.decode(line)
                except msgspec.DecodeError:  # damaged since: its line is counted as uncounted
                    continue
                codes[refused.code] += 1
                if first is None and refused.code != _DUPLICATE:
                    first = Reason(code=refused.code, message=f"line {refused.line}: {refused.reason}")
                if file.tell() >= most:
                    return codes, first, not file.read(1)
    except FileNotFoundError:
        return codes, None, True
    return codes, first, True


def _tallies(makers: dict[tuple[str, str | None], list[tuple[str, _Facts]]]) -> list[MakerTally]:
    return [_tally(*key, jobs) for key, jobs in sorted(makers.items(), key=lambda item: (item[0][0], item[0][1] or ""))]


def _tally(maker: str, version: str | None, jobs: list[tuple[str, _Facts]]) -> MakerTally:
    by_outcome = Counter(facts.outcome for _, facts in jobs)
    lines, files = Counter[str](), Counter[str]()
    for _, facts in jobs:
        for code, count in facts.codes:
            lines[code] += count
        if facts.outcome == "failed" and facts.reason is not None:
            files[facts.reason.code] += 1
    passed, failed, duplicate = (sum(getattr(facts, name) for _, facts in jobs) for name in ("passed", "failed", _DUPLICATE))
    total = passed + failed + duplicate
    codes = sorted(lines.keys() | files.keys(), key=lambda code: (-lines[code], -files[code], code))
    return MakerTally(
        id=maker, version=version,
        jobs=Outcomes(
            total=len(jobs), passed=by_outcome["passed"], failed=by_outcome["failed"], duplicate=by_outcome[_DUPLICATE]
        ),
        lines=Outcomes(total=total, passed=passed, failed=failed, duplicate=duplicate),
        fail_rate=failed / total if total else None,
        reasons=[ReasonTally(code=code, lines=lines[code], jobs=files[code]) for code in codes[:MOST_REASONS]],
        uncounted=sum(facts.uncounted for _, facts in jobs), worst=_worst(jobs),
    )  # fmt: skip


def _worst(jobs: Iterable[tuple[str, _Facts]]) -> list[Offender]:
    """Give the jobs with the highest share of refused lines, the newer first; after them those that were never read."""
    bad = [(-1.0 if facts.share is None else facts.share, job, facts) for job, facts in jobs if facts.name]
    worst = heapq.nlargest(MOST_OFFENDERS, bad, key=lambda item: item[:2])
    return [Offender(job=job, name=facts.name, failed_share=facts.share, reason=facts.reason) for _, job, facts in worst]


def view_path(paths: Paths) -> Path:
    """Give where the view lies."""
    return paths.status / "data_lineage.json"


def read_lineage(paths: Paths) -> Lineage | None:
    """Read the view; None when it is missing, damaged or of another version (its owner writes it again)."""
    try:
        return read_if_there(Lineage, view_path(paths))
    except InvalidData:
        return None


def _identity(path: Path) -> tuple[int, ...] | None:
    """Give what tells a file from any other that may lie under its name; None when there is none."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns

"""Why a job is where it is: refused lines by code, how its attempts ended, or what a queued one waits for and how long.

Place in the flow: `weaver queue why` prints it. Reads queue/ and, through core.overview, status/ and /proc. Invariants:
a cause is only named where a record says it; a time is only given where every number that it is made of is known.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from core.clock import Clock
from core.errors import WeaverError
from core.in_force import read_in_force
from core.jobs.finding import Receipt, in_line, read_queued, receipt_of
from core.jobs.job import Attempt, Job, Reason
from core.jobs.pause import paused
from core.jobs.retrying import waits_s
from core.jobs.spool import Spool
from core.overview import collect
from core.paths import PRIORITIES, Paths
from core.records import Part, Record
from core.status import State, StatusReport, TrainingStatus

MOST_REFUSED = 5
LONGEST_TEXT = 300
_AS_DROPPED = "queue/rejected/{job}/{raw} is the file as it was dropped"
_TO_DO: Mapping[str, str] = {
    "duplicate": "nothing, or `weaver queue retry {job}` to train the same lines again",
    "removed": "drop the file again if it is wanted after all; its lines are in queue/rejected/{job}/",
    "expired": "nothing: it was made for a checkpoint that a newer one has superseded",
    "unknown_keys": "`weaver queue add FILE --map prompt=<key> --map completion=<key>`; " + _AS_DROPPED,
    "text_needs_opt_in": "`weaver queue add FILE --spec text_v1`; " + _AS_DROPPED,
    "preference_data": "keep the good answers only, as messages; " + _AS_DROPPED,
    "unknown_ending": "rename the file so that its name ends in what it is; " + _AS_DROPPED,
}
_MEND = "mend the lines, see `weaver data check FILE` before dropping it again; " + _AS_DROPPED


class RefusedLine(Part, frozen=True):
    """One line that was left out, with the beginning of its text."""

    line: int
    code: str
    reason: str
    text: str


class Waits(Part, frozen=True):
    """What a queued job waits for. position from 1 among `queued`; starts_in_s is null when a number for it is not known.

    retry_in_s: it failed, and is passed over for so long.
    """

    position: int
    queued: int
    paused: str | None
    running: str | None
    running_eta_s: float | None
    starts_in_s: float | None
    retry_in_s: float | None = None


class Why(Record, frozen=True, tag="weaver.why/1"):
    """`weaver queue why --json`. says: the answer in one sentence; refused: the first of the lines that `codes` counts."""

    receipt: Receipt
    says: str
    reason: Reason | None = None
    codes: dict[str, int] = {}
    refused: list[RefusedLine] = []
    waits: Waits | None = None
    trouble: list[str] = []
    to_do: list[str] = []


def why_job(paths: Paths, job: str, environ: Mapping[str, str], clock: Clock) -> Why:
    """Explain one job. Raises NotFound, InvalidData for a record that cannot be read."""
    spool = Spool(paths)
    state, record = spool.read(job)
    known = receipt_of(spool, job, record)
    codes, refused = _refused(spool.folder(job) / "quarantine.jsonl")
    status = collect(paths, environ, clock).status
    if state in ("rejected", "failed"):
        reason = known.reason or Reason(code=state, message="its record does not say why")
        advice = _MEND if state == "rejected" else "see `weaver logs train_next`, then `weaver queue retry {job}`"
        raw = "raw.zst" if (spool.folder(job) / "raw.zst").exists() else "raw"
        to_do = [_TO_DO.get(reason.code, advice).format(job=job, raw=raw)]
        says = f"{state}, {reason.code}: {reason.message}"
        return Why(receipt=known, says=says, reason=reason, codes=codes, refused=refused, to_do=to_do)
    if state in PRIORITIES:
        waits = _waits(paths, record, status, waits_s(spool.read_attempts(job), clock.now()))
        trouble = [*_trouble(status, "train_next", "claims it"), *_disk(status)]
        to_do = ["`weaver queue resume`"] if waits.paused else []
        return Why(receipt=known, says=_waiting(waits), codes=codes, refused=refused, waits=waits, trouble=trouble, to_do=to_do)
    says = _training(paths, job, status.training) if state == "processing" else f"completed{_trained(record)}"
    says += _again(spool.read_attempts(job))
    trouble = _trouble(status, "train_next", "looks after its training") if state == "processing" else []
    return Why(receipt=known, says=says, codes=codes, refused=refused, trouble=trouble)


def why_drop(paths: Paths, drop: Receipt, environ: Mapping[str, str], clock: Clock) -> Why:
    """Explain a drop that is no job yet."""
    status = collect(paths, environ, clock).status
    says = (
        "it is being validated" if drop.state == "validating" else "it lies in the inbox; it is taken when nobody writes to it"
    )
    return Why(receipt=drop, says=says, trouble=[*_trouble(status, "watch_inbox", "takes and validates it"), *_disk(status)])


class _Quarantined(msgspec.Struct):
    """What is needed of a line of quarantine.jsonl."""

    line: int
    code: str
    reason: str
    raw_b64: str


def _refused(path: Path) -> tuple[dict[str, int], list[RefusedLine]]:
    """Count the quarantined lines by code, the most frequent first, and give the first few; none where nothing is recorded."""
    codes, first = Counter[str](), list[RefusedLine]()
    for line in _quarantined(path):
        codes[line.code] += 1
        if len(first) < MOST_REFUSED:
            first.append(refused_line(line.line, line.code, line.reason, line.raw_b64))
    return dict(codes.most_common()), first


def _quarantined(path: Path) -> Iterator[_Quarantined]:
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    yield msgspec.json.decode(line, type=_Quarantined)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
    except FileNotFoundError:
        return


def refused_line(line: int, code: str, reason: str, raw_b64: str) -> RefusedLine:
    """Show a quarantined line."""
    return RefusedLine(line=line, code=code, reason=reason, text=_text(raw_b64))


def _text(raw_b64: str) -> str:
    """Give the beginning of a refused line; what is not UTF-8 as \\xNN."""
    try:
        return base64.b64decode(raw_b64)[:LONGEST_TEXT].decode("utf-8", "backslashreplace")
    except binascii.Error:
        return ""


def _waits(paths: Paths, record: Job, status: StatusReport, retry_in_s: float) -> Waits:
    queued = in_line(paths)
    before = queued[: queued.index(record.id)] if record.id in queued else []
    pause = paused(paths)
    training = status.training
    return Waits(
        position=len(before) + 1, queued=max(len(queued), 1), paused=pause.verb if pause else None,
        running=training.job if training else None, running_eta_s=training.eta_s if training else None,
        starts_in_s=None if pause or retry_in_s else _starts_in(paths, before, training),
        retry_in_s=round(retry_in_s, 1) if retry_in_s else None,
    )  # fmt: skip


def _starts_in(paths: Paths, before: list[str], training: TrainingStatus | None) -> float | None:
    """Give the seconds until those before it are done: the running one as its trainer says, the others by its speed."""
    if training is None:
        return None if before else 0.0
    if training.eta_s is None:
        return None
    if before and not training.tokens_per_s:
        return None
    try:
        usual = read_in_force(paths, os.environ).config.training.epochs
    except WeaverError:
        return None
    seconds = training.eta_s
    for job in before:
        record = read_queued(paths, job)
        if record is not None and record.tokens is None:
            return None
        if record is not None and record.tokens is not None:
            seconds += record.tokens.total * (record.training.epochs or usual) / (training.tokens_per_s or 1.0)
    return round(seconds, 1)


def _waiting(waits: Waits) -> str:
    place = f"it is number {waits.position} of {waits.queued} queued jobs"
    if waits.paused:
        return f"{place}, and the queue is paused ({waits.paused}): nothing is claimed"
    if waits.retry_in_s is not None:
        return f"{place}; it failed and is tried again in {waits.retry_in_s:.0f} s, others go before it"
    return f"{place}; {waits.running} is being trained" if waits.running else f"{place}, and no job is being trained"


def _training(paths: Paths, job: str, training: TrainingStatus | None) -> str:
    pause = paused(paths)
    if pause is not None:
        return f"it is claimed and waits: the queue is paused ({pause.verb}), `weaver queue resume` goes on with it"
    if training is None or training.job != job:
        return "it is claimed and waits for the trainer, or for the checkpoint that will hold it"
    step = f", step {training.step} of {training.total_steps}" if training.step is not None else ""
    return f"it is being trained ({training.phase}{step})"


def _again(attempts: Sequence[Attempt]) -> str:
    replayed = sum(attempt.replayed or 0 for attempt in attempts)
    return f"; {replayed} of its steps were lost when a trainer died, and come again" if replayed else ""


def _trained(record: Job) -> str:
    return f": {record.lines.accepted} of {record.lines.dropped} lines were trained" if record.lines else ""


def _trouble(status: StatusReport, program: str, does: str) -> list[str]:
    """Say what is wrong with the program on which it depends."""
    if status.state == "stopped":
        return [f"Weaver is not running: {program} {does} when it is started, `weaver up`"]
    row = next((row for row in status.daemons if row.name == program), None)
    if row is None:
        return [f"{program}, which {does}, is not among the programs of this host"]
    if row.state is not State.RUNNING:
        return [f"{program}, which {does}, is {row.state}: {row.note or 'no reason given'}"]
    return []


def _disk(status: StatusReport) -> list[str]:
    floor = status.disk.floor_bytes
    if floor is None or status.disk.free_bytes >= floor:
        return []
    return [f"the disk has {status.disk.free_bytes} bytes free, {floor} must stay free (disk.floor_gb): free some space"]

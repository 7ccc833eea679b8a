"""How often each row of each job was trained in the surviving history (I2).

Place in the flow: core/accounting/audit.py asks. Reads the records of the checkpoints from head to step 0 and plan.json of
every job that they name; writes nothing. Invariant: a row of a plan is trained once for each time the job was trained from its
start, so that each line is trained exactly `epochs` times in a completed job that was not reverted.

Reading takes seconds and a factory at work goes on: a job is called wrong only by what is so while the job stands still, from
before its history is read until after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from core.accounting.records import Findings
from core.checkpoints.ledger import Ledger
from core.errors import InvalidData, NotFound
from core.jobs.poison import POISON, poison_of
from core.jobs.spool import Spool
from core.paths import Paths
from core.records import read
from core.runs.run import Plan, RowSpan

# How often a job that moves on each time is looked at again; one that never stands still is at work, and the next audit's.
LOOKS = 5


def check_training(paths: Paths, ledger: Ledger) -> Findings:
    """Compare what the surviving history consumed with the plans."""
    findings = Findings()
    for model in ledger.models():
        history = _History(paths, ledger, model)
        judged = history.judge()
        findings.checked += len(judged)
        doubted = [job for job, texts in judged.items() if texts != []]
        for _ in range(LOOKS):
            before = {job: history.standing(job) for job in doubted}
            judged = history.judge(before) if before else {}
            doubted = []
            for job, texts in judged.items():
                if texts is None or (texts and history.standing(job) != before[job]):
                    doubted.append(job)
                    continue
                for text in texts:
                    findings.add(f"{job}: {text}")
    return findings


class _History:
    """What the checkpoints of a model consumed, against the plans of its jobs; everything is read anew each time."""

    def __init__(self, paths: Paths, ledger: Ledger, model: str) -> None:
        self._paths, self._ledger, self._model = paths, ledger, model
        self._spool = Spool(paths)

    def judge(self, jobs: Collection[str] | None = None) -> dict[str, list[str] | None]:
        """Say of each job of the surviving history, or of those named, what does not fit; None: it moved under our eyes."""
        try:
            chain = self._ledger.chain(self._model)
            spans = _spans(self._ledger, self._model, chain)
            reverted = _spans(self._ledger, self._model, set(self._ledger.links(self._model)) - set(chain))
        except InvalidData:  # told by I1
            return {}
        judged: dict[str, list[str] | None] = {}
        for job in sorted(spans if jobs is None else spans.keys() & jobs):
            try:
                state = self._spool.find(job)
                folder = self._paths.state(state) / job
                plans, poison = _plans(folder), {line.line for line in poison_of(folder)}
            except NotFound:  # told by I1
                continue
            except FileNotFoundError:
                judged[job] = None
                continue
            except InvalidData as error:
                judged[job] = [str(error)]
                continue
            is_done = state == "completed" and job not in reverted
            judged[job] = list(_wrong(spans[job], plans, poison, is_done)) if plans or folder.is_dir() else None
        return judged

    def standing(self, job: str) -> tuple[object, ...]:
        """Say what a job is judged by beside its history: its state, and which files its plans and its poison are."""
        try:
            folder = self._paths.state(state := self._spool.find(job)) / job
        except NotFound:
            return ()
        found: list[object] = [state]
        for path in (folder / POISON, *_plan_paths(folder)):
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                found.append((path.name, facts.st_ino, facts.st_mtime_ns, facts.st_size))
        return tuple(found)


def _spans(ledger: Ledger, model: str, names: Iterable[str]) -> dict[str, list[RowSpan]]:
    found: dict[str, list[RowSpan]] = {}
    for name in names:
        for span in ledger.get(model, name).consumed:
            found.setdefault(span.job, []).append(span)
    return found


def _plans(folder: Path) -> list[Plan]:
    return [read(Plan, path) for path in _plan_paths(folder)]


def _plan_paths(folder: Path) -> list[Path]:
    """Give the plan in force first, then those that were put aside when the job was queued afresh."""
    return sorted(folder.glob("plan*.json"), key=lambda path: (path.name != "plan.json", path.name))


def _wrong(spans: Sequence[RowSpan], plans: Sequence[Plan], poison: set[int], is_done: bool) -> Iterator[str]:
    """Say what does not fit. A job has one plan unless it was queued afresh; then only the number of trainings is known."""
    if not plans:
        yield "checkpoints consumed rows of it, and it has no plan.json"
        return
    rows = max(len(plan.rows) for plan in plans)
    times = [0] * rows
    for span in spans:
        if not 0 <= span.rows_from <= span.rows_to <= rows:
            yield f"a checkpoint consumed its rows {span.rows_from} to {span.rows_to}; the plan has {rows}"
            return
        for row in range(span.rows_from, span.rows_to):
            times[row] += 1
    over = [row for row, count in enumerate(times) if count > len(plans)]
    if over:
        yield f"row {over[0]} (of {len(over)}) was trained {times[over[0]]} times, planned {len(plans)} times"
    if len(plans) > 1 or not is_done:
        return
    missing = [row for row, count in enumerate(times) if count == 0]
    if missing:
        yield f"it is completed, and row {missing[0]} (of {len(missing)}) was never trained"
    yield from _wrong_lines(spans, plans[0], poison)


def _wrong_lines(spans: Sequence[RowSpan], plan: Plan, poison: set[int]) -> Iterator[str]:
    epochs: dict[int, set[int]] = {}
    for span in spans:
        for line in span.lines:
            epochs.setdefault(line, set()).add(span.epoch)
    planned = {line for row in plan.rows for line in row}
    few = [line for line in sorted(planned - poison) if len(epochs.get(line, ())) != plan.epochs]
    if few:
        yield f"line {few[0]} (of {len(few)}) was trained in {len(epochs.get(few[0], ()))} epochs of {plan.epochs}"

"""How often each row of each job was trained in the surviving history (I2).

Place in the flow: core/accounting/audit.py asks. Reads the records of the checkpoints from head to step 0 and plan.json of
every job that they name; writes nothing. Invariant: a row of a plan is trained once for each time the job was trained from its
start, so that each line is trained exactly `epochs` times in a completed job that was not reverted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from core.accounting.records import Findings
from core.checkpoints.ledger import Ledger
from core.errors import InvalidData, NotFound
from core.jobs.poison import poison_of
from core.jobs.spool import Spool
from core.paths import Paths
from core.records import read
from core.runs.run import Plan, RowSpan


def check_training(paths: Paths, ledger: Ledger) -> Findings:
    """Compare what the surviving history consumed with the plans."""
    findings = Findings()
    spool = Spool(paths)
    for model in ledger.models():
        try:
            chain = ledger.chain(model)
            spans = _spans(ledger, model, chain)
            reverted = _spans(ledger, model, set(ledger.links(model)) - set(chain))
        except InvalidData:  # told by I1
            continue
        for job, consumed in sorted(spans.items()):
            try:
                state, folder = spool.find(job), spool.folder(job)
                plans = _plans(folder)
                poison = {line.line for line in poison_of(folder)}
            except NotFound:  # told by I1
                continue
            except (InvalidData, FileNotFoundError) as error:
                findings.add(f"{job}: {error}")
                continue
            findings.checked += 1
            for text in _wrong(consumed, plans, poison, state == "completed" and job not in reverted):
                findings.add(f"{job}: {text}")
    return findings


def _spans(ledger: Ledger, model: str, names: Iterable[str]) -> dict[str, list[RowSpan]]:
    found: dict[str, list[RowSpan]] = {}
    for name in names:
        for span in ledger.get(model, name).consumed:
            found.setdefault(span.job, []).append(span)
    return found


def _plans(folder: Path) -> list[Plan]:
    """Give the plan in force first, then those that were put aside when the job was queued afresh."""
    paths = sorted(folder.glob("plan*.json"), key=lambda path: (path.name != "plan.json", path.name))
    return [read(Plan, path) for path in paths]


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

"""What the queue's verbs say of one job: its records, its receipt, and why it is where it is.

Place in the flow: weaver/cli/queue.py and its waiting print through here. Reads queue/, writes nothing. Invariant: names,
reasons and lines of data reach the terminal as plain text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.jobs.finding import WAITING, Receipt, receipt, resolve
from core.jobs.job import Attempt, Job, Reason
from core.jobs.spool import Spool
from core.paths import Paths
from core.records import Record, read_if_there, to_builtins
from core.runs.run import Progress, RunResult
from weaver.cli.output import duration_text, fit, plain

if TYPE_CHECKING:
    from weaver.job_reasons import Why


class JobView(Record, frozen=True, tag="weaver.job-view/1"):
    """`weaver queue show --json`: a job with everything that lies beside it. folder is relative to the home."""

    id: str
    state: str
    folder: str
    job: Job
    reason: Reason | None
    attempts: list[Attempt]
    progress: Progress | None
    result: RunResult | None


def view_of(paths: Paths, job: str) -> JobView:
    """Read everything about a job. Raises NotFound, InvalidData."""
    spool = Spool(paths)
    state, record = spool.read(job)
    folder = spool.folder(job)
    return JobView(
        id=job, state=state, folder=str(folder.relative_to(paths.home)), job=record, reason=spool.reason(job),
        attempts=list(spool.read_attempts(job)), progress=read_if_there(Progress, folder / "progress.json"),
        result=read_if_there(RunResult, folder / "result.json"),
    )  # fmt: skip


def view_lines(view: JobView) -> list[str]:
    """Lay a job out, one fact a line; what is not known is left out."""
    facts = {"id": view.id, "state": view.state, "folder": view.folder, **to_builtins(view.job)}
    facts["reason"] = to_builtins(view.reason) if view.reason else None
    shown = {key: _value(value) for key, value in facts.items() if key != "schema" and value is not None}
    rows = [f"{key:<15} {value}" for key, value in shown.items() if value != "-"]
    for attempt in view.attempts:
        again = f"{attempt.replayed} steps trained again" if attempt.replayed else None
        said = " ".join(part for part in (attempt.event, attempt.outcome, attempt.detail, again) if part)
        rows.append(f"{'attempt':<15} {attempt.at} {plain(said)} (by {plain(attempt.by)})")
    if view.progress is not None:
        loss = "" if view.progress.loss is None else f", loss {view.progress.loss}"  # none before its first step
        rows.append(f"{'progress':<15} step {view.progress.step} of {view.progress.total_steps}{loss}")
    if view.result is not None:
        rows.append(f"{'result':<15} {view.result.outcome}: {plain(view.result.summary)}")
    return rows


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items() if item is not None) or "-"
    return plain(str(value))


def job_or_drop(paths: Paths, text: str) -> str | Receipt:
    """Give the id of the job that a person means, or the receipt of the drop that is none yet. Raises NotFound, Ambiguous."""
    found = receipt(paths, text)
    if found is not None and found.state in WAITING:
        return found
    return resolve(Spool(paths), text)


def receipt_line(found: Receipt) -> str:
    """Say in one line what became of a drop."""
    words = [plain(found.job or found.drop), found.state]
    if found.lines is not None:
        refused = f", {found.lines.rejected} refused" if found.lines.rejected else ""
        words.append(f"({found.lines.accepted} of {found.lines.dropped} lines accepted{refused})")
    if found.reason is not None:
        words.append(f"{plain(found.reason.code)}: {plain(found.reason.message)}")
    return " ".join(words)


def why_lines(why: Why) -> list[str]:
    """Lay an explanation out: the answer, refused lines by code, the first of them, and what to do."""
    rows = [f"{plain(why.receipt.job or why.receipt.drop)} {why.receipt.state}", f"  {plain(why.says)}"]
    if why.receipt.duplicate_of:
        rows.append(f"  the first job with these lines: {plain(why.receipt.duplicate_of)}")
    if why.waits is not None and why.waits.starts_in_s is not None:
        rows.append(f"  it starts in about {duration_text(why.waits.starts_in_s)}")
    rows += [f"  {plain(trouble)}" for trouble in why.trouble]
    if why.codes:
        rows.append("refused lines  " + ", ".join(f"{plain(code)} {count}" for code, count in why.codes.items()))
    for line in why.refused:
        rows += [f"  line {line.line} {plain(line.code)}: {plain(line.reason)}", f"    {fit(plain(line.text), 76)}"]
    shown, there = len(why.refused), sum(why.codes.values())
    if there > shown:
        rows.append(f"  and {there - shown} more in quarantine.jsonl of the job's folder")
    return rows + [f"to do  {plain(advice)}" for advice in why.to_do]

"""weaver data check: the verdict on files, for people and as JSON.

Place in the flow: weaver/cli/data_place.py checks, this says what was found. Reads the files and the home. Invariant: what is
said of a file is what job.json would say of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from core.jobs.check import Checked
from core.jobs.job import Job, TokenCounts
from core.paths import Paths
from core.records import Part, Record
from weaver.cli.data_place import desk
from weaver.cli.output import plain, print_data, print_record
from weaver.cli.sidecar_options import Said
from weaver.job_reasons import RefusedLine, refused_line

INVALID = 6
MOST_REFUSED = 3


class FileCheck(Part, frozen=True):
    """The verdict on one file. job: as it would be written; codes: refused lines by code; refused: the first of them."""

    file: str
    accepted: bool
    job: Job
    codes: dict[str, int]
    refused: list[RefusedLine]


class DataCheck(Record, frozen=True, tag="weaver.data-check/1"):
    """`weaver data check --json`."""

    files: list[FileCheck]


def check_files(paths: Paths, files: Sequence[Path], said: Said, as_json: bool) -> int:
    """Check files one by one and give the exit code: 0 when all would be accepted, else 6."""
    found = list[FileCheck]()
    with desk(paths, said) as place:
        for file in files:
            found.append(verdict_on(file, place.check(file)))
            if not as_json:
                print_data("\n".join(verdict_lines(found[-1])))
    if as_json:
        print_record(DataCheck(files=found))
    return 0 if all(one.accepted for one in found) else INVALID


def verdict_on(file: Path, checked: Checked) -> FileCheck:
    """Sum up what was found in a file that was checked to its end."""
    job = checked.job
    assert job is not None
    codes = dict(sorted(checked.tally.codes.items(), key=lambda item: -item[1]))
    refused = [
        refused_line(line.line, line.code, line.reason, line.raw_b64) for line in islice(checked.refused(), MOST_REFUSED)
    ]
    return FileCheck(file=str(file), accepted=job.reason is None, job=job, codes=codes, refused=refused)


def verdict_lines(found: FileCheck) -> list[str]:
    """Lay a verdict out for people."""
    job, name = found.job, plain(found.file)
    if job.reason is None:
        rows = [f"{name}: accepted ({job.spec}), it would be queued as {job.priority} for {plain(job.model)}"]
    else:
        rows = [f"{name}: rejected, {plain(job.reason.code)}: {plain(job.reason.message)}"]
    if job.duplicate_of:
        rows.append(f"  it would be a duplicate of {plain(job.duplicate_of)}")
    if job.lines is not None:
        repeated = f", {job.lines.duplicate} repeated" if job.lines.duplicate else ""
        rows.append(f"  lines   {job.lines.dropped}: {job.lines.accepted} accepted, {job.lines.rejected} refused{repeated}")
    if job.tokens is not None:
        rows.append(f"  tokens  {tokens_text(job.tokens)}")
    if found.codes:
        rows.append("  refused " + ", ".join(f"{plain(code)} {count}" for code, count in found.codes.items()))
    rows += [f"    line {line.line} {plain(line.code)}: {plain(line.reason)}" for line in found.refused]
    return rows


def tokens_text(tokens: TokenCounts) -> str:
    """Write token lengths for people."""
    names = ("min", "median", "p95", "p99", "max")
    return ", ".join(f"{name} {getattr(tokens, name)}" for name in names) + f"; {tokens.total} in all"

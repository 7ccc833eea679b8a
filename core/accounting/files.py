"""Whether queued jobs are whole (I3), status files can be read (I4), and what grows is bounded (I12).

Place in the flow: core/accounting/audit.py asks. Reads queue/, status/ and the sizes in logs/; writes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from core.accounting.records import Findings
from core.files import left_over
from core.jobs.spool import Spool
from core.log import EVENT_BYTES, LOG_BYTES, LOG_FILES, OUT_BYTES, OUT_FLOOD_BYTES
from core.paths import PRIORITIES, Paths

STATUS_BYTES = 64 * 10**6
SLACK_BYTES = 10**6
OLD_TEMPORARY_S = 86_400.0


def check_queued(paths: Paths) -> Findings:
    """See that every queued job has its record and its data: that is what was promised when it was called queued."""
    findings = Findings()
    spool = Spool(paths)
    for state in PRIORITIES:
        for job in spool.list(state):
            findings.checked += 1
            folder = paths.state(state) / job
            missing = [name for name in ("job.json", "data.jsonl") if not (folder / name).exists()]
            if missing and folder.exists():  # else it was claimed while we looked
                findings.add(f"{job} is queued without {' and '.join(missing)}")
    return findings


def check_views(paths: Paths) -> Findings:
    """Read every status file once: each is whole at every moment, as it appears by rename."""
    findings = Findings()
    for path, tear in views(paths):
        findings.checked += 1
        if tear is not None:
            findings.add(f"{path.relative_to(paths.home)} is torn: {tear}")
    return findings


def views(paths: Paths) -> Iterator[tuple[Path, str | None]]:
    """Give every status file that is there, and why it is torn; None for a whole one."""
    for path in sorted(_files(paths.status)):
        if path.name.startswith(".") or path.suffix != ".json":
            continue
        try:
            json.loads(path.read_bytes())
        except FileNotFoundError:  # a view may be deleted at any moment
            continue
        except ValueError as error:
            yield path, str(error)
        else:
            yield path, None


def check_bounds(paths: Paths) -> Findings:
    """Compare what grows with the bound of its writer."""
    findings = Findings()
    for path, bound in _bounded(paths):
        if (facts := _facts(path)) is None:
            continue
        findings.checked += 1
        if facts.st_size > bound:
            findings.add(f"{path.relative_to(paths.home)} has {facts.st_size} bytes; its writer keeps it under {bound}")
    total = sum(facts.st_size for path in _files(paths.status) if (facts := _facts(path)) is not None)
    if total > STATUS_BYTES:
        findings.add(f"status/ has {total} bytes; views stay under {STATUS_BYTES}")
    for path in _left_over(paths):
        findings.add(f"{path.relative_to(paths.home)} is a temporary file of more than a day ago")
    return findings


def _bounded(paths: Paths) -> Iterator[tuple[Path, int]]:
    for path in paths.logs.glob("*.jsonl*"):
        yield path, LOG_BYTES + SLACK_BYTES
    for path in paths.logs.glob("*.out"):
        yield path, OUT_BYTES + OUT_FLOOD_BYTES
    for path in (paths.logs / "events").glob("*.jsonl"):
        yield path, EVENT_BYTES + SLACK_BYTES
    for path in paths.logs.glob(f"*.jsonl.{LOG_FILES}"):
        yield path, 0


def _left_over(paths: Paths) -> Iterator[Path]:
    oldest = time.time() - OLD_TEMPORARY_S
    for tree in (paths.status, paths.queue, paths.models, paths.logs, paths.config):
        for folder, _, _ in os.walk(tree):
            yield from left_over(Path(folder), oldest)


def _files(folder: Path) -> Iterator[Path]:
    """Give every file below a folder; what is moved or deleted meanwhile is passed over."""
    for base, _, names in os.walk(folder):
        yield from (Path(base) / name for name in names)


def _facts(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None

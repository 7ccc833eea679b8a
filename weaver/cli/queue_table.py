"""weaver queue ls: the jobs in 80 columns or as JSON, answered at once.

Place in the flow: weaver/__main__.py comes here directly for a plain command line, weaver/cli/queue.py for any other.
Reads what weaver.queue_list reads. Invariant: nothing here imports Typer; what a job is called on the screen names it alone.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.clock import SystemClock
from core.paths import STATES, Paths
from weaver.cli.output import duration_text, fit, pad, paint, plain, print_data, print_record, use_colour
from weaver.queue_list import JobLine, QueueList, list_jobs

LIMIT = 20
_COLOURS = {"processing": "green", "failed": "red", "rejected": "yellow", "completed": "dim"}
_LEAST_NAME = 10


@dataclass
class Listing:
    """What was asked for. limit in jobs, 0: all."""

    state: str | None = None
    limit: int = LIMIT
    as_json: bool = False


def plain_listing(arguments: Sequence[str]) -> Listing | None:
    """Read the options of `queue ls`; None for anything unusual, which the command line's library judges and explains."""
    asked, left = Listing(), list(arguments)
    while left:
        option, separator, value = left.pop(0).partition("=")
        if option == "--json" and not separator:
            asked.as_json = True
            continue
        if option not in ("--state", "--limit") or not (separator or left):
            return None
        value = value if separator else left.pop(0)
        if option == "--state":
            asked.state = value
        elif value.isascii() and value.isdigit():
            asked.limit = int(value)
        else:
            return None
    return asked


def run_listing(paths: Paths, asked: Listing) -> int:
    """Print the list and give the exit code. Raises UsageError for an unknown state."""
    found = list_jobs(paths, asked.state, asked.limit, SystemClock().now())
    if asked.as_json:
        print_record(found)
    else:
        columns = max(80, shutil.get_terminal_size((80, 24)).columns)
        print_data("\n".join(lines(found, columns, use_colour(sys.stdout))))
    return 0


def lines(found: QueueList, columns: int, colours: bool) -> list[str]:
    """Lay the list out: a heading, a row a job, and what is not listed."""
    shown = list[str]()
    if found.jobs:
        names = short_ids(job.id for job in found.jobs)
        wide = max(map(len, names.values()))
        heading = f"{'JOB':<{wide}} {'STATE':<10} {'PRIO':<6} {'AGE':>6} {'LINES':>6} {'TOKENS':>6} NAME, REASON"
        shown = [paint(heading, "dim", colours), *(_row(job, names[job.id], wide, columns, colours) for job in found.jobs)]
    more = [f"{found.more} more jobs, --limit 0 lists all"] if found.more else []
    return [*shown, *more, _summary(found)]


def _row(job: JobLine, name: str, wide: int, columns: int, colours: bool) -> str:
    state = "queued" if job.state in ("high", "normal", "low") else job.state
    count = (
        job.lines.accepted if job.lines and state not in ("rejected", "failed") else job.lines.dropped if job.lines else None
    )
    numbers = f"{duration_text(job.age_s):>6} {count_text(count):>6} {count_text(job.tokens):>6}"
    row = f"{name:<{wide}} {paint(pad(state, 10), _COLOURS.get(state), colours)} {job.priority or '-':<6} {numbers} "
    return row + _name_and_reason(job, columns - wide - 40)


def _name_and_reason(job: JobLine, columns: int) -> str:
    """Fit a name and why the job ended so into one column; the reason's code is kept whole."""
    if job.error is not None:
        return fit(f"damaged: {plain(job.error)}", columns)
    name = plain(job.name or "")
    if job.reason is None:
        return fit(name, columns)
    code = plain(job.reason.code)
    room = columns - len(code) - 1
    return f"{fit(name, max(room, _LEAST_NAME))} {code}" if room >= _LEAST_NAME else fit(f"{code} {name}", columns)


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Give for each id the part that people type: time of day and some of the content; the whole where that is not unique."""
    ids = list(ids)
    short = {job: job[9:23] for job in ids}
    often = Counter(short.values())
    return {job: short[job] if often[short[job]] == 1 and len(short[job]) == 14 else job for job in ids}


def count_text(count: int | None) -> str:
    """Write a count for people in at most six characters; - when unknown."""
    if count is None:
        return "-"
    if count < 1_000_000:
        return str(count)
    return f"{count / 1e6:.1f}M" if count < 1_000_000_000 else f"{count / 1e9:.1f}G"


def _summary(found: QueueList) -> str:
    """Say in one line how many jobs there are in each state."""
    counts = {"inbox": found.counts["inbox"], "validating": found.validating} | {s: found.counts[s] for s in STATES}
    there = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    paused = " The queue is paused: `weaver queue resume`." if found.paused else ""
    return (there or "The queue is empty: `weaver queue add FILE` puts a file in.") + ("." if there else "") + paused

"""Whether nothing dead is shown alive (I5), nothing runs twice (I9), and no process is lost (I10).

Place in the flow: core/accounting/audit.py asks, once at its beginning and once at its end: what stands only in one of the two
looks was just starting or ending. Reads /proc and status/; writes nothing, signals nobody.

status/ may be deleted at any moment: the Weaver and the trainer are also known by the kernel locks that they hold, and by the
Weaver what it started. Its view says whom it adopted; a living Weaver soon writes it again: until then nobody is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.accounting.records import Findings
from core.liveness import TRAINER, WEAVER, Liveness
from core.paths import Paths
from core.process import is_alive, lock_holder, parent_of, spawned, zombies_of
from core.status import DaemonStatus, State, is_fresh, read_heartbeat, read_supervisor_view

ALONE = (WEAVER, TRAINER)
"""Programs of which a home has one, by kernel locks; of the others the Weaver starts one."""


@dataclass(frozen=True)
class Look:
    """What was wrong at one moment, and how much was looked at."""

    shown: frozenset[str]
    double: frozenset[str]
    lost: frozenset[str]
    rows: int
    processes: int


def look(paths: Paths, mono: float) -> Look:
    """Compare the table that people see with the processes that there are; mono in seconds of the monotonic clock."""
    rows = Liveness(paths, mono).rows()
    ours = {ref.pid: (program, ref) for program, ref in spawned(paths.home_id)}
    parents = {pid: parent_of(pid) for pid in ours}
    heads: dict[str, list[int]] = {}
    for pid, (program, ref) in ours.items():
        if is_alive(ref) and parents[pid] not in ours:
            heads.setdefault(program, []).append(pid)
    double = frozenset(f"{len(pids)} processes of {name}: {sorted(pids)}" for name, pids in heads.items() if len(pids) > 1)
    weaver = lock_holder(paths.home)
    known = {row.pid for row in rows} | {beat.pid for name in ALONE if (beat := read_heartbeat(paths, name)) is not None}
    known |= {weaver, lock_holder(paths.models)}
    is_told = weaver is None or read_supervisor_view(paths) is not None
    lost = {
        f"process {pid} ({ours[pid][0]}) is ours and nobody looks after it"
        for pid in ours
        if is_told and not _leads_to(pid, known, parents)
    }
    lost |= {
        f"process {pid} is a zombie of {parent}"
        for pid, parent in zombies_of({pid for pid in known if pid is not None} | ours.keys())
    }
    return Look(shown_dead(paths, rows, mono), double, frozenset(lost), len(rows), len(ours))


def shown_dead(paths: Paths, rows: Sequence[DaemonStatus], mono: float) -> frozenset[str]:
    """Say which rows of the table are RUNNING against their own heartbeat or the kernel; mono in seconds, of the table."""
    found = set()
    for row in rows:
        if row.state is not State.RUNNING:
            continue
        beat = read_heartbeat(paths, row.name)
        if beat is None or beat.pid != row.pid or not is_alive(beat.process):
            found.add(f"{row.name} is shown RUNNING and its process {row.pid} is not there")
        elif not is_fresh(beat, mono):
            found.add(f"{row.name} is shown RUNNING and has missed its beats")
    return frozenset(found)


def compare(first: Look, last: Look) -> tuple[Findings, Findings, Findings]:
    """Give what stood in both looks: I5, I9, I10."""
    found = (Findings(first.rows), Findings(first.processes), Findings(first.processes))
    for findings, both in zip(
        found, (first.shown & last.shown, first.double & last.double, first.lost & last.lost), strict=True
    ):
        for text in sorted(both):
            findings.add(text)
    return found


def _leads_to(pid: int, known: set[int | None], parents: dict[int, int]) -> bool:
    """Say whether a process is known, or descends from one that is through processes of ours."""
    while pid not in known:
        if pid not in parents:
            return False
        pid = parents[pid]
    return True

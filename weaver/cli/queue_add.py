"""weaver queue add: files of a person into the inbox, and the receipts if they are waited for.

Place in the flow: core.jobs.adding copies; watch_inbox takes what lies there. Files written: queue/inbox/<name>, its sidecar.
Invariant: everything that can be refused beforehand is refused before the first file is copied.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from core.errors import InvalidData, NotFound, NotRunning, UsageError
from core.in_force import read_in_force
from core.jobs.adding import add, check_free, check_name, check_room
from core.jobs.arrivals import refusal_of
from core.jobs.finding import Receipt, all_jobs
from core.jobs.job import Sidecar
from core.jobs.spool import Spool
from core.paths import Paths
from core.records import Record
from weaver.cli.output import plain, print_data, print_message, print_record
from weaver.cli.queue_told import receipt_line
from weaver.cli.queue_wait import await_verdicts, is_stopped
from weaver.cli.sidecar_options import Said, check_said, sidecar_of, whole_path

INVALID = 6


class Added(Record, frozen=True, tag="weaver.added/1"):
    """`weaver queue add --json`: a receipt a file, and whether anything runs that takes them."""

    drops: list[Receipt]
    is_running: bool


def add_files(paths: Paths, files: Sequence[Path], said: Said, wait: bool, timeout: float | None, as_json: bool) -> int:
    """Drop files and give the exit code: 0, or 6 when one that was waited for is rejected.

    Raises UsageError, NotFound, AlreadyExists, InvalidData, NoRoom, NotRunning, TimedOut.
    """
    files = [whole_path(file) for file in files]
    config = read_in_force(paths, os.environ).config.weaver
    check_said(said, sorted(config.models))
    sidecars = [_checked(paths, file, said, config.intake.max_file_bytes) for file in files]
    twice = [name for name, count in Counter(file.name for file in files).items() if count > 1]
    if twice:
        raise UsageError(detail=f"two files are named {twice[0]!r}; the inbox takes one of a name at a time.")
    check_room(paths, sum(file.stat().st_size for file in files), config.disk.floor_bytes)
    earlier = set(all_jobs(Spool(paths)))
    for file, sidecar in zip(files, sidecars, strict=True):
        add(paths, file, file.name, sidecar)
    is_running = not is_stopped(paths)
    receipts = [Receipt(drop=file.name, state="inbox") for file in files]
    if not as_json and not wait:
        _say(receipts)
    if not is_running:
        print_message(
            f"Weaver is not running; {'it is' if len(files) == 1 else 'they are'} taken when it is started, `weaver up`."
        )
    if wait:
        if not is_running:
            raise NotRunning(home=paths.home)
        receipts = await_verdicts(paths, [file.name for file in files], earlier, timeout)
    if as_json:
        print_record(Added(drops=receipts, is_running=is_running))
    elif wait:
        _say(receipts)
    return INVALID if any(receipt.state == "rejected" for receipt in receipts) else 0


def _checked(paths: Paths, file: Path, said: Said, largest: int) -> Sidecar | None:
    """Refuse what watch_inbox would refuse unread, and a name that is taken; give the sidecar."""
    if not file.exists():
        raise NotFound(kind="file", name=str(file), known="the path must lead to a file that is there")
    check_name(file.name)
    refusal = refusal_of(file, file.stat(), largest)
    if refusal is not None:
        raise InvalidData(where=str(file), detail=f"{refusal.code}: {refusal.message}")
    check_free(paths, file.name)
    return sidecar_of(file, said)


def _say(receipts: Sequence[Receipt]) -> None:
    for receipt in receipts:
        print_data(receipt_line(receipt) if receipt.job else plain(receipt.drop))

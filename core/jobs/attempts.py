"""What was tried with a job: its claims and their ends, and what each left behind.

Place in the flow: the spool notes them; train_next, the audit and people read them. Files: attempts.jsonl in the job's
folder, and <name>-<attempt>.json of what an attempt left. Invariant: nothing of an earlier attempt is overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from core.errors import AlreadyExists
from core.files import Ops, move, read_records
from core.jobs.job import Attempt
from core.records import decode


def attempts_of(folder: Path) -> tuple[Attempt, ...]:
    """Give the claims of the job in a folder and their ends, in order; none for a folder that is gone. Raises CorruptRecord."""
    path = folder / "attempts.jsonl"
    return tuple(decode(Attempt, record, str(path)) for record in read_records(path))


def put_aside(folder: Path, names: Iterable[str], ops: Ops) -> None:
    """Rename <name>.json to <name>-<attempt>.json (or .jsonl); what is not there is fine."""
    number = max(1, sum(attempt.event == "claimed" for attempt in attempts_of(folder)))
    for name in names:
        path = folder / name
        free = number
        while path.exists():
            try:
                move(path, path.with_name(f"{path.stem}-{free}{path.suffix}"), ops)
            except AlreadyExists:
                free += 1
            except FileNotFoundError:
                break

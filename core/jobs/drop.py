"""A drop that was taken: one rename out of the inbox into its private folder, with the facts of its arrival.

Place in the flow: watch_inbox takes what core/jobs/arrivals found; intake validates it there. Files written:
queue/.building/<provisional id>/{taken.json, raw, sidecar.json}. Invariants: the file is renamed, never copied, opened or
changed; killed at any instant it is either still in the inbox or whole in .building; a folder with a drop is never removed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import msgspec

from core.clock import from_iso, iso
from core.errors import CorruptRecord, InvalidData, NewerRecord
from core.files import OPS, Ops, move, remove_tree, replace_durable
from core.jobs.formats import TARGETS, DropRefused, shown
from core.jobs.inbox import SIDECAR_ENDING, stem
from core.jobs.job import Priority, Reason, Sidecar
from core.locked import locked_in_sidecar
from core.names import is_identifier, job_id
from core.paths import Paths
from core.records import Record, decode_strict, encode_pretty, read

_UNKNOWN_CONTENT = "0" * 64
_LARGEST_SIDECAR = 1 << 20
_MADE_PRIORITY: dict[str, Priority] = {"generate_data": "low", "spar": "high"}


class Taken(Record, frozen=True, tag="weaver.taken/1"):
    """taken.json: a drop as it arrived. place is the folder inside the inbox ("" for itself); refusal: it is never opened.

    bytes, inode and mtime_ns tell whether somebody went on writing into it.
    """

    name: str
    place: str
    received_at: str
    bytes: int
    inode: int
    mtime_ns: int
    has_sidecar: bool
    refusal: Reason | None


def printable(name: str) -> str:
    """Give a file name as text that any record can hold: bytes that are not UTF-8 are written as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def take(paths: Paths, place: str, name: str, now: datetime, refusal: Reason | None, ops: Ops = OPS) -> Path | None:
    """Rename inbox/<place>/<name> into a folder of its own; None when it is gone. Raises OSError when it cannot be renamed."""
    source = paths.inbox / place / name
    sidecar = source.with_name(name + SIDECAR_ENDING)
    try:
        facts = source.lstat()
    except FileNotFoundError:
        return None
    folder, received = _new_folder(paths, printable(name), now, ops)
    taken = Taken(
        name=printable(name), place=place, received_at=iso(received), has_sidecar=_is_file(sidecar), refusal=refusal,
        bytes=facts.st_size, inode=facts.st_ino, mtime_ns=facts.st_mtime_ns,
    )  # fmt: skip
    replace_durable(folder / "taken.json", encode_pretty(taken), ops)
    try:
        move(source, folder / "raw", ops)
    except FileNotFoundError:
        discard(paths, folder)
        return None
    except OSError:
        if not os.path.lexists(folder / "raw"):  # else it was renamed, and only flushing failed
            discard(paths, folder)
        raise
    if taken.has_sidecar:
        _take_sidecar(folder, sidecar, ops)
    return folder


def resume_taking(paths: Paths, folder: Path, ops: Ops = OPS) -> Taken | None:
    """Finish a taking that a kill cut short; None, and the folder is gone, when the drop is still in the inbox."""
    if not os.path.lexists(folder / "raw") and not (folder / "job.json").exists():
        discard(paths, folder)
        return None
    try:
        taken = read(Taken, folder / "taken.json")
    except (FileNotFoundError, InvalidData):
        taken = _facts_again(folder)
        replace_durable(folder / "taken.json", encode_pretty(taken), ops)
    if taken.has_sidecar and not (folder / "sidecar.json").exists():
        _take_sidecar(folder, paths.inbox / taken.place / (taken.name + SIDECAR_ENDING), ops)
    return taken


def retaken(folder: Path, taken: Taken, facts: os.stat_result, ops: Ops = OPS) -> Taken:
    """Note that the drop was written to after it was taken, and how large it is now."""
    taken = msgspec.structs.replace(taken, bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)
    replace_durable(folder / "taken.json", encode_pretty(taken), ops)
    return taken


def _facts_again(folder: Path) -> Taken:
    """Make up for a damaged taken.json: what is lost is the name as it was dropped and the folder of the inbox."""
    path = folder / "raw" if os.path.lexists(folder / "raw") else folder / "job.json"
    facts = path.lstat()
    return Taken(
        name=folder.name, place="", received_at=iso(datetime.fromtimestamp(facts.st_ctime, UTC)), has_sidecar=False,
        bytes=facts.st_size, inode=facts.st_ino, mtime_ns=facts.st_mtime_ns,
        refusal=None if _is_file(path) else Reason(code="not_a_regular_file", message="the drop is no regular file"),
    )  # fmt: skip


def _new_folder(paths: Paths, name: str, now: datetime, ops: Ops) -> tuple[Path, datetime]:
    while True:
        folder = paths.building / job_id(now, _UNKNOWN_CONTENT, stem(name))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            now += timedelta(milliseconds=1)
            continue
        ops.fsync(paths.building)
        return folder, now


def final_id(name: str, received_at: str, content_sha256: str | None) -> str:
    """Give the id of a job; a drop that was never read has the digest of its name where others have that of their content."""
    sha256 = content_sha256 or hashlib.sha256(name.encode()).hexdigest()
    return job_id(from_iso(received_at), sha256, stem(name))


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:  # not there, or a drop's name so long that no sidecar could have one
        return False


def _take_sidecar(folder: Path, sidecar: Path, ops: Ops) -> None:
    try:
        move(sidecar, folder / "sidecar.json", ops)
    except FileNotFoundError:  # its owner took it away between our two looks
        return


def discard(paths: Paths, folder: Path) -> None:
    """Remove a private folder that holds nothing that was dropped."""
    remove_tree(folder, paths.building / ".trash")


def read_sidecar(folder: Path, models: Mapping[str, object]) -> Sidecar:
    """Read and check the sidecar of a taken drop; an empty one when there is none. Raises DropRefused with what to mend."""
    path = folder / "sidecar.json"
    try:
        if path.stat().st_size > _LARGEST_SIDECAR:
            raise DropRefused(code="too_big", detail=f"the sidecar is larger than {_LARGEST_SIDECAR} bytes")
        sidecar = decode_strict(Sidecar, path.read_bytes(), "the sidecar")
    except FileNotFoundError:
        return Sidecar()
    except OSError as error:
        raise DropRefused(code="unreadable", detail=f"the sidecar cannot be read: {error.strerror}") from error
    except (CorruptRecord, NewerRecord) as error:
        locked = locked_in_sidecar(path.read_bytes())
        raise _bad_sidecar(f"no sidecar sets {shown(locked)}: locked with the model" if locked else str(error)) from error
    unknown = sorted(set(sidecar.columns or {}) - set(TARGETS))
    if unknown:
        raise _bad_sidecar(f"columns maps to {shown(unknown)}; a column can be {', '.join(TARGETS)}")
    if sidecar.model is not None and (sidecar.model not in models or not is_identifier(sidecar.model)):
        raise _bad_sidecar(f"there is no model {sidecar.model[:100]!r}; configured: {', '.join(sorted(models))}")
    if sidecar.training.epochs is not None and sidecar.training.epochs < 1:
        raise _bad_sidecar(f"training.epochs is {sidecar.training.epochs}; expected at least 1")
    return sidecar


def _bad_sidecar(detail: str) -> DropRefused:
    return DropRefused(
        code="unknown_keys",
        detail=f"the sidecar cannot be used: {detail}. A sidecar looks like "
        '{"schema": "weaver.sidecar/1", "columns": {"prompt": "question", "completion": "answer"}}; mend it, drop both again',
    )


def priority_of(taken: Taken, sidecar: Sidecar) -> Priority:
    """Give a drop's priority: as its sidecar says, else its folder, else by what made it; people's are normal."""
    if sidecar.priority is not None:
        return sidecar.priority
    if taken.place:
        return cast(Priority, taken.place)
    return _MADE_PRIORITY.get(sidecar.source or "", "normal")

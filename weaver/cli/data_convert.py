"""weaver data convert: any file that the factory reads as lines of {"messages": ...}, and what was refused beside it.

Place in the flow: core.jobs.check reads and judges; the output can be dropped, or given to any other program. Files written:
those that are asked for, under a dot-name until they are whole. Invariants: nothing is overwritten; a file appears whole or not
at all; dropped in its place, the output gives the same training.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from core.errors import AlreadyExists, InvalidData, UsageError
from core.files import OPS, move
from core.jobs.check import Checked
from core.jobs.job import Line
from core.paths import Paths
from core.records import Record, encode
from weaver.cli.data_check import FileCheck, verdict_lines, verdict_on
from weaver.cli.data_place import desk
from weaver.cli.output import print_data, print_message, print_record
from weaver.cli.sidecar_options import Said, whole_path

PREFIX = ".convert-"


class Converted(Record, frozen=True, tag="weaver.data-converted/1"):
    """`weaver data convert --json`. written and refused: lines; check: what was found in the source."""

    out: str
    written: int
    refused: int
    check: FileCheck


def convert_file(paths: Paths, file: Path, said: Said, out: Path, quarantine: Path | None, as_json: bool) -> int:
    """Convert a file. Raises UsageError, AlreadyExists, InvalidData when nothing of it can be converted."""
    if quarantine is not None and whole_path(quarantine) == whole_path(out):
        raise UsageError(detail=f"-o and --quarantine both name {out}; give the refused lines a file of their own.")
    for target in (out, quarantine):
        if target is not None and os.path.lexists(target):
            raise AlreadyExists(path=str(target))
        if target is not None and not target.absolute().parent.is_dir():
            raise InvalidData(where=str(target), detail="its folder does not exist; make it first")
    with desk(paths, said) as place:
        checked = place.check(file)
        found = verdict_on(file, checked)
        _refuse(file, checked)
        written = _write(out, (_converted(file, line) for line in checked.accepted()))
        refused = checked.tally.rejected + checked.tally.duplicate
        if quarantine is not None:
            _write(quarantine, (encode(line) for line in checked.refused()))
    if as_json:
        print_record(Converted(out=str(out), written=written, refused=refused, check=found))
        return 0
    print_data(f"{written} lines written, {refused} left out")
    if refused:
        print_message("\n".join(verdict_lines(found)[1:]))
    return 0


def _refuse(file: Path, checked: Checked) -> None:
    """Refuse a file of which nothing is accepted, or that was refused as a whole."""
    job = checked.job
    reason = checked.tally.refusal or (job.reason if job and not checked.tally.accepted else None)
    if reason is not None:
        raise InvalidData(where=str(file), detail=f"{reason.code}: {reason.message}")


def _converted(file: Path, line: Line) -> bytes:
    if line.meta.get("raw") is True:
        detail = 'it is trained raw, without a chat template, which lines of {"messages": ...} cannot say; drop it as it is'
        raise InvalidData(where=str(file), detail=detail)
    whole: dict[str, Any] = {"messages": line.messages}
    if line.tools is not None:
        whole["tools"] = line.tools
    return msgspec.json.encode(whole | {key: value for key, value in line.meta.items() if key not in whole})


def _write(target: Path, lines: Iterable[bytes]) -> int:
    """Write lines durably under a name that must be free, and count them."""
    hidden = target.with_name(f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}")
    count = 0
    with _removed(hidden):
        with hidden.open("xb") as file:
            for line in lines:
                file.write(line + b"\n")
                count += 1
        OPS.fsync(hidden)
        move(hidden, target.absolute())
    return count


@contextlib.contextmanager
def _removed(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)

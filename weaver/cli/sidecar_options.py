"""The options that stand for a sidecar: what `weaver queue add` and `weaver data` may be told about a file.

Place in the flow: both make the same sidecar of the same words. Reads FILE.meta.json beside the file, or the one that is named.
Invariant: an option goes before what the file's own sidecar says; what cannot be meant is refused before anything is read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import typer

from core.errors import InvalidData, NotFound, UsageError
from core.jobs.adding import sidecar_bytes
from core.jobs.formats import TARGETS
from core.jobs.inbox import SIDECAR_ENDING
from core.jobs.job import JobTraining, Priority, Sidecar, Spec
from core.records import decode_strict

Map = Annotated[list[str] | None, typer.Option("--map", help="A column: prompt=question. Again for each one.")]
SidecarFile = Annotated[Path | None, typer.Option("--sidecar", help="Its sidecar, if not FILE.meta.json beside it.")]
SpecName = Annotated[str | None, typer.Option("--spec", help=f"Its format: {', '.join(get_args(Spec))}.")]
Model = Annotated[str | None, typer.Option("--model", help="The model to train; else the default one.")]


@dataclass
class Said:
    """What a person said about files on the command line."""

    sidecar: Path | None = None
    columns: dict[str, str] = field(default_factory=dict)
    spec: str | None = None
    model: str | None = None
    priority: str | None = None
    epochs: int | None = None
    force: bool = False


def whole_path(file: Path) -> Path:
    """Give the path of a file with a name at its end, whatever was typed: `.` and `..` have one too. Raises UsageError."""
    whole = Path(os.path.abspath(file))  # noqa: PTH100 - resolve() would follow a link and take its target's name
    if not whole.name:
        raise UsageError(detail=f"{file} is no file.")
    return whole


def columns_of(maps: Sequence[str] | None) -> dict[str, str]:
    """Read --map prompt=question. Raises UsageError."""
    columns: dict[str, str] = {}
    for text in maps or ():
        target, separator, source = text.partition("=")
        if not separator or not source or target in columns:
            raise UsageError(
                detail=f"--map {text}: expected <what it is>=<your key>, each once, such as --map prompt=question."
            )
        if target not in TARGETS:
            raise UsageError(detail=f"--map {text}: a column can be {', '.join(TARGETS)}.")
        columns[target] = source
    return columns


def check_said(said: Said, models: Sequence[str]) -> None:
    """Refuse what no file could have. Raises UsageError, NotFound."""
    if said.spec is not None and said.spec not in get_args(Spec):
        raise UsageError(detail=f"--spec {said.spec}: expected one of {', '.join(get_args(Spec))}.")
    if said.priority is not None and said.priority not in get_args(Priority):
        raise UsageError(detail=f"--priority {said.priority}: expected one of {', '.join(get_args(Priority))}.")
    if said.model is not None and said.model not in models:
        raise NotFound(kind="model", name=said.model, known=", ".join(sorted(models)))


def sidecar_of(file: Path, said: Said) -> Sidecar | None:
    """Give the sidecar of a file: its own, with what was said on top; None when there is neither.

    Raises InvalidData for one that cannot be read or is none.
    """
    own, changes = _own(file, said.sidecar), _changes(said)
    if own is None and not changes:
        return None
    where = str(said.sidecar or file.with_name(file.name + SIDECAR_ENDING))
    read = Sidecar() if own is None else decode_strict(Sidecar, own, where)
    return msgspec.structs.replace(read, **changes)


def sidecar_as_dropped(file: Path, said: Said) -> bytes | None:
    """Give the sidecar as it would lie in the inbox: a person's own byte by byte, whatever it holds, if nothing is said."""
    if not _changes(said):
        return _own(file, said.sidecar)
    found = sidecar_of(file, said)
    return None if found is None else sidecar_bytes(found)


def _changes(said: Said) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if said.columns:
        changes["columns"] = said.columns
    for name in ("spec", "model", "priority"):
        if getattr(said, name) is not None:
            changes[name] = getattr(said, name)
    if said.epochs is not None:
        changes["training"] = JobTraining(epochs=said.epochs)
    if said.force:
        changes["force"] = True
    return changes


def _own(file: Path, named: Path | None) -> bytes | None:
    path = named or file.with_name(file.name + SIDECAR_ENDING)
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if named is None:
            return None
        raise InvalidData(where=str(path), detail="there is no such file; expected a sidecar") from error
    except OSError as error:
        if named is None and error.errno == errno.ENAMETOOLONG:
            return None
        raise InvalidData(where=str(path), detail=f"cannot be read: {error.strerror}") from error

"""Removing checkpoints: what must stay and why, the removal itself, and what dead trainers left half made.

Place in the flow: prune_checkpoints, `weaver ckpt rm` and `weaver mend` all remove through here. Under models/<model>/ it
removes <checkpoint>/, state/<checkpoint>/ and what lies in .trash and .staging. Invariants: a removal is one rename into
.trash, under the lock that whoever wants a checkpoint kept takes too, then deletion; weights go only after their ledger copy is
there; records stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.checkpoints.checkpoint import Checkpoint
from core.checkpoints.ledger import SIDECAR, Ledger
from core.checkpoints.protection import deciding
from core.checkpoints.retention import Holdings, needed_by_training
from core.checkpoints.standing import Standing
from core.errors import InvalidData
from core.files import empty, remove_tree, replace_durable, set_aside
from core.files import left_over as left_over_files
from core.names import is_identifier
from core.paths import Paths
from core.process import is_alive
from core.records import decode
from core.status import read_heartbeat

LEFT_OVER_S = 600.0


def holdings(paths: Paths, ledger: Ledger, model: str, size_of: Callable[[Path], int] = lambda folder: 0) -> Holdings:
    """Read what is there of a model; size_of(folder) in bytes. Raises InvalidData when its history is broken."""
    states = _names(paths.model(model).root / "state")
    head = ledger.head(model)
    cut = head.cut if head is not None else ()
    names, mine = ledger.names(model), paths.model(model)
    return Holdings(
        ledger.links(model), names, states, ledger.chain(model), {name: size_of(mine.checkpoint(name)) for name in names},
        {name: size_of(mine.training_state(name)) for name in states}, cut,
    )  # fmt: skip


def must_stay(paths: Paths, ledger: Ledger, model: str) -> dict[str, str]:
    """Give the checkpoints of a model that nobody may remove, with the reason of each.

    Raises InvalidData when its history or its deployments cannot be read.
    """
    return wanted_by_people(paths, ledger, model) | needed_by_training(holdings(paths, ledger, model))


def wanted_by_people(paths: Paths, ledger: Ledger, model: str) -> dict[str, str]:
    """Give the checkpoints that are pinned, served (also those whose decision is being written) or were served before.

    Raises InvalidData when the deployments cannot be read.
    """
    at = Standing.of(paths, ledger, model)
    served = {at.previous: "it was served before: a rollback goes back to it", at.alias(): "it is served"}
    served[at.current] = "it is served"
    reasons = dict.fromkeys(ledger.pins(model), "it is pinned: `weaver ckpt unpin` it first")
    return reasons | {name: why for name, why in served.items() if name is not None}


def folders_of(paths: Paths, model: str, checkpoint: str) -> list[Path]:
    """Give the folders that removing a checkpoint removes: its training state, then its weights."""
    mine = paths.model(model)
    return [folder for folder in (mine.training_state(checkpoint), mine.checkpoint(checkpoint)) if folder.is_dir()]


def bytes_in(folders: Iterable[Path]) -> int:
    """Give how many bytes the files in some folders hold; what vanishes meanwhile counts nothing."""
    total = 0
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                total += path.lstat().st_size if not path.is_dir() else 0
            except FileNotFoundError:
                continue
    return total


@contextmanager
def removing(paths: Paths, model: str) -> Iterator[None]:
    """Ask inside what must stay and take away what need not: nothing is pinned, served or reset to in between.

    What was taken is deleted afterwards, when nobody waits for it any more.
    """
    with deciding(paths.model(model)):
        yield
    empty(paths.model(model).trash)


def take_state(paths: Paths, model: str, checkpoint: str) -> None:
    """Take away the training state of a checkpoint; nobody ever sees half of it. Only inside removing()."""
    set_aside(paths.model(model).training_state(checkpoint), paths.model(model).trash)


def take_weights(paths: Paths, model: str, checkpoint: str) -> bool:
    """Take away the weights of a checkpoint; False, with nothing done, while it has no ledger copy (Ledger.keep_copies).

    Only inside removing().
    """
    if not paths.model(model).ledger(checkpoint).exists():
        return False
    _mend_copy(paths.model(model).checkpoint(checkpoint) / SIDECAR, paths.model(model).ledger(checkpoint))
    set_aside(paths.model(model).checkpoint(checkpoint), paths.model(model).trash)
    return True


def _mend_copy(record: Path, copy: Path) -> None:
    """Write a ledger copy again that is not as its record: a torn one would end the history once the weights are gone."""
    try:
        data = record.read_bytes()
        decode(Checkpoint, data, str(record))
    except (FileNotFoundError, InvalidData):
        return  # torn or gone itself: the copy is what is left
    if copy.read_bytes() != data:
        replace_durable(copy, data)


def left_over(paths: Paths, ledger: Ledger, model: str, now_s: float) -> list[Path]:
    """Give what dead owners left half made: in .trash, and while no trainer lives in .staging and states without a checkpoint.

    now_s: Unix time in seconds; what a trainer may just have left is given after LEFT_OVER_S.
    """
    mine = paths.model(model)
    found = [mine.trash / name for name in _names(mine.trash)]
    if not _is_trainer_alive(paths):
        found += [folder for folder in _half_made(paths, ledger, model) if _age_s(folder, now_s) > LEFT_OVER_S]
    return found


def sweep(paths: Paths, model: str, left: Iterable[Path]) -> None:
    """Delete what left_over() gave."""
    trash = paths.model(model).trash
    for path in left:
        if path.parent == trash:
            shutil.rmtree(path, ignore_errors=True)
        else:
            remove_tree(path, trash)


def temporaries(paths: Paths, now_s: float) -> list[Path]:
    """Give the temporary files that killed writers left, wherever records are published, once they are LEFT_OVER_S old.

    A job's own are not among them: they go when its attempt ends. now_s: Unix time in seconds.
    """
    models = [path for path in paths.models.glob("*/") if is_identifier(path.name)]
    trees = [paths.inbox, paths.orders, paths.status, paths.local, *models, *(model / "scores" for model in models)]
    folders = (paths.queue, paths.logs, paths.suites, *trees, *(inner for tree in trees for inner in tree.glob("*/")))
    return [path for folder in folders for path in left_over_files(folder, now_s - LEFT_OVER_S)]


def _half_made(paths: Paths, ledger: Ledger, model: str) -> Iterator[Path]:
    mine = paths.model(model)
    yield from (mine.staging / name for name in _names(mine.staging))
    known = ledger.links(model)
    yield from (mine.training_state(name) for name in _names(mine.root / "state") if name not in known)


def _age_s(folder: Path, now_s: float) -> float:
    try:
        return now_s - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # a trainer has just started and swept it


def _is_trainer_alive(paths: Paths) -> bool:
    beat = read_heartbeat(paths, "trainer")
    return beat is not None and is_alive(beat.process)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []

"""The ledger: which checkpoints a model has, what their files hash to, and which line of them training continues.

Place in the flow: trainer/weights writes checkpoints, everyone else finds them here. Under models/<model>/ it reads
<checkpoint>/.ledger.json (the truth), ledger/<checkpoint>.json (the copy that outlives the weights), pins/ and head.json; it
writes head.json (train_next only), missing copies, and the MANIFEST.sha256 of a staged folder. Invariant: reconciled with the
disk at every read; a folder whose record is damaged or whose files are not all there is no checkpoint, while what it was in the
history is still known by the copy.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.checkpoints.checkpoint import Checkpoint, Head
from core.errors import CorruptRecord, InvalidData, ManifestMismatch, NotFound
from core.files import OPS, Ops, replace_durable, sha256_of
from core.names import checkpoint_order, is_checkpoint, is_identifier
from core.paths import Paths
from core.records import encode_pretty, read_if_there

MANIFEST = "MANIFEST.sha256"
SIDECAR = ".ledger.json"
_NAMES_SHOWN = 20


class Link(msgspec.Struct, frozen=True):
    """The part of a checkpoint's record that never grows: enough to walk the chain without reading every consumed line."""

    name: str
    step: int
    parent: str | None
    created_at: str


def write_manifest(folder: Path, ops: Ops = OPS) -> str:
    """Hash every file under a staged folder into its MANIFEST.sha256 and give the weights_id. Raises InvalidData."""
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in sorted(_files(folder))]
    data = "".join(lines).encode()
    replace_durable(folder / MANIFEST, data, ops)
    return hashlib.sha256(data).hexdigest()[:16]


def read_manifest(folder: Path) -> dict[str, str]:
    """Give the SHA-256 in hex of each file by relative name, as the manifest says. Raises ManifestMismatch."""
    found: dict[str, str] = {}
    for line in _manifest_bytes(folder).decode("utf-8", "replace").splitlines():
        digest, separator, name = line.partition("  ")
        whole = len(digest) == 64 and set(digest) <= set("0123456789abcdef") and separator and name
        if not whole or name in found or name.startswith("/") or ".." in name.split("/"):
            raise ManifestMismatch(where=str(folder), detail=f"line {line!r} is not '<64 hex>  <relative name>'")
        found[name] = digest
    return found


def manifest_id(folder: Path) -> str:
    """Give the weights_id: 16 hex of the SHA-256 of the manifest's bytes. Raises ManifestMismatch when there is none."""
    return hashlib.sha256(_manifest_bytes(folder)).hexdigest()[:16]


def is_complete(folder: Path) -> bool:
    """Say, cheaply, whether a checkpoint or state folder has its manifest and every file that it names."""
    try:
        names = read_manifest(folder)
    except ManifestMismatch:
        return False
    return bool(names) and all((folder / name).is_file() for name in names)


def verify(folder: Path) -> str:
    """Hash every file against the manifest and give the weights_id. Raises ManifestMismatch naming the first difference."""
    expected, there = read_manifest(folder), set(_files(folder))
    for what, names in (("is missing", expected.keys() - there), ("is not in the manifest", there - expected.keys())):
        if names:
            raise ManifestMismatch(where=str(folder), detail=f"{min(names)} {what}")
    for name, digest in expected.items():
        found = sha256_of(folder / name)
        if found != digest:
            raise ManifestMismatch(where=str(folder), detail=f"{name} hashes to {found[:16]}..., expected {digest[:16]}...")
    return manifest_id(folder)


def _manifest_bytes(folder: Path) -> bytes:
    try:
        return (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ManifestMismatch(where=str(folder), detail=f"there is no {MANIFEST}") from error


def _files(folder: Path) -> Iterator[str]:
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base) / name
            relative = path.relative_to(folder).as_posix()
            if relative == MANIFEST:
                continue
            if path.is_symlink() or not path.is_file() or "\n" in relative:
                raise InvalidData(where=str(path), detail="only regular files belong in a checkpoint or state folder")
            yield relative


class Ledger:
    """The checkpoints of every model of one home, read from the disk each time. Holds only links, which never change."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._links: dict[tuple[str, str], Link] = {}
        self._own: set[tuple[str, str]] = set()  # whose folders hold a readable record of themselves

    def models(self) -> list[str]:
        """Give the names of the models that have a folder."""
        return [name for name in _names(self._paths.models) if is_identifier(name) and (self._paths.models / name).is_dir()]

    def names(self, model: str) -> list[str]:
        """Give the names of the checkpoints whose weights are complete on this disk, by step."""
        names = (name for name in _names(self._paths.model(model).root) if is_checkpoint(name))
        return [name for name in sorted(names, key=checkpoint_order) if self.is_complete(model, name)]

    def checkpoints(self, model: str) -> list[Checkpoint]:
        """Give the records of the checkpoints whose weights are complete on this disk, by step."""
        return [self.get(model, name) for name in self.names(model)]

    def links(self, model: str) -> dict[str, Link]:
        """Give every checkpoint ever recorded, by step: those with weights and those of which only the copy is left."""
        copies = {Path(name).stem for name in _names(self._paths.model(model).ledger("x").parent) if name.endswith(".json")}
        names = {name for name in copies if is_checkpoint(name)} | set(self.names(model))
        found = {name: self._link(model, name) for name in sorted(names, key=checkpoint_order)}
        return {name: link for name, link in found.items() if link is not None}

    def get(self, model: str, name: str) -> Checkpoint:
        """Read one record, also of a checkpoint whose weights are gone or torn. Raises NotFound, CorruptRecord, NewerRecord."""
        record = self._read(model, name)
        if record is None:
            raise self._not_found(f"{model}/{name}")
        return record

    def pins(self, model: str) -> set[str]:
        """Give the names of the checkpoints that a person pinned."""
        return {Path(name).stem for name in _names(self._paths.model(model).pins) if name.endswith(".json")}

    def is_complete(self, model: str, name: str) -> bool:
        """Say whether the weights are there: a readable record, the manifest and every file it names; hashes nothing."""
        folder = self._paths.model(model).checkpoint(name)
        return is_complete(folder) and self._has_own_record(model, name)

    def weights_id(self, model: str, name: str) -> str:
        """Give the weights_id of a checkpoint on this disk. Raises ManifestMismatch when its manifest is gone."""
        return manifest_id(self._paths.model(model).checkpoint(name))

    def verify(self, model: str, name: str) -> str:
        """Hash the weights, and the training state if it is kept, and give the weights_id. Raises ManifestMismatch."""
        found, state = verify(self._paths.model(model).checkpoint(name)), self._paths.model(model).training_state(name)
        if state.exists():
            verify(state)
        return found

    def has_state(self, model: str, name: str) -> bool:
        """Say whether the training state of a checkpoint is complete."""
        return is_complete(self._paths.model(model).training_state(name))

    def head(self, model: str) -> Head | None:
        """Read which checkpoint the next step continues from; None before training began. Raises CorruptRecord."""
        return read_if_there(Head, self._paths.model(model).head)

    def write_head(self, model: str, head: Head, ops: Ops = OPS) -> None:
        """Move the head. Only train_next may call this. Raises NotFound when the checkpoint has no record."""
        self.get(model, head.checkpoint)
        replace_durable(self._paths.model(model).head, encode_pretty(head), ops)

    def chain(self, model: str) -> list[str]:
        """Give the surviving history: names from head to step 0, empty without a head. Raises InvalidData when it is broken."""
        head, chain, seen = self.head(model), list[str](), set[str]()
        name = head.checkpoint if head else None
        while name is not None:
            link = self._link(model, name)
            if link is None or name in seen:
                where = str(self._paths.model(model).root)
                raise InvalidData(where=where, detail=f"the history from head breaks at {name}: no readable record of it")
            seen.add(name)
            chain.append(name)
            name = link.parent
        return chain

    def resolve(self, text: str, removed: bool = False) -> tuple[str, str]:
        """Give (model, checkpoint) for `<model>/<checkpoint>`, `<model>@<step>` or a bare checkpoint name that is unique.

        Only checkpoints with weights count, unless removed. Raises NotFound naming what there is, also for an ambiguous name.
        """
        found = [
            (model, name)
            for model in self.models()
            for name in (self.links(model) if removed else self.names(model))
            if text in (name, f"{model}/{name}", f"{model}@{checkpoint_order(name)[0]}")
        ]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join("/".join(pair) for pair in found)
            raise NotFound(kind="single checkpoint", name=text, known=f"{several}: name one of them in full")
        raise self._not_found(text)

    def keep_copies(self, model: str) -> list[str]:
        """Write the ledger copies that are missing (the trainer was killed in between) and give their checkpoints."""
        written, model_paths = [], self._paths.model(model)
        for name in self.names(model):
            target = model_paths.ledger(name)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                replace_durable(target, (model_paths.checkpoint(name) / SIDECAR).read_bytes())
                written.append(name)
        return written

    def _has_own_record(self, model: str, name: str) -> bool:
        if (model, name) not in self._own:
            try:
                record = read_if_there(Checkpoint, self._paths.model(model).checkpoint(name) / SIDECAR)
            except InvalidData:
                return False
            if record is None or (record.model, record.name) != (model, name):
                return False
            self._own.add((model, name))
            self._links[model, name] = Link(record.name, record.step, record.parent, record.created_at)
        return True

    def _read(self, model: str, name: str) -> Checkpoint | None:
        """Read the folder's own record, or the copy where that one is gone or damaged: one torn file breaks no history."""
        if not (is_identifier(model) and is_checkpoint(name)):
            return None
        mine = self._paths.model(model)
        try:
            record = read_if_there(Checkpoint, mine.checkpoint(name) / SIDECAR)
        except CorruptRecord:
            record = read_if_there(Checkpoint, mine.ledger(name))
            if record is None:
                raise
        return record or read_if_there(Checkpoint, mine.ledger(name))

    def _link(self, model: str, name: str) -> Link | None:
        known = self._links.get((model, name))
        if known is None:
            try:
                record = self._read(model, name)
            except InvalidData:
                return None
            if record is None or (record.model, record.name) != (model, name):
                return None
            known = Link(record.name, record.step, record.parent, record.created_at)
            self._links[model, name] = known
        return known

    def _not_found(self, text: str) -> NotFound:
        known = [f"{model}/{name}" for model in self.models() for name in reversed(self.names(model))]
        more = f" and {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
        return NotFound(kind="checkpoint", name=text, known=(", ".join(known[:_NAMES_SHOWN]) or "none") + more)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []

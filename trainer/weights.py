"""Checkpoints: written in a private folder, loaded afresh, fingerprinted, hashed, flushed, and published by one rename.

Writes models/<model>/<checkpoint>/, state/<checkpoint>/ and ledger/<checkpoint>.json. The state is published first: a complete
checkpoint has a complete state. Invariant: a checkpoint name exists if and only if its manifest is complete and matches.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import torch

from core.checkpoints.checkpoint import Checkpoint
from core.checkpoints.ledger import write_manifest
from core.clock import iso
from core.config import TrainingConfig
from core.errors import DiskLow
from core.files import OPS, Ops, move, remove_tree, replace_durable, seal
from core.names import checkpoint_name
from core.paths import ModelPaths, Paths
from core.records import encode_pretty
from trainer import rng
from trainer.fingerprint import make_fingerprint
from trainer.loop import Diverged
from trainer.resume import disk_errors, write_state
from trainer.serve.score import NotFinite
from trainer.stream import Stream

# A save needs the weights, their staged copy's state (two moments, live weights) and some room (DESIGN: 2.2 times).
ROOM = 2.2


@dataclass(frozen=True)
class Origin:
    """What a checkpoint was made from, beyond the stream: for its record."""

    base_sha256: str
    config_sha256: str
    code_version: str
    seed: int
    job: str | None = None
    skill: str | None = None
    level: int | None = None


def config_sha256(hyperparams: TrainingConfig) -> str:
    """Give the SHA-256 of the hyperparameters a checkpoint was trained with."""
    return hashlib.sha256(msgspec.json.encode(hyperparams)).hexdigest()


def weights_sha256(folder: Path) -> str:
    """Give one SHA-256 over the safetensors files of a folder, by name and content."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def save_checkpoint(stream: Stream, paths: Paths, origin: Origin, now: datetime, mono: float, ops: Ops = OPS) -> str:
    """Publish the stream as a checkpoint with its state and ledger copy; give its name.

    Raises DiskLow before anything is written when the room is not there, OSError: the stream goes on unharmed after either, and
    knows whether it is published all the same; Diverged when the weights do not give finite numbers, which no checkpoint may
    hold.
    """
    model = paths.model(stream.name)
    _check_room(model, stream)
    name = checkpoint_name(stream.step, now, _taken(model))
    keep = rng.capture()
    try:
        weights_id = stage(model, name, lambda folder: _write(folder, stream, origin, name, now), ops)
    finally:
        rng.restore(keep)
    state = _private(model, f"{name}.state")
    write_state(state, stream, name)
    write_manifest(state, ops)
    seal(state, ops)
    target = model.training_state(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    move(state, target, ops)
    try:
        publish(model, name, ops)
    except OSError:
        # Whoever sees it uses it, whatever became of the flush: a second checkpoint of the same rows would fork the history.
        if model.checkpoint(name).exists():
            stream.mark_saved(name, weights_id, mono)
        raise
    stream.mark_saved(name, weights_id, mono)
    return name


def _taken(model: ModelPaths) -> set[str]:
    folders = (model.root, model.root / "state")
    found = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return found | {path.stem for path in (model.root / "ledger").glob("*.json")}


def sweep_left_overs(paths: Paths, name: str) -> None:
    """Delete what a killed trainer left half made: .staging/, and states whose checkpoint was never published.

    Only the holder of the trainer's lock may call this.
    """
    model = paths.model(name)
    states = model.root / "state"
    if model.staging.exists():
        remove_tree(model.staging, model.trash)
    for state in states.iterdir() if states.is_dir() else ():
        if not model.checkpoint(state.name).exists():
            remove_tree(state, model.trash)


def _check_room(model: ModelPaths, stream: Stream) -> None:
    size = sum(p.numel() * p.element_size() for p in stream.model.parameters())
    needed = int(ROOM * 3 * size)
    free = shutil.disk_usage(model.root).free
    if free < needed:
        raise DiskLow(free=free, path=str(model.root), floor=needed)


def _private(model: ModelPaths, name: str) -> Path:
    folder = model.staging / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def stage(model: ModelPaths, name: str, write: Callable[[Path], None], ops: Ops = OPS) -> str:
    """Write a checkpoint folder in private, hash it and flush it, and give its weights_id; nobody sees it yet."""
    folder = _private(model, name)
    write(folder)
    weights_id = write_manifest(folder, ops)
    seal(folder, ops)
    return weights_id


def publish(model: ModelPaths, name: str, ops: Ops = OPS) -> None:
    """Rename a staged checkpoint to its name and keep the ledger copy that outlives it."""
    move(model.staging / name, model.checkpoint(name), ops)
    copy = model.ledger(name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    replace_durable(copy, (model.checkpoint(name) / ".ledger.json").read_bytes(), ops)


def _write(folder: Path, stream: Stream, origin: Origin, name: str, now: datetime) -> None:
    _save_weights(stream, folder)
    for file, data in stream.companions.items():
        if not (folder / file).exists():
            (folder / file).write_bytes(data)
    device = str(next(stream.model.parameters()).device)
    try:
        fingerprint = make_fingerprint(folder, name, stream.latest_pairs, device)
    except NotFinite as error:
        raise Diverged(what="model's answer", value="no finite number", step=stream.step) from error
    (folder / "fingerprint.json").write_bytes(encode_pretty(fingerprint))
    record = _record(folder, stream, origin, name, now)
    (folder / ".ledger.json").write_bytes(encode_pretty(record))
    (folder / "README.md").write_text(card(record), encoding="utf-8")


def _save_weights(stream: Stream, folder: Path) -> None:
    """Write the averaged weights and config.json; training runs without a cache, what is served has one as its base had."""
    model: Any = stream.model
    model.config.use_cache = True
    try:
        with disk_errors(folder):
            model.save_pretrained(str(folder), state_dict=dict(stream.average.state()))
    finally:
        model.config.use_cache = False


def companions(folder: Path) -> dict[str, bytes]:
    """Give the files that every checkpoint after a verified one has too, byte for byte: the tokenizer's above all."""
    own = {"MANIFEST.sha256", ".ledger.json", "README.md", "fingerprint.json", "model.safetensors.index.json"}
    there = (path for path in folder.iterdir() if path.name not in own and path.suffix != ".safetensors")
    return {path.name: path.read_bytes() for path in there}


def _record(folder: Path, stream: Stream, origin: Origin, name: str, now: datetime) -> Checkpoint:
    return Checkpoint(
        model=stream.name,
        name=name,
        step=stream.step,
        parent=stream.checkpoint,
        created_at=iso(now),
        weights_id_of_parent=stream.weights_id,
        base_sha256=origin.base_sha256,
        config_sha256=origin.config_sha256,
        code_version=origin.code_version,
        job=origin.job,
        consumed=[span for part in stream.pending for span in part.spans()],
        train_loss=stream.loss_sum / stream.loss_steps if stream.loss_steps else None,
        val_loss=None,
        learning_rate=stream.learning_rate,
        tokens_seen=stream.tokens_seen,
        examples_seen=stream.examples_seen,
        skill=origin.skill,
        level=origin.level,
        bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        dtype=str(torch.float32).removeprefix("torch."),
        seeds={"training": origin.seed},
        by="trainer",
    )


def card(record: Checkpoint) -> str:
    """Write the model card of a checkpoint from its record."""
    loss = "unknown" if record.train_loss is None else f"{record.train_loss:.4f} nats a trained token"
    return (
        f"# {record.model}/{record.name}\n\n"
        f"Made by Weaver {record.code_version} at {record.created_at}.\n\n"
        f"| | |\n|---|---|\n| step | {record.step} |\n| parent | {record.parent or 'none: the base'} |\n"
        f"| last job | {record.job or 'none'} |\n| mean training loss since the parent | {loss} |\n"
        f"| tokens seen | {record.tokens_seen} |\n| examples seen | {record.examples_seen} |\n| dtype | {record.dtype} |\n\n"
        "`.ledger.json` names every job row that went into it; `MANIFEST.sha256` lists its files.\n"
    )

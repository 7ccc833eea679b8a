"""Checkpoints as short rows, for `weaver ckpt` and for GET /api/ledger alike.

Place in the flow: reads models/ through core.checkpoints.ledger. Invariant: only reads; a checkpoint whose weights were removed
is still known, marked as not present.
"""

from __future__ import annotations

from core.checkpoints.ledger import Ledger
from core.checkpoints.served import read_deployments, served
from core.errors import InvalidData, ManifestMismatch, NotFound
from core.paths import Paths
from core.records import Part


class CheckpointRow(Part, frozen=True):
    """One checkpoint; weights_id is null when its weights are not on this disk (any more)."""

    id: str
    step: int
    parent: str | None
    created_at: str
    weights_id: str | None
    present: bool
    train_loss: float | None
    val_loss: float | None
    skill: str | None
    level: int | None
    job: str | None
    tokens_seen: int
    examples_seen: int
    bytes: int
    on_chain: bool
    head: bool
    served: bool
    pinned: bool
    resumable: bool


class Verdict(Part, frozen=True):
    """One checkpoint against its manifest; detail says what differs."""

    id: str
    ok: bool
    weights_id: str | None
    detail: str | None


def checkpoint_rows(paths: Paths, model: str | None = None, removed: bool = False) -> list[CheckpointRow]:
    """Give one row per checkpoint, by model and step: those on this disk, or with removed every one ever recorded.

    Raises NotFound for an unknown model.
    """
    ledger = Ledger(paths)
    models = ledger.models()
    if model is not None and model not in models:
        raise NotFound(kind="model", name=model, known=", ".join(models) or "none yet")
    return [row for name in (models if model is None else [model]) for row in _of_model(paths, ledger, name, removed)]


def _of_model(paths: Paths, ledger: Ledger, model: str, removed: bool) -> list[CheckpointRow]:
    head, current = ledger.head(model), _served(paths, model)
    chain, pins = set(ledger.chain(model)), ledger.pins(model)
    rows = []
    for name in ledger.links(model) if removed else ledger.names(model):
        record, weights_id = ledger.get(model, name), _weights_id(ledger, model, name)
        rows.append(CheckpointRow(
            id=f"{model}/{name}", step=record.step, parent=record.parent, created_at=record.created_at,
            weights_id=weights_id, present=weights_id is not None,
            train_loss=record.train_loss, val_loss=record.val_loss, skill=record.skill, level=record.level,
            job=record.job, tokens_seen=record.tokens_seen, examples_seen=record.examples_seen, bytes=record.bytes,
            on_chain=name in chain, head=bool(head and head.checkpoint == name), served=name == current,
            pinned=name in pins, resumable=ledger.has_state(model, name),
        ))  # fmt: skip
    return rows


def _served(paths: Paths, model: str) -> str | None:
    """Give what is served; None also while the deployments cannot be read, which the audit says."""
    try:
        return served(read_deployments(paths.model(model)))[0]
    except InvalidData:
        return None


def _weights_id(ledger: Ledger, model: str, name: str) -> str | None:
    """Give the weights_id, or None when the weights are not on this disk (any more)."""
    try:
        return ledger.weights_id(model, name) if ledger.is_complete(model, name) else None
    except ManifestMismatch:
        return None


def verdict_of(paths: Paths, model: str, name: str) -> Verdict:
    """Hash a checkpoint, and its training state, against their manifests and say what came of it."""
    id_ = f"{model}/{name}"
    try:
        return Verdict(id=id_, ok=True, weights_id=Ledger(paths).verify(model, name), detail=None)
    except InvalidData as error:
        return Verdict(id=id_, ok=False, weights_id=None, detail=str(error))

"""The best checkpoint by a metric: one answer for `weaver ckpt best` and for GET /api/ledger/best.

Place in the flow: reads models/ through the ledger and status/ranking.json; writes nothing. Invariant: only what was measured
and belongs to the surviving history is compared; where nothing was measured there is no best.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.checkpoints.ledger import Ledger
from core.checkpoints.places import read_places
from core.errors import NotFound, UsageError
from core.paths import Paths
from core.records import Part

METRICS = ("accuracy", "loss", "composite")


class BestOf(Part, frozen=True):
    """The best checkpoint of one model by some metric: its id, and the value."""

    model: str
    checkpoint: str
    value: float


def best_checkpoints(paths: Paths, metric: str, model: str | None = None) -> list[BestOf]:
    """Give the best checkpoint of each model, or of one: highest accuracy or composite, lowest training loss.

    Raises UsageError for another metric, NotFound when nothing was measured or there is no such model.
    """
    if metric not in METRICS:
        raise UsageError(detail=f"{metric!r} is not a metric; expected one of {', '.join(METRICS)}.")
    ledger = Ledger(paths)
    models = ledger.models()
    if model is not None and model not in models:
        raise NotFound(kind="model", name=model, known=", ".join(models) or "none yet")
    found: list[BestOf] = []
    for name in models if model is None else [model]:
        rows = list(_by_loss(ledger, name) if metric == "loss" else _by_rank(paths, metric, name))
        if rows:  # the first of equals: by place, by step
            checkpoint, value = min(rows, key=lambda row: row[1] if metric == "loss" else -row[1])
            found.append(BestOf(model=name, checkpoint=f"{name}/{checkpoint}", value=value))
    if not found:
        raise NotFound(kind="best checkpoint by", name=metric, known="nothing was measured yet")
    return found


def _by_loss(ledger: Ledger, model: str) -> Iterator[tuple[str, float]]:
    chain = set(ledger.chain(model))
    for record in ledger.checkpoints(model):
        if record.name in chain and record.train_loss is not None:
            yield record.name, record.train_loss


def _by_rank(paths: Paths, metric: str, model: str) -> Iterator[tuple[str, float]]:
    for place in read_places(paths, model) or []:
        value = place.accuracy if metric == "accuracy" else place.composite
        if value is not None:
            yield place.checkpoint, value

"""Pins: checkpoints that a person wants to keep whatever happens.

Place in the flow: `weaver ckpt pin` and `unpin` write models/<model>/pins/<checkpoint>.json, retention and removal honour them.
Invariant: a pin that was given is on the disk, and so is the checkpoint: no removal that began before takes it.
"""

from __future__ import annotations

from core.checkpoints.checkpoint import Pin
from core.checkpoints.ledger import Ledger
from core.checkpoints.protection import deciding
from core.errors import Conflict, NotFound
from core.files import OPS, replace_durable
from core.paths import Paths
from core.records import encode_pretty


def pin(paths: Paths, model: str, checkpoint: str, reason: str, at: str) -> None:
    """Pin a checkpoint; a pin that is there gets the new reason. Raises Conflict when it was removed at this very moment."""
    path = paths.model(model).pins / f"{checkpoint}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with deciding(paths.model(model)):
        if not Ledger(paths).is_complete(model, checkpoint):
            raise Conflict(detail=f"{model}/{checkpoint} was removed while it was being pinned.")
        replace_durable(path, encode_pretty(Pin(checkpoint=checkpoint, reason=reason, at=at)))


def unpin(paths: Paths, model: str, checkpoint: str) -> None:
    """Take a pin away. Raises NotFound when it is not pinned."""
    try:
        OPS.unlink(paths.model(model).pins / f"{checkpoint}.json")
    except FileNotFoundError as error:
        known = ", ".join(f"{model}/{name}" for name in sorted(Ledger(paths).pins(model))) or "none"
        raise NotFound(kind="pinned checkpoint", name=f"{model}/{checkpoint}", known=known) from error

"""Taking training back: head moves to an ancestor, what was trained after it stays on disk, off the surviving history.

Place in the flow: `weaver ckpt reset` orders it of train_next, which alone writes head.json, once no trainer lives. Invariants:
the first checkpoint after the new head is named in head.json as cut off, so that no head ever advances into what follows and no
training resumes from it; nothing is deleted, and no removal takes what head moves to; what is served does not change.
"""

from __future__ import annotations

from core.checkpoints.checkpoint import Head
from core.checkpoints.ledger import Ledger
from core.checkpoints.protection import deciding
from core.errors import Conflict
from core.files import OPS, Ops
from core.paths import Paths


def refuse_reset(ledger: Ledger, model: str, target: str) -> None:
    """Raise Conflict when head cannot move to a checkpoint, with the reason."""
    chain = ledger.chain(model)
    if target not in chain:
        raise Conflict(detail=f"{model}/{target} is off the surviving history; a reset goes back along it: `weaver ckpt ls`.")
    if not ledger.is_complete(model, target):
        raise Conflict(detail=f"The weights of {model}/{target} were removed; training cannot continue from it.")
    if ledger.get(model, target).step and not ledger.has_state(model, target):
        nearest = next((name for name in chain if name != target and _can_continue(ledger, model, name)), "none")
        raise Conflict(detail=f"The training state of {model}/{target} was removed. One that has its state: {nearest}.")


def _can_continue(ledger: Ledger, model: str, name: str) -> bool:
    return ledger.is_complete(model, name) and (ledger.get(model, name).step == 0 or ledger.has_state(model, name))


def reset_head(paths: Paths, ledger: Ledger, model: str, target: str, reason: str, at: str, ops: Ops = OPS) -> list[str]:
    """Move head back to an ancestor; give the checkpoints that are off the surviving history from now on. Raises Conflict.

    Only train_next may call this, and only while no trainer lives: a warm one would go on from where it is.
    """
    with deciding(paths.model(model)):
        refuse_reset(ledger, model, target)
        chain, head = ledger.chain(model), ledger.head(model)
        gone = chain[: chain.index(target)]
        cut = [*(head.cut if head is not None else ()), *gone[-1:]]
        ledger.write_head(model, Head(checkpoint=target, reason=reason, at=at, cut=cut), ops)
    return gone

"""Going back from a broken checkpoint: the trainer that finds one orders training back to the last whole one.

Place in the flow: the worker asks when a run could not begin. The order is the one of `weaver ckpt reset`: train_next, which
alone writes head.json, obeys it once this trainer has ended, and starts another. Reads every byte of the checkpoint that
training would go on from, of its state and of their ancestors, until a pair is whole; writes queue/orders/train_next/.
Invariants: nothing is ordered while what training goes on from is whole, nor when nothing whole is left; nothing is deleted.
"""

from __future__ import annotations

from datetime import datetime

from core.checkpoints.history import where_to_go_on
from core.checkpoints.ledger import Ledger, verify
from core.errors import InvalidData
from core.names import checkpoint_step
from core.orders import QUEUE_OWNER, RESET, Order, place
from core.paths import Paths
from trainer.resume import resume_point

PROGRAM = "trainer"


def order_back(paths: Paths, model: str, parent: str | None, now: datetime) -> Order | None:
    """Order training back to the last whole checkpoint before a broken one, and give the order.

    parent: what the run was to go on from. None when that is not what keeps the run from beginning, or nothing whole is left.
    """
    if parent is None:  # only a base can be meant, and nothing is before it
        return None
    ledger = Ledger(paths)
    try:
        broken = resume_point(ledger, model, parent)
    except InvalidData:
        broken = where_to_go_on(ledger, model, parent)
    why = _flaw(paths, model, broken)
    links, target = ledger.links(model), broken
    while target is broken or _flaw(paths, model, target) is not None:
        link = links.get(target)
        if why is None or link is None or link.parent is None:
            return None
        target = link.parent
    args = {"checkpoint": f"{model}/{target}", "reason": f"{broken} is broken: {why}"}
    return place(paths, QUEUE_OWNER, RESET, args, PROGRAM, now)


def _flaw(paths: Paths, model: str, name: str) -> str | None:
    """Say what keeps training from going on from a checkpoint; None when it and its training state are whole."""
    mine = paths.model(model)
    folders = [mine.checkpoint(name)] + [mine.training_state(name)] * (checkpoint_step(name) > 0)  # a base has no state
    try:
        for folder in folders:
            verify(folder)
    except (InvalidData, FileNotFoundError) as error:
        return str(error)
    return None

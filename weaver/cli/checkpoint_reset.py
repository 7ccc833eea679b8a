"""weaver ckpt reset: take training back to an earlier checkpoint.

Place in the flow: an order to train_next, which lets the trainer save and end, then moves head (core/checkpoints/reset.py).
Files written: queue/orders/train_next/. Invariant: what is certain to be refused is refused here; an order that was written is
obeyed once, also after a restart; what is served does not change.
"""

from __future__ import annotations

import getpass
import time
from typing import Annotated

import typer

from core.checkpoints.ledger import Ledger
from core.checkpoints.reset import refuse_reset
from core.clock import SystemClock
from core.errors import Conflict, TimedOut
from core.liveness import Liveness
from core.orders import QUEUE_OWNER, RESET, answered, place
from weaver.cli.home import this_home
from weaver.cli.output import plain, print_data, print_message

LOOK_S = 0.1
WAIT_S = 300.0


def reset(
    checkpoint: Annotated[str, typer.Argument(help="<model>/<checkpoint>, <model>@<step>, or a unique name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in head.json.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take training back to a checkpoint: what was trained after it stays on disk but is never continued or deployed.

    Examples:
      weaver ckpt reset tiny@120 --reason "that file was harmful"
      weaver ckpt reset checkpoint-120-20261120-2130 --yes
    """
    paths = this_home()
    ledger = Ledger(paths)
    model, name = ledger.resolve(checkpoint, removed=True)
    refuse_reset(ledger, model, name)
    chain = ledger.chain(model)
    after = chain.index(name)
    print_message(f"Training of {model} goes on from {name}; {after} checkpoints after it are taken back, their lines too.")
    if not yes and not typer.confirm("Do it?", err=True):
        print_message("Nothing was changed.")
        raise typer.Exit(1)
    args = {"checkpoint": f"{model}/{name}", **({"reason": reason} if reason else {})}
    order = place(paths, QUEUE_OWNER, RESET, args, getpass.getuser(), SystemClock().now())
    if not Liveness(paths, SystemClock().mono()).seen(QUEUE_OWNER).fresh:
        print_message("Ordered. The factory is not running; it is done at its next start.")
        return
    deadline = time.monotonic() + WAIT_S
    while (answer := answered(paths, order.id)) is None:
        if time.monotonic() > deadline:
            raise TimedOut(what=f"the reset to {model}/{name}", seconds=WAIT_S)
        time.sleep(LOOK_S)
    if not answer.ok:
        raise Conflict(detail=plain(answer.message or "It was refused."))
    print_data(plain(answer.message or ""))

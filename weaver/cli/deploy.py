"""weaver deploy now | rollback | history: a person's choice of what is served, and what was decided before.

Place in the flow: an order to deploy_best (core/orders), which obeys it with the same proofs as an automatic deployment and
answers. Files read: models/<model>/, status/; written: queue/orders/deploy_best/. Invariant: what is certain to be refused is
refused here, before an order is written; an order that was written is obeyed once, also after a restart.
"""

from __future__ import annotations

import getpass
import os
import time
from typing import Annotated, Any

import typer

from core.checkpoints.deployment import Deployment
from core.checkpoints.ledger import Ledger
from core.checkpoints.standing import DEPLOYER, Standing
from core.clock import SystemClock
from core.errors import Conflict, Degraded, NotRunning, TimedOut
from core.in_force import read_in_force
from core.liveness import Liveness
from core.orders import Order, answered, place
from core.paths import Paths
from core.records import Record
from weaver.cli.home import this_home
from weaver.cli.output import fit, plain, print_data, print_message, print_record

app = typer.Typer(no_args_is_help=True, help="Deployment by hand: serve a checkpoint, roll back, see what was decided.")
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it is served and proved, or refused.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the deployment.")]
LOOK_S = 0.1
WAIT_S = 300.0
_REASON_COLUMNS = 100


class Deployments(Record, frozen=True, tag="weaver.deployments/1"):
    """`weaver deploy history --json`: every decision about what is served, newest first."""

    model: str
    serving: str | None
    previous: str | None
    deployments: list[Deployment]


@app.command("now")
def now(
    checkpoint: Annotated[str, typer.Argument(help="<model>/<checkpoint>, <model>@<step>, or a unique name.")],
    reason: Reason = "",
    wait: Wait = False,
) -> None:
    """Serve a checkpoint, proved like any other; it stays until one made later is significantly better.

    Examples:
      weaver deploy now tiny@120 --wait
      weaver deploy now checkpoint-120-20261120-2130 --reason "best answers"
    """
    paths, at = _standing()
    name = at.target("deploy", {"checkpoint": checkpoint})
    _order(paths, "deploy", {"checkpoint": f"{at.model}/{name}"}, reason, wait)


@app.command("rollback")
def rollback(reason: Reason = "", wait: Wait = False) -> None:
    """Serve again what was served before; what is rolled back is never deployed by itself again.

    Examples:
      weaver deploy rollback --wait
      weaver deploy rollback --reason "it answers in French"
    """
    paths, at = _standing()
    at.target("rollback", {})
    _order(paths, "rollback", {}, reason, wait)


@app.command("history")
def history(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many of the newest.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what was deployed, rolled back and refused, by whom and why; newest first.

    Examples:
      weaver deploy history
      weaver deploy history -n 100 --json
    """
    _, at = _standing()
    newest = list(reversed(at.deployments))[:count]
    if json:
        print_record(Deployments(model=at.model, serving=at.current, previous=at.previous, deployments=newest))
        return
    if not newest:
        print_message("Nothing was deployed or refused yet.")
        return
    print_data(f"{'AT':<20} {'VERDICT':<11} {'CHECKPOINT':<32} {'BY':<12} REASON")
    for one in newest:
        who, why = fit(plain(one.by), 12), fit(plain(one.reason), _REASON_COLUMNS)
        print_data(f"{one.at[:19] + 'Z':<20} {one.verdict:<11} {one.checkpoint:<32} {who:<12} {why}")


def _standing() -> tuple[Paths, Standing]:
    paths = this_home()
    return paths, Standing.of(paths, Ledger(paths), read_in_force(paths, os.environ).config.weaver.model)


def _order(paths: Paths, verb: str, args: dict[str, Any], reason: str, wait: bool) -> None:
    """Order it and say so, or wait for the answer. Raises NotRunning, Degraded, Unavailable, Conflict, TimedOut."""
    _refuse_if_nobody_obeys(paths)
    args = {**args, "reason": reason} if reason else args
    order = place(paths, DEPLOYER, verb, args, getpass.getuser(), SystemClock().now())
    if not wait:
        print_message(f"Ordered. `weaver deploy history` shows what came of it, `weaver logs {DEPLOYER}` how.")
        return
    started = time.monotonic()
    answer = _answer(paths, order)
    if not answer.ok:
        raise Conflict(detail=plain(answer.message or "It was refused."))
    print_data(plain(answer.message or ""))
    print_message(f"In {time.monotonic() - started:.1f} s.")


def _refuse_if_nobody_obeys(paths: Paths) -> None:
    """Raise NotRunning or Degraded when deploy_best is not there, Unavailable when the oracle is not."""
    from core.evals.ask import connect

    living = Liveness(paths, SystemClock().mono())
    if not living.weaver_is_well and not living.seen(DEPLOYER).alive:
        raise NotRunning(home=paths.home)
    if not living.seen(DEPLOYER).fresh:
        raise Degraded(home=paths.home, detail=f"{DEPLOYER} is not at work: `weaver restart {DEPLOYER}`")
    connect(paths, os.environ).close()


def _answer(paths: Paths, order: Order) -> Order:
    """Wait for the answer as long as somebody may give it. Raises NotRunning, TimedOut."""
    deadline = time.monotonic() + WAIT_S
    while (answer := answered(paths, order.id)) is None:
        if Liveness(paths, SystemClock().mono()).factory_state() == "stopped":
            raise NotRunning(home=paths.home)
        if time.monotonic() > deadline:
            raise TimedOut(
                what=f"an answer to the order {order.id} (it stays, and is obeyed when the oracle is back)", seconds=WAIT_S
            )
        time.sleep(LOOK_S)
    return answer

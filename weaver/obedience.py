"""Orders to the Weaver: queue/orders/weaver/, obeyed once and answered in queue/orders/done/. The one verb is restart.

Invariant: only what is answered is obeyed, for what has no answer would be obeyed again in every step.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from core.errors import Conflict, NotFound, WeaverError
from core.orders import Order, answer, pending
from core.paths import Paths
from weaver.adoption import WEAVER
from weaver.desired import Desired
from weaver.observed import Track


def obey_orders(paths: Paths, desired: Desired, tracks: Mapping[str, Track], log: logging.Logger) -> list[str]:
    """Answer every waiting order and give the names of the programs to restart; on a full disk orders wait."""
    names = []
    try:
        for order in pending(paths, WEAVER):
            name = ""
            try:
                name = _program_to_restart(order, desired, tracks)
                message = f"{name} is being restarted"
            except WeaverError as error:
                message = str(error)
            answer(paths, WEAVER, order, bool(name), message)
            log.info("order %s %s by %s: %s", order.verb, order.args, order.by, message)
            names += [name] if name else []
    except OSError as error:
        log.error("orders wait, for they cannot be answered: %s", error)
    return names


def _program_to_restart(order: Order, desired: Desired, tracks: Mapping[str, Track]) -> str:
    if order.verb != "restart":
        raise NotFound(kind="order to the Weaver", name=order.verb, known="restart")
    name = str(order.args.get("name"))
    program = next((program for program in desired.programs if program.name == name), None)
    if program is None:
        raise NotFound(kind="program on this host", name=name, known=", ".join(item.name for item in desired.programs))
    if program.argv and not desired.wants(program):
        raise Conflict(detail=f"{name} is switched off in config/local/desired.json, or everything is stopping.")
    track = tracks.get(name)
    if not program.argv and (track is None or track.process is None):
        raise Conflict(detail=f"{name} does not run now; another program starts it when there is work for it.")
    return name

"""Orders: what a person wants of a running thing, as a write-once file that its one owner obeys and answers."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from core.clock import compact, iso
from core.errors import InvalidData
from core.files import move, replace_durable
from core.paths import Paths
from core.records import Part, Record, encode_pretty, read


class Answer(Part, frozen=True):
    """What became of an order."""

    ok: bool
    message: str


class Order(Record, frozen=True, tag="weaver.order/1"):
    """queue/orders/<owner>/<utc>-<8hex>.json; answered by a rename to queue/orders/done/ with the answer."""

    id: str
    verb: str
    args: dict[str, Any]
    by: str
    at: str
    answer: Answer | None = None


def place(paths: Paths, owner: str, verb: str, args: dict[str, Any], by: str, now: datetime) -> Order:
    """Write an order for its owner, durably, and give it back."""
    order = Order(id=f"{compact(now)}-{os.urandom(4).hex()}", verb=verb, args=args, by=by, at=iso(now))
    folder = paths.orders / owner
    folder.mkdir(parents=True, exist_ok=True)
    replace_durable(folder / f"{order.id}.json", encode_pretty(order))
    return order


def pending(paths: Paths, owner: str) -> list[Order]:
    """Give the orders that an owner has not answered yet, oldest first. A damaged one is answered with its error."""
    found = []
    folder = paths.orders / owner
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            found.append(read(Order, path))
        except FileNotFoundError:
            continue
        except InvalidData:
            move(path, paths.orders / "done" / f"{path.stem}.damaged.json")
    return found


def answer(paths: Paths, owner: str, order: Order, ok: bool, message: str) -> None:
    """Answer an order: the answer is written into it and it is renamed to done/."""
    answered = Order(
        id=order.id, verb=order.verb, args=order.args, by=order.by, at=order.at, answer=Answer(ok=ok, message=message)
    )
    path = paths.orders / owner / f"{order.id}.json"
    replace_durable(path, encode_pretty(answered))
    move(path, paths.orders / "done" / path.name)


def answered(paths: Paths, order_id: str) -> Order | None:
    """Read an answered order; None while it waits."""
    try:
        return read(Order, paths.orders / "done" / f"{order_id}.json")
    except FileNotFoundError:
        return None

"""Orders: what a person wants of a running thing, as a write-once file that its one owner obeys and answers."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

import msgspec

from core.clock import compact, iso
from core.errors import InvalidData
from core.files import move, replace_durable
from core.paths import Paths
from core.records import Record, encode_pretty, read


class Order(Record, frozen=True, omit_defaults=True, tag="weaver.order/1"):
    """queue/orders/<owner>/<utc>-<8hex>.json; answered by a rename to queue/orders/done/, with ok and message added."""

    id: str
    verb: str
    args: dict[str, Any]
    by: str
    at: str
    ok: bool | None = None
    message: str | None = None


class RefusedOrder(Record, frozen=True, tag="weaver.refused-order/1"):
    """The answer to a file that is no order: it lies beside it in done/, as <name>.damaged.json."""

    ok: bool
    message: str


def place(paths: Paths, owner: str, verb: str, args: dict[str, Any], by: str, now: datetime) -> Order:
    """Write an order for its owner, durably, and give it back."""
    order = Order(id=f"{compact(now)}-{os.urandom(4).hex()}", verb=verb, args=args, by=by, at=iso(now))
    folder = paths.orders / owner
    folder.mkdir(parents=True, exist_ok=True)
    replace_durable(folder / f"{order.id}.json", encode_pretty(order))
    return order


def pending(paths: Paths, owner: str) -> list[Order]:
    """Give the orders that an owner has not answered yet, oldest first. A file that is none is answered with its error."""
    found = []
    folder = paths.orders / owner
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            order = read(Order, path)
            if order.id != path.stem:
                raise InvalidData(where=str(path), detail=f"its id is {order.id!r}, expected that of its name")
            found.append(order)
        except FileNotFoundError:
            continue
        except InvalidData as error:
            move(path, paths.orders / "done" / f"{path.stem}.damaged.json")
            refusal = encode_pretty(RefusedOrder(ok=False, message=str(error)))
            replace_durable(paths.orders / "done" / path.name, refusal)
    return found


def answer(paths: Paths, owner: str, order: Order, ok: bool, message: str) -> None:
    """Answer an order: the answer is written into it and it is renamed to done/."""
    path = paths.orders / owner / f"{order.id}.json"
    replace_durable(path, encode_pretty(msgspec.structs.replace(order, ok=ok, message=message)))
    move(path, paths.orders / "done" / path.name)


def answered(paths: Paths, order_id: str) -> Order | None:
    """Read an answered order; None while it waits."""
    try:
        return read(Order, paths.orders / "done" / f"{order_id}.json")
    except FileNotFoundError:
        return None

"""Orders: what a person wants of a running thing, as a write-once file that its one owner obeys and answers.

Files written: queue/orders/<owner>/<id>.json by whoever orders, its answer in queue/orders/done/ by the owner. Invariants: an
id is answered once, what has an answer is never obeyed again, wherever the owner was killed; no file keeps the others waiting.
"""

from __future__ import annotations

import itertools
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from core.clock import compact, iso
from core.errors import AlreadyExists, InvalidData, UsageError
from core.files import OPS, Ops, move, replace_durable
from core.paths import Paths
from core.records import Record, encode_pretty, read

QUEUE_OWNER = "train_next"
QUEUE_VERBS = ("pause", "resume", "stop", "skip")
RESET = "reset"
"""Order to train_next: move head back to the checkpoint in args, with the reason there, if any."""


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


def place(paths: Paths, owner: str, verb: str, args: dict[str, Any], by: str, now: datetime, ops: Ops = OPS) -> Order:
    """Write an order for its owner, durably, and give it back."""
    order = Order(id=f"{compact(now)}-{os.urandom(4).hex()}", verb=verb, args=args, by=by, at=iso(now))
    folder = paths.orders / owner
    folder.mkdir(parents=True, exist_ok=True)
    replace_durable(folder / f"{order.id}.json", encode_pretty(order), ops)
    return order


def order_queue(paths: Paths, verb: str, by: str, now: datetime) -> Order:
    """Order the queue paused, stopped or resumed, or its running job skipped: for every caller alike. Raises UsageError."""
    if verb not in QUEUE_VERBS:
        raise UsageError(detail=f"{verb!r} is no order to the queue; expected one of {', '.join(QUEUE_VERBS)}.")
    return place(paths, QUEUE_OWNER, verb, {}, by, now)


def pending(paths: Paths, owner: str, ops: Ops = OPS) -> list[Order]:
    """Give the orders that an owner has not answered yet, oldest first.

    A file that is none is answered with its error; an answer that a kill cut short is put where it belongs.
    """
    found = []
    folder, done = paths.orders / owner, _done(paths)
    for path in sorted(folder.glob("[!.]*.json")) if folder.is_dir() else []:
        try:
            order = _read(path)
        except FileNotFoundError:
            continue
        except InvalidData as error:
            _refuse(path, done, error, ops)
            continue
        if (done / path.name).exists():
            ops.unlink(path)
        elif order.ok is not None:
            move(path, done / path.name, ops)
        else:
            found.append(order)
    return found


def _done(paths: Paths) -> Path:
    done = paths.orders / "done"
    done.mkdir(parents=True, exist_ok=True)
    return done


def _read(path: Path) -> Order:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise InvalidData(where=str(path), detail="is no regular file")
    try:
        order = read(Order, path)
    except PermissionError as error:
        raise InvalidData(where=str(path), detail=f"cannot be read: {error.strerror}") from error
    if order.id != path.stem:
        raise InvalidData(where=str(path), detail=f"its id is {order.id!r}, expected that of its name")
    return order


def _refuse(path: Path, done: Path, error: InvalidData, ops: Ops) -> None:
    """Answer a file that is no order, then put it aside under a name that is free."""
    if not (done / path.name).exists():
        replace_durable(done / path.name, encode_pretty(RefusedOrder(ok=False, message=str(error))), ops)
    stem = os.fsdecode(os.fsencode(path.stem)[:200])
    for number in itertools.count(1):
        try:
            move(path, done / f"{stem}{f'-{number}' if number > 1 else ''}.damaged.json", ops)
            return
        except AlreadyExists:
            continue


def answer(paths: Paths, owner: str, order: Order, ok: bool, message: str, ops: Ops = OPS) -> None:
    """Answer an order: the answer is written into it and it is renamed to done/. Killed in between, pending() finishes it."""
    path = paths.orders / owner / f"{order.id}.json"
    replace_durable(path, encode_pretty(msgspec.structs.replace(order, ok=ok, message=message)), ops)
    move(path, _done(paths) / path.name, ops)


def answered(paths: Paths, order_id: str) -> Order | None:
    """Read an answered order; None while it waits."""
    try:
        return read(Order, paths.orders / "done" / f"{order_id}.json")
    except FileNotFoundError:
        return None

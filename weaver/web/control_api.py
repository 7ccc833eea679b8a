"""POST /api/queue/...: move a queued job, or place an order about the running one; what the command line does, over HTTP.

Place in the flow: core.jobs.spool moves jobs, by the one rename that decides; train_next obeys and answers the orders. Files
written: queue/orders/train_next/*.json. Invariant: ids, never paths; who comes too late gets 409 and has changed nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from core.clock import iso
from core.errors import NotFound, UsageError
from core.jobs.job import Priority
from core.jobs.spool import Spool
from core.orders import QUEUE_OWNER, Order, answered, order_queue
from core.records import read_if_there
from weaver.web.answers import JobRow
from weaver.web.context import WebContext
from weaver.web.replies import reply

BY = "web"
ORDER_ID = re.compile(r"[0-9]{8}-[0-9]{9}-[0-9a-f]{8}")


class PromoteRequest(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/queue/{job}/promote."""

    priority: Priority = "high"


class RemoveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/queue/{job}/rm."""


class RetryRequest(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/queue/{job}/retry. fresh: from its first row on, not from where it stopped."""

    fresh: bool = False


B = TypeVar("B", PromoteRequest, RemoveRequest, RetryRequest)


class ControlApi:
    """The routes that move jobs and place orders."""

    def __init__(self, web: WebContext) -> None:
        self._web, self._spool = web, Spool(web.paths)

    async def promote(self, job: str, request: Request) -> Response:
        """Give a queued job another priority, high unless the body says otherwise."""
        asked = _read(await request.body(), PromoteRequest)
        return await self._move("promote", job, partial(self._spool.promote, job, asked.priority))

    async def remove(self, job: str, request: Request) -> Response:
        """Take a queued job out of the queue; it lies in rejected/ with everything it had."""
        _read(await request.body(), RemoveRequest)
        return await self._move("rm", job, partial(self._spool.remove, job, BY, iso(self._web.clock.now())))

    async def retry(self, job: str, request: Request) -> Response:
        """Queue a failed, completed or duplicate job again."""
        asked = _read(await request.body(), RetryRequest)
        return await self._move("retry", job, partial(self._spool.retry, job, asked.fresh))

    async def _move(self, verb: str, job: str, move: Callable[[], object]) -> Response:
        await to_thread.run_sync(move)
        self._web.log.info("%s %s", verb, job, extra={"event": verb, "job": job})
        state, record = await to_thread.run_sync(self._spool.read, job)
        return reply(JobRow(**msgspec.structs.asdict(record), state=state))

    def order(self, verb: str) -> Callable[[], Response]:
        """Give the handler of one order. It answers with the order; what came of it is in queue/orders/done/."""

        def handle() -> Response:
            order = order_queue(self._web.paths, verb, BY, self._web.clock.now())
            self._web.log.info("ordered %s", verb, extra={"event": verb})
            return reply(order, HTTPStatus.ACCEPTED)

        return handle

    def answer(self, order: str) -> Response:
        """Give an order to the queue with its answer: ok and message are missing while it waits."""
        found = self._read(order) if ORDER_ID.fullmatch(order) else None
        if found is None:
            raise NotFound(kind="order", name=order, known="POST /api/queue/{verb} gives the id")
        return reply(found)

    def _read(self, order: str) -> Order | None:
        paths = self._web.paths
        waiting = read_if_there(Order, paths.orders / QUEUE_OWNER / f"{order}.json")
        return answered(paths, order) or waiting


def _read(body: bytes, kind: type[B]) -> B:
    """Parse a body, which may be empty. Raises UsageError."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(detail=f"The body is not what this route takes: {error}.") from error

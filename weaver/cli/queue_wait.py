"""Waiting at the command line: for the verdict on drops, for the end of a job, for the answer to an order.

Place in the flow: `weaver queue add --wait`, `weaver queue wait` and the orders. Reads queue/ and status/, writes nothing.
Invariants: nobody waits for a factory that is stopped; a job that ended is never reported as late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from typing import TypeVar

from core.clock import SystemClock
from core.errors import NotRunning, TimedOut
from core.jobs.finding import WAITING, Receipt, receipt, receipt_of
from core.jobs.spool import Spool
from core.liveness import Liveness
from core.orders import QUEUE_OWNER, Order, answered
from core.paths import Paths
from weaver.cli.output import print_data, print_record
from weaver.cli.queue_told import job_or_drop, receipt_line

POLL_S = 0.2
ANSWER_S = 20.0
ENDED = ("completed", "failed", "rejected")
T = TypeVar("T")


def is_stopped(paths: Paths) -> bool:
    """Say whether no program of this home is alive."""
    return Liveness(paths, SystemClock().mono()).factory_state() == "stopped"


def await_verdict(paths: Paths, drop: str, earlier: Container[str], timeout: float | None) -> Receipt:
    """Wait until a drop is a job. Raises NotRunning, TimedOut."""

    def look() -> Receipt | None:
        found = receipt(paths, drop, earlier)
        return found if found is not None and found.state not in WAITING else None

    return _await(paths, f"the verdict on {drop!r}", look, timeout)


def await_verdicts(paths: Paths, drops: Sequence[str], earlier: Container[str], timeout: float | None) -> list[Receipt]:
    """Wait until all of several drops are jobs, `timeout` seconds together. Raises NotRunning, TimedOut."""
    end = None if timeout is None else time.monotonic() + timeout
    return [await_verdict(paths, drop, earlier, _left(end)) for drop in drops]


def await_end(paths: Paths, text: str, timeout: float | None, as_json: bool) -> int:
    """Wait until what a person named ends, print its receipt and give the exit code. Raises NotFound, NotRunning, TimedOut."""
    spool, found = Spool(paths), job_or_drop(paths, text)
    end = None if timeout is None else time.monotonic() + timeout
    if not isinstance(found, str):
        found = await_verdict(paths, found.drop, (), timeout).job or ""
    job = found

    def look() -> Receipt | None:
        state, record = spool.read(job)
        return receipt_of(spool, job, record) if state in ENDED else None

    ended = _await(paths, f"the end of job {job}", look, _left(end))
    print_record(ended) if as_json else print_data(receipt_line(ended))
    return 0 if ended.state == "completed" else 1


def _left(end: float | None) -> float | None:
    """Give the seconds until a monotonic time; None for none."""
    return None if end is None else max(0.0, end - time.monotonic())


def _await(paths: Paths, what: str, look: Callable[[], T | None], timeout: float | None) -> T:
    """Look again and again until there is something. Raises NotRunning when nothing runs that could bring it, TimedOut."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        stopped = is_stopped(paths)  # asked first: what came before the stop is still seen
        found = look()
        if found is not None:
            return found
        if stopped:
            raise NotRunning(home=paths.home)
        if end is not None and time.monotonic() >= end:
            raise TimedOut(what=what, seconds=f"{timeout:.1f}")
        time.sleep(POLL_S)


def answer_to(paths: Paths, order: Order) -> Order:
    """Give the answer to an order; the order as it is when the factory is stopped. Raises TimedOut: it stays in force."""
    try:
        what = f"an answer of {QUEUE_OWNER} to {order.verb}, which stays in force,"
        return _await(paths, what, lambda: answered(paths, order.id), ANSWER_S)
    except NotRunning:
        return order

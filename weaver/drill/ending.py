"""An end in order for whoever runs a factory of its own: what asks it to stop lets it clean up, and cannot break the clean-up.

Place in the flow: weaver/drill/run.py and benchmarks/factory.py make and remove their homes within it. No files. Invariant: of
SIGTERM, SIGHUP and Ctrl-C only the first is felt, so that whatever stands in a `finally` is done to its end.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.process import send_signal, spawned

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
KILLED_S, LOOK_S = 60.0, 0.05


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Raise SystemExit(128 + n) at SIGTERM and SIGHUP, KeyboardInterrupt at Ctrl-C, and nothing at any signal after the first.

    What is ignored, as under nohup, stays ignored; the outermost of several counts. Only for the main thread.
    """
    before = {one: signal.getsignal(one) for one in SIGNALS}
    ours = [one for one, handler in before.items() if handler not in (signal.SIG_IGN, _end, _is_known)]
    for one in ours:
        signal.signal(one, _end)
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, before[one])


def _end(number: int, frame: object) -> None:
    for one in SIGNALS:
        if signal.getsignal(one) is _end:
            signal.signal(one, _is_known)  # not SIG_IGN: programs that the clean-up starts would inherit that
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _is_known(number: int, frame: object) -> None:
    """Hear a signal that asks for what is being done already."""


def kill_left(home_id: str) -> None:
    """Kill what `weaver down` left of a home: a Weaver that was just begun is not yet known to it."""
    deadline = time.monotonic() + KILLED_S
    while (left := list(spawned(home_id))) and time.monotonic() < deadline:
        for _, ref in left:
            send_signal(ref, signal.SIGKILL)
        time.sleep(LOOK_S)

"""What ends a daemon's wait before its time: a signal, or a hint that a watched folder changed.

Both write a byte into one pipe that the waiting thread polls, so nothing is missed between a look and the wait. Signal handlers
only set flags. Invariant: a hint is never needed; the tick that the clock starts does the same work.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from types import FrameType


class Wake:
    """The one place where a daemon sleeps."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._stopping = False
        self._hinted = False

    def install(self) -> None:
        """Turn SIGTERM and SIGINT into the stopping flag. Main thread only."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def stop(self) -> None:
        """Ask the daemon to stop, as a signal does."""
        self._stopping = True
        self._poke()

    def stopping(self) -> bool:
        """Say whether the daemon was asked to stop."""
        return self._stopping

    def hint(self) -> None:
        """Say that there may be work. May be called from any thread."""
        self._hinted = True
        self._poke()

    def take_hint(self) -> bool:
        """Say whether there was a hint since the last call."""
        hinted, self._hinted = self._hinted, False
        return hinted

    def wait(self, timeout_s: float) -> None:
        """Sleep until a hint, a signal, or the time-out in seconds."""
        if self._poll.poll(max(0.0, timeout_s) * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 4096)

    def _poke(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full: the waiter wakes anyway
            os.write(self._write, b"!")

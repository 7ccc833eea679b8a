"""What the Weaver tells systemd, by datagrams to the socket that NOTIFY_SOCKET names (sd_notify(3)); without one, nothing.

Place in the flow: the supervisor calls it from its own loop and from nowhere else, so that a loop that is stuck is a watchdog
that is not fed. Invariant: a socket that does not take a message stops nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

UNIT_VARIABLE = (
    "WEAVER_UNIT"  # set by the unit of `weaver up --systemd`: whoever has it was started by systemd, not by a person
)
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", UNIT_VARIABLE)


class Notifier:
    """The way to systemd of one process. Times in monotonic seconds."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self.is_unit = UNIT_VARIABLE in environ
        self._address = "\0" + name[1:] if name.startswith("@") else name
        usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        is_ours = usec.isdigit() and pid in ("", str(os.getpid()))
        self._every_s = int(usec) / 2e6 if is_ours else None  # half of what systemd waits
        self._fed = float("-inf")
        self._said: dict[str, str] = {}

    def alive(self, now: float, status: str, stopping: bool = False) -> None:
        """Say READY or STOPPING once, the status when it is another, and feed the watchdog when it is due."""
        news = {"READY": "1", "STATUS": status.replace("\n", " "), **({"STOPPING": "1"} if stopping else {})}
        lines = [f"{key}={value}" for key, value in news.items() if self._said.get(key) != value]
        if self._every_s is not None and now - self._fed >= self._every_s:
            self._fed = now
            lines.append("WATCHDOG=1")
        self._said |= news
        self._send("\n".join(lines))

    def _send(self, text: str) -> None:
        if not self._address or not text:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as way:
            way.sendto(text.encode("utf-8", "replace"), self._address)

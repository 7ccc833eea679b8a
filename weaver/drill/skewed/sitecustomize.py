"""The wall clock of a drill's programs: the machine's, and as many seconds ahead as a file says now.

Place in the flow: weaver/drill/site.py puts this folder on the PYTHONPATH of a drill's own programs; Python imports this module
by its name at their start. File read: what DRILL_CLOCK names. A drill may not set the machine's clock, and namespaces of time
leave the wall clock alone. Invariant: monotonic time, and the times of files, are the machine's.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta

from core.clock import SystemClock

FILE = os.environ.get("DRILL_CLOCK", "")
_machines_now, _machines_time = SystemClock.now, time.time


def ahead_s() -> int:
    """Give the seconds; none while there is no file."""
    try:
        with open(FILE, encoding="ascii") as file:  # noqa: PTH123 - in every program, at every look at the clock
            return int(file.read())
    except FileNotFoundError:
        return 0


def now(clock: SystemClock) -> datetime:
    """Give the wall-clock time, as set."""
    return _machines_now(clock) + timedelta(seconds=ahead_s())


if FILE:
    SystemClock.now = now  # type: ignore[method-assign, assignment]
    time.time = lambda: _machines_time() + ahead_s()

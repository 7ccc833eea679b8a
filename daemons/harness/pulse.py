"""What a daemon's heartbeat says: its last report, its last error and what is wrong around it.

Place in the flow: daemons/harness/loop.py keeps one and beats always from the thread that would start the next tick.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from core.clock import Clock, iso
from core.paths import Paths
from core.pulse import PROMISE_S, Pulse
from core.records import encode
from core.status import LastReport, State

_LONGEST_NOTE = 500


class DaemonPulse:
    """The heartbeat of one daemon; every beat repeats what is known."""

    def __init__(self, paths: Paths, clock: Clock, name: str, log: logging.Logger) -> None:
        self._pulse, self._clock = Pulse(paths, clock, name, log), clock
        self.note = ""
        self.remarks: dict[str, str] = {}
        self.report: LastReport | None = None
        self.error: str | None = None

    @property
    def beaten_mono(self) -> float:
        """Monotonic seconds of the last beat."""
        return self._pulse.beaten_mono

    def reported(self, did: int, note: str, facts: Mapping[str, Any]) -> None:
        """Keep what a tick did for the beats that follow; an earlier error is over. Raises InvalidData, TypeError: not JSON."""
        report = LastReport(did=did, note=note[:_LONGEST_NOTE], facts=dict(facts), at=iso(self._clock.now()))
        encode(report)
        self.report, self.note, self.error = report, note, None

    def beat(self, state: State, phase: str, promise_s: float = PROMISE_S, exit_code: int | None = None) -> None:
        """Publish a beat that promises the next one within promise_s seconds."""
        note = "; ".join(filter(None, (self.note, *self.remarks.values())))[:_LONGEST_NOTE]
        self._pulse.beat(state, phase, note, promise_s, report=self.report, error=self.error, exit_code=exit_code)

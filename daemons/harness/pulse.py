"""The heartbeat of one process: what the Weaver reads to know it is alive, and people to know what it does.

File written: status/procs/<name>.json, always from the thread that would start the next tick. Invariant: next_due_mono is a
promise; a beat that cannot be written (a full disk) is logged and does not stop the daemon.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from core import __version__
from core.clock import Clock, iso
from core.paths import Paths
from core.process import this_process
from core.records import encode
from core.status import Heartbeat, LastReport, State, write_heartbeat

BEAT_S = 2.0
PROMISE_S = 6.0
_LONGEST_NOTE = 500


class Pulse:
    """Writes the heartbeat of this process."""

    def __init__(self, paths: Paths, clock: Clock, name: str, log: logging.Logger) -> None:
        self._paths, self._clock, self._name, self._log = paths, clock, name, log
        self._me = this_process()
        self._seq = 0
        self.note = ""
        self.remarks: dict[str, str] = {}
        self.report: LastReport | None = None
        self.error: str | None = None
        self.beaten_mono = float("-inf")

    def reported(self, did: int, note: str, facts: Mapping[str, Any]) -> None:
        """Keep what a tick did for the beats that follow; an earlier error is over. Raises InvalidData, TypeError: not JSON."""
        report = LastReport(did=did, note=note[:_LONGEST_NOTE], facts=dict(facts), at=iso(self._clock.now()))
        encode(report)
        self.report, self.note, self.error = report, note, None

    def beat(self, state: State, phase: str, promise_s: float, exit_code: int | None = None) -> None:
        """Publish a beat that promises the next one within promise_s seconds."""
        self._seq += 1
        mono = self._clock.mono()
        beat = Heartbeat(
            name=self._name, pid=self._me.pid, start_ticks=self._me.start_ticks, boot_id=self._me.boot_id, state=state,
            seq=self._seq, beat_mono=mono, next_due_mono=mono + promise_s, beat_at=iso(self._clock.now()), phase=phase,
            note="; ".join(filter(None, (self.note, *self.remarks.values())))[:_LONGEST_NOTE],
            last_report=self.report, last_error=self.error, exit_code=exit_code, version=__version__,
        )  # fmt: skip
        try:
            write_heartbeat(self._paths, beat)
        except OSError as error:
            self._log.error("no heartbeat could be written: %s", error)
        self.beaten_mono = mono

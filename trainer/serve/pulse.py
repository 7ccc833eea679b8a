"""The heartbeat and the endpoint of the oracle: written every 2 s, so what is deleted under status/ is back within that.

Files written: status/procs/oracle.json, status/endpoints/inference.json. Invariant: the beat comes from the loop that answers
requests, and only while the worker thread keeps its own promise; so a stuck model is seen as well as a frozen server.
"""

from __future__ import annotations

import logging

from core import __version__
from core.clock import Clock, iso
from core.files import replace_quick
from core.hosts import Endpoint, read_endpoint
from core.paths import Paths
from core.process import this_process
from core.records import encode
from core.status import Heartbeat, LastReport, State, write_heartbeat

PROGRAM, SERVICE = "oracle", "inference"
BEAT_S = 2.0
PROMISE_S = 6.0


class Pulse:
    """Writes the views of this process."""

    def __init__(self, paths: Paths, clock: Clock, log: logging.Logger) -> None:
        self._paths, self._clock, self._log = paths, clock, log
        self._me = this_process()
        self._seq = 0
        self.endpoint: Endpoint | None = None
        self.error: str | None = None

    def beat(
        self, state: State, phase: str, note: str, promise_s: float = PROMISE_S, answered: int | None = None,
        exit_code: int | None = None,
    ) -> None:  # fmt: skip
        """Publish a heartbeat and the endpoint. What cannot be written is logged and does not stop the oracle."""
        self._seq += 1
        mono, at = self._clock.mono(), iso(self._clock.now())
        report = None if answered is None else LastReport(did=answered, note=note, facts={"answered": answered}, at=at)
        beat = Heartbeat(
            name=PROGRAM, pid=self._me.pid, start_ticks=self._me.start_ticks, boot_id=self._me.boot_id, state=state,
            seq=self._seq, beat_mono=mono, next_due_mono=mono + promise_s, beat_at=at, phase=phase, note=note,
            last_report=report, last_error=self.error, exit_code=exit_code, version=__version__,
        )  # fmt: skip
        try:
            write_heartbeat(self._paths, beat)
            self._keep_endpoint()
        except OSError as error:
            self._log.error("no heartbeat could be written: %s", error)

    def _keep_endpoint(self) -> None:
        if self.endpoint is not None and read_endpoint(self._paths, SERVICE) != self.endpoint:
            replace_quick(self._paths.status / "endpoints" / f"{SERVICE}.json", encode(self.endpoint))

    def serve_at(self, endpoint: Endpoint) -> None:
        """Publish where the oracle answers from now on. Raises OSError."""
        self.endpoint = endpoint
        replace_quick(self._paths.status / "endpoints" / f"{SERVICE}.json", encode(endpoint))

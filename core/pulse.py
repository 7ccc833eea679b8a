"""The heartbeat of one process, and where its service answers: what the Weaver reads to know it is alive, and people to see.

Place in the flow: every program has one and beats every BEAT_S, from the loop that does its work, so that a frozen loop is
seen. Files written: status/procs/<name>.json, status/endpoints/<service>.json (again when it was deleted), logs/<name>.out (cut
when it is too long). Invariant: next_due_mono is a promise; what cannot be written (a full disk) is logged and stops nothing.
"""

from __future__ import annotations

import logging
import stat

from core import __version__
from core.clock import Clock, iso
from core.files import replace_quick
from core.hosts import Endpoint, read_endpoint
from core.log import OUT_BYTES, keep_end
from core.paths import Paths
from core.process import this_process
from core.records import encode
from core.status import Heartbeat, LastReport, State, write_heartbeat

BEAT_S = 2.0
PROMISE_S = 6.0


class Pulse:
    """Writes the heartbeat of this process under a program's name; beaten_mono: when it last did, in monotonic seconds."""

    def __init__(self, paths: Paths, clock: Clock, name: str, log: logging.Logger, version: str = __version__) -> None:
        self._paths, self._clock, self._name, self._log, self._version = paths, clock, name, log, version
        self._me = this_process()
        self._seq = 0
        self._endpoint: Endpoint | None = None
        self.beaten_mono = float("-inf")

    def beat(
        self, state: State, phase: str, note: str, promise_s: float = PROMISE_S, *, report: LastReport | None = None,
        error: str | None = None, exit_code: int | None = None,
    ) -> bool:  # fmt: skip
        """Publish a beat that promises the next one within promise_s seconds, or with an exit code that there is none.

        False when it could not be written.
        """
        self._seq += 1
        self.beaten_mono = self._clock.mono()
        beat = Heartbeat(
            name=self._name, pid=self._me.pid, start_ticks=self._me.start_ticks, boot_id=self._me.boot_id, state=state,
            seq=self._seq, beat_mono=self.beaten_mono, next_due_mono=self.beaten_mono + promise_s,
            beat_at=iso(self._clock.now()), phase=phase, note=note, last_report=report, last_error=error, exit_code=exit_code,
            version=self._version,
        )  # fmt: skip
        self._cut_output()
        try:
            write_heartbeat(self._paths, beat)
            if self._endpoint is not None and read_endpoint(self._paths, self._endpoint.service) != self._endpoint:
                self.serve_at(self._endpoint)
        except OSError as problem:
            self._log.error("no heartbeat could be written: %s", problem)
            return False
        return True

    def _cut_output(self) -> None:
        """Keep what this process printed bounded, also while no Weaver does."""
        path = self._paths.logs / f"{self._name}.out"
        try:
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode) and facts.st_size > OUT_BYTES:
                keep_end(path)
        except FileNotFoundError:
            return  # it was started by hand, and prints to a terminal
        except OSError as problem:
            self._log.error("%s could not be cut: %s", path, problem)

    def serve_at(self, endpoint: Endpoint) -> None:
        """Publish where the service of this process answers; what cannot be written now comes with one of the next beats."""
        self._endpoint = endpoint
        try:
            replace_quick(self._paths.endpoint(endpoint.service), encode(endpoint))
        except OSError as problem:
            self._log.error("where %s answers could not be written: %s", endpoint.service, problem)

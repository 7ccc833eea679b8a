"""What the Weaver says of itself: status/supervisor.json and its own heartbeat; both are views and come back when deleted.

Place in the flow: the supervisor publishes at the end of every step, and learns by it whether there is room for heartbeats.
Invariant: a view that cannot be written (a full disk) is logged, and supervision goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from core.clock import Clock, iso
from core.paths import Paths
from core.process import this_process
from core.pulse import BEAT_S, Pulse
from core.status import (
    ConfigStatus,
    ProgramView,
    State,
    SupervisorView,
    read_supervisor_view,
    write_supervisor_view,
)
from weaver.adoption import WEAVER


class Publisher:
    """Writes the two files of one Weaver. is_full: its last heartbeat could not be written."""

    def __init__(self, paths: Paths, clock: Clock, log: logging.Logger) -> None:
        self._paths, self._clock, self._me, self._log = paths, clock, this_process(), log
        self._pulse = Pulse(paths, clock, WEAVER, log)
        self.note = ""
        self._started_mono, self._started_at = self._clock.mono(), iso(self._clock.now())
        self._view: SupervisorView | None = None
        self._retry = float("-inf")
        self.is_full = False

    def publish(
        self, programs: Sequence[ProgramView], stopping: bool, problem: str, config: ConfigStatus | None = None,
        exit_code: int | None = None,
    ) -> None:  # fmt: skip
        """Write the view if it changed, is gone or was torn, and the heartbeat if it is due."""
        view = SupervisorView(
            pid=self._me.pid, start_ticks=self._me.start_ticks, boot_id=self._me.boot_id, started_mono=self._started_mono,
            started_at=self._started_at, stopping=stopping, programs=list(programs), config=config,
        )  # fmt: skip
        now = self._clock.mono()
        if now >= self._retry:
            self._show(view, now)
        if exit_code is not None or now - self._pulse.beaten_mono >= BEAT_S:
            self._beat(programs, stopping, problem, exit_code)

    def _show(self, view: SupervisorView, now: float) -> None:
        try:
            if view != self._view or read_supervisor_view(self._paths) != view:
                write_supervisor_view(self._paths, view)
                self._view = view
        except OSError as error:
            self._log.error("the view of the programs could not be written: %s", error)
            self._retry = now + BEAT_S

    def _beat(self, programs: Sequence[ProgramView], stopping: bool, problem: str, exit_code: int | None) -> None:
        running = sum(view.state is State.RUNNING for view in programs)
        others = [f"{view.name} {view.state}" for view in programs if view.state is not State.RUNNING]
        self.note = ", ".join([f"{running} of {len(programs)} run", *others])
        state = State.EXITED if exit_code is not None else State.STOPPING if stopping else State.RUNNING
        phase = "stop" if stopping else "watch"
        self.is_full = not self._pulse.beat(state, phase, self.note, error=problem or None, exit_code=exit_code)

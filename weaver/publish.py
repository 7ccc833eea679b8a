"""What the Weaver says of itself: status/supervisor.json and its own heartbeat; both are views and come back when deleted."""

from __future__ import annotations

from collections.abc import Sequence

from core import __version__
from core.clock import Clock, iso
from core.paths import Paths
from core.process import this_process
from core.status import (
    ConfigStatus,
    Heartbeat,
    ProgramView,
    State,
    SupervisorView,
    read_supervisor_view,
    write_heartbeat,
    write_supervisor_view,
)

BEAT_S = 2.0
PROMISE_S = 6.0


class Publisher:
    """Writes the two files of one Weaver."""

    def __init__(self, paths: Paths, clock: Clock) -> None:
        self._paths, self._clock, self._me = paths, clock, this_process()
        self.note = ""
        self._started_mono, self._started_at = self._clock.mono(), iso(self._clock.now())
        self._seq, self._beaten = 0, float("-inf")
        self._view: SupervisorView | None = None

    def publish(
        self, programs: Sequence[ProgramView], stopping: bool, problem: str, config: ConfigStatus | None = None,
        exit_code: int | None = None,
    ) -> None:  # fmt: skip
        """Write the view if it changed, is gone or was torn, and the heartbeat if it is due."""
        view = SupervisorView(
            pid=self._me.pid, start_ticks=self._me.start_ticks, boot_id=self._me.boot_id, started_mono=self._started_mono,
            started_at=self._started_at, stopping=stopping, programs=list(programs), config=config,
        )  # fmt: skip
        if view != self._view or read_supervisor_view(self._paths) != view:
            write_supervisor_view(self._paths, view)
            self._view = view
        if exit_code is not None or self._clock.mono() - self._beaten >= BEAT_S:
            self._beat(programs, stopping, problem, exit_code)

    def _beat(self, programs: Sequence[ProgramView], stopping: bool, problem: str, exit_code: int | None) -> None:
        self._seq += 1
        self._beaten = self._clock.mono()
        running = sum(view.state is State.RUNNING for view in programs)
        others = [f"{view.name} {view.state}" for view in programs if view.state is not State.RUNNING]
        self.note = ", ".join([f"{running} of {len(programs)} run", *others])
        state = State.EXITED if exit_code is not None else State.STOPPING if stopping else State.RUNNING
        beat = Heartbeat(
            name="weaver", pid=self._me.pid, start_ticks=self._me.start_ticks, boot_id=self._me.boot_id, state=state,
            seq=self._seq, beat_mono=self._beaten, next_due_mono=self._beaten + PROMISE_S, beat_at=iso(self._clock.now()),
            phase="stop" if stopping else "watch", note=self.note,
            last_report=None, last_error=problem or None, exit_code=exit_code, version=__version__,
        )  # fmt: skip
        write_heartbeat(self._paths, beat)

"""The loop of every daemon: wait, beat, tick, count errors, stop when asked. One of the three places that may catch anything.

Place in the flow: daemons/__main__.py calls run() or run_once(). Files written: status/procs/<name>.json, logs/<name>.jsonl.
Invariants: everything happens in one thread, so a beat proves that the next tick could start; a tick that raises costs one unit
of the error budget and nothing else; the last beat carries the exit code.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping

from core.clock import Clock, SystemClock
from core.errors import DiskLow, InvalidConfig, Unavailable, WeaverError
from core.log import open_log, write_event
from core.paths import Paths
from core.pulse import BEAT_S
from core.status import State
from daemons.harness.base import Surroundings, lock
from daemons.harness.budget import ErrorBudget
from daemons.harness.context import Daemon, Report
from daemons.harness.pulse import DaemonPulse
from daemons.harness.schedule import Schedule
from daemons.harness.wake import Wake
from daemons.harness.watcher import Watcher

EXIT_STOPPED = 0
EXIT_BUDGET_SPENT = 75
EXIT_MISCONFIGURED = 78
UNAVAILABLE_RETRY_S = 5.0
HINT_GAP_S = 0.1
FOLLOW_S = 6.0
_BEAT_GAP_S = 0.5


class Loop:
    """One daemon at work."""

    def __init__(self, daemon: Daemon, paths: Paths, environ: Mapping[str, str], clock: Clock, wake: Wake) -> None:
        self._daemon, self._paths, self._clock, self._wake = daemon, paths, clock, wake
        self._log = open_log(paths, daemon.name)
        self._pulse = DaemonPulse(paths, clock, daemon.name, self._log)
        self._pulse.beat(State.STARTING, "start", daemon.patience_s)
        self._schedule = Schedule(daemon.every)
        self._around = Surroundings(daemon.name, paths, environ, clock, self._log, self._beat_inside, wake.stopping)
        self._watcher = Watcher(paths.home, (*daemon.wakes_on, f"queue/orders/{daemon.name}"), wake.hint)
        self._budget = ErrorBudget()
        self._due = self._hold = clock.mono()
        self._followed_mono = float("-inf")
        self._exit: int | None = None

    def run(self) -> int:
        """Work until asked to stop or given up; give the exit code."""
        self._log.info("started (pid %d)", os.getpid())
        hinted = False
        while self._exit is None and not self._wake.stopping():
            self._look_around()
            now = self._clock.mono()
            hinted = self._wake.take_hint() or hinted
            if now >= self._due or (hinted and now >= self._hold):
                hinted = False
                self._tick(now)
                continue
            if now - self._pulse.beaten_mono >= BEAT_S:
                self._pulse.beat(State.RUNNING, "wait")
            beat_at = self._pulse.beaten_mono + BEAT_S
            self._wake.wait(min(self._due, beat_at, self._hold if hinted else beat_at) - self._clock.mono())
        return self._end(EXIT_STOPPED if self._exit is None else self._exit)

    def _look_around(self) -> None:
        if self._around.reload_if_changed():
            self._due = self._clock.mono()
        now = self._clock.mono()
        if now - self._followed_mono >= (BEAT_S if self._watcher.problem else FOLLOW_S):
            self._followed_mono = now
            self._watcher.refresh()
        self._pulse.remarks = {"config": self._around.problem, "watch": self._watcher.problem}

    def _tick(self, started: float) -> None:
        self._pulse.beat(State.RUNNING, "tick", self._daemon.patience_s)
        try:
            self._succeeded(self._daemon.tick(self._around.context), started)
        except (Unavailable, DiskLow) as error:
            self._waits_for_others(error)
        except WeaverError as error:
            if isinstance(error, InvalidConfig) or error.exit_code == EXIT_MISCONFIGURED:
                self._give_up(EXIT_MISCONFIGURED, f"misconfigured: {error}")
            else:
                self._failed(error)
        except Exception as error:  # noqa: BLE001 - the daemon loop is one of the three shells
            self._failed(error)
        if self._exit is None:
            self._pulse.beat(State.RUNNING, "wait")

    def _succeeded(self, report: Report, started: float) -> None:
        last = self._pulse.report
        self._pulse.reported(report.did, report.note, report.facts)
        self._budget.succeed()
        now = self._clock.mono()
        self._due = now if report.again else self._schedule.next_due(started, now, self._clock.now())
        if report.next_s is not None:
            self._due = min(self._due, now + report.next_s)
        self._hold = min(self._due, now + HINT_GAP_S)
        if report.did or last is None or last.note != report.note:
            self._log.info("%s", report.note or f"did {report.did}")

    def _waits_for_others(self, error: WeaverError) -> None:
        text = str(error)
        if self._pulse.error != text:
            self._log.warning("%s", text)
        self._pulse.error = self._pulse.note = text
        self._due = self._hold = self._clock.mono() + UNAVAILABLE_RETRY_S

    def _failed(self, error: Exception) -> None:
        now = self._clock.mono()
        text = f"{type(error).__name__}: {error}"
        self._log.error("the tick failed: %s", text, exc_info=error)
        self._budget.fail(now)
        self._pulse.error, self._pulse.note = text, f"the last tick failed: {text}"
        self._due = self._hold = now + self._budget.retry_s
        if self._budget.is_spent:
            self._give_up(EXIT_BUDGET_SPENT, f"too many failed ticks, the last one: {text}")

    def _give_up(self, code: int, reason: str) -> None:
        self._exit = code
        self._pulse.error = self._pulse.note = reason
        self._log.error("%s", reason)
        write_event(self._paths, self._daemon.name, "gave_up", exit_code=code, reason=reason)

    def _beat_inside(self, note: str) -> None:
        self._pulse.note = note
        if self._clock.mono() - self._pulse.beaten_mono >= _BEAT_GAP_S:
            self._pulse.beat(State.RUNNING, "tick", self._daemon.patience_s)

    def _end(self, code: int) -> int:
        self._watcher.close()
        self._log.info("ends with exit code %d", code)
        self._pulse.beat(State.EXITED, "end", exit_code=code)
        return code


def run(daemon: Daemon, paths: Paths, environ: Mapping[str, str]) -> int:
    """Run a daemon until it is asked to stop; give the exit code: 0, 75 or 78. Raises LockHeld."""
    paths.make()
    wake = Wake()
    wake.install()
    lock(paths, daemon.name)
    os.nice(max(0, daemon.nice - os.nice(0)))
    clock = SystemClock()
    try:
        loop = Loop(daemon, paths, environ, clock, wake)
    except WeaverError as error:
        return _misconfigured(daemon.name, paths, clock, error)
    return loop.run()


def _misconfigured(name: str, paths: Paths, clock: Clock, error: WeaverError) -> int:
    log = open_log(paths, name)
    log.error("misconfigured: %s", error)
    pulse = DaemonPulse(paths, clock, name, log)
    pulse.error = pulse.note = f"misconfigured: {error}"
    pulse.beat(State.EXITED, "end", exit_code=EXIT_MISCONFIGURED)
    write_event(paths, name, "gave_up", exit_code=EXIT_MISCONFIGURED, reason=str(error))
    return EXIT_MISCONFIGURED


def run_once(daemon: Daemon, paths: Paths, environ: Mapping[str, str]) -> int:
    """Run one tick and print its report as one JSON object; no heartbeat, the log on stderr. Raises what the tick raises."""
    paths.make()
    wake = Wake()
    wake.install()
    lock(paths, daemon.name)
    log = logging.getLogger(f"weaver.{daemon.name}.once")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    around = Surroundings(daemon.name, paths, environ, SystemClock(), log, log.info, wake.stopping)
    report = daemon.tick(around.context)
    fields = {"did": report.did, "note": report.note, "facts": dict(report.facts), "again": report.again}
    print(json.dumps({"schema": "weaver.report/1", "name": daemon.name, **fields}, ensure_ascii=False))
    return EXIT_STOPPED

"""Who is alive, by three witnesses: the Weaver's view, the heartbeats, and the kernel's table of processes.

Place in the flow: core.overview asks it. Files read: status/supervisor.json, status/procs/*.json, /proc. Invariants: a program
is RUNNING only while its own process is alive and its heartbeat is of this boot and within its promise; the state is healthy
only while a Weaver that keeps its own promise says so of every wanted program.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.clock import boot_id
from core.errors import Unavailable
from core.hosts import Hosts, get_service_url, read_endpoint, service_host, this_host
from core.paths import Paths
from core.process import ProcessRef, is_alive
from core.status import (
    ConfigStatus,
    DaemonStatus,
    Heartbeat,
    ProgramView,
    State,
    SupervisorStatus,
    is_fresh,
    read_heartbeat,
    read_supervisor_view,
)

WEAVER, TRAINER = "weaver", "trainer"
_PROGRAM_OF = {"web": "web", "inference": "oracle"}
_UP = (State.RUNNING, State.STARTING)


@dataclass(frozen=True)
class Seen:
    """One program's heartbeat and what became of the process behind it."""

    beat: Heartbeat | None
    alive: bool
    fresh: bool

    @property
    def pid(self) -> int | None:
        """Give the pid while the process is alive."""
        return self.beat.pid if self.beat and self.alive else None


class Liveness:
    """One look at all programs of a home; mono in seconds of this boot's monotonic clock."""

    def __init__(self, paths: Paths, mono: float) -> None:
        self._mono, self._boot = mono, boot_id()
        self._seen = {name: self._look(read_heartbeat(paths, name)) for name in _programs(paths)}
        view = read_supervisor_view(paths)
        self._wanted = view.programs if view else []
        self._view = view if view and view.boot_id == self._boot else None
        self._weaver = self._find_weaver()

    def _look(self, beat: Heartbeat | None) -> Seen:
        if beat is None:
            return Seen(None, False, False)
        alive = is_alive(beat.process)
        return Seen(beat, alive, alive and is_fresh(beat, self._mono, self._boot))

    def seen(self, program: str) -> Seen:
        """Give what is known of one program."""
        return self._seen.get(program, Seen(None, False, False))

    def _find_weaver(self) -> ProcessRef | None:
        for witness in (self.seen(WEAVER).beat, self._view):
            if witness is not None:
                ref = ProcessRef(pid=witness.pid, start_ticks=witness.start_ticks, boot_id=witness.boot_id)
                if is_alive(ref):
                    return ref
        return None

    @property
    def weaver_is_well(self) -> bool:
        """Say whether a Weaver is alive and keeps its promise."""
        return self._weaver is not None and self.seen(WEAVER).fresh

    def supervisor(self) -> SupervisorStatus | None:
        """Give the Weaver's pid and age; None when no Weaver is alive."""
        if self._weaver is None:
            return None
        return SupervisorStatus(pid=self._weaver.pid, up_s=self._up_s(self._weaver.start_ticks))

    def _up_s(self, ticks: int) -> float:
        asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()  # the kernel counts a suspended machine's time in
        return round(max(0.0, self._mono + asleep - ticks / os.sysconf("SC_CLK_TCK")), 1)

    def rows(self) -> list[DaemonStatus]:
        """Give a row for every wanted program in starting order; without the Weaver's view, for every one that ever beat."""
        if self._wanted:
            return [self._row(program.name, program if self._view else None) for program in self._wanted]
        return [self._row(name, None) for name in sorted(self._seen) if name not in (WEAVER, TRAINER)]

    def _row(self, name: str, view: ProgramView | None) -> DaemonStatus:
        seen = self.seen(name)
        beat = seen.beat if seen.beat and seen.beat.boot_id == self._boot else None
        if view is not None and self._weaver is not None and beat is not None and view.pid not in (None, beat.pid):
            beat, seen = None, Seen(None, False, False)  # the heartbeat of a predecessor
        state = self._state(seen, view if self._weaver else None)
        note = beat.note if beat and state in _UP else (view.reason if view else "")
        age = round(self._mono - beat.beat_mono, 1) if beat else None
        if state is State.UNKNOWN:
            note = f"silent for {age:.0f} s: {beat.note if beat else ''}" if beat and age is not None else "no heartbeat"
        running = beat if beat and seen.alive else None
        return DaemonStatus(
            name=name, state=state, note=note, heartbeat_age_s=age,
            pid=running.pid if running else (view.pid if view and self._weaver else None),
            up_s=self._up_s(running.start_ticks) if running else None,
            restarts=view.restarts if view else 0,
            last_exit=view.last_exit if view else (beat.exit_code if beat else None),
        )  # fmt: skip

    def _state(self, seen: Seen, view: ProgramView | None) -> State:
        """Weigh the witnesses; view is None where no Weaver is alive to stand for it."""
        if view is not None:
            return State.UNKNOWN if view.state is State.RUNNING and not seen.fresh else view.state
        if seen.beat is None or seen.beat.boot_id != self._boot:
            return State.STOPPED
        if seen.alive:
            return State.RUNNING if seen.fresh else State.UNKNOWN
        return State.STOPPED if seen.beat.exit_code == 0 else State.EXITED

    def factory_state(self) -> str:
        """Say healthy, degraded or stopped (CONTRACTS.md section 7)."""
        if self._weaver is None and not any(seen.alive for seen in self._seen.values()):
            return "stopped"
        if not self.weaver_is_well or self._view is None or self._view.stopping or not self._wanted:
            return "degraded"
        return "healthy" if all(row.state is State.RUNNING for row in self.rows()) else "degraded"

    def config(self) -> ConfigStatus | None:
        """Give how the configuration stands, as a living Weaver says."""
        return self._view.config if self._view and self._weaver else None

    def problems(self) -> list[str]:
        """Say what is wrong with the Weaver itself."""
        anyone = any(seen.alive for name, seen in self._seen.items() if name != WEAVER)
        if self._weaver is None:
            return ["No Weaver is alive: nothing is restarted. `weaver up` starts one; it adopts what runs."] if anyone else []
        beat = self.seen(WEAVER).beat
        if beat is None or not self.weaver_is_well:
            return [f"The Weaver (pid {self._weaver.pid}) is silent: its process is there, its heartbeat is not."]
        stopping = ["The Weaver is stopping everything."] if self._view and self._view.stopping else []
        return stopping + ([beat.last_error] if beat.last_error else [])


def living_url(paths: Paths, hosts: Hosts, service: str, environ: Mapping[str, str]) -> str:
    """Give where a service answers, if the very process that took its port is there.

    Where it is not, another program may have the port, and nobody is to send it a key. Raises NotFound for an unknown service,
    Unavailable.
    """
    here = this_host(hosts, environ)
    url = get_service_url(paths, hosts, service, environ)
    if service_host(hosts, service, here) == here:
        program = _PROGRAM_OF[service]
        taken, beat = read_endpoint(paths, service), read_heartbeat(paths, program)
        if taken is None or beat is None or beat.pid != taken.pid or not is_alive(beat.process):
            raise Unavailable(service=f"the {program}", url=url, detail="no process of this home has taken its port")
    return url


def _programs(paths: Paths) -> list[str]:
    try:
        return sorted(Path(entry.name).stem for entry in os.scandir(paths.procs) if entry.name.endswith(".json"))
    except FileNotFoundError:
        return []

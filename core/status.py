"""Heartbeats and the status record: the views that people and the Weaver read."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from core.clock import boot_id
from core.errors import InvalidData
from core.files import OPS, Ops, replace_quick
from core.names import recordable
from core.paths import Paths
from core.process import ProcessRef
from core.records import Part, Record, encode, read


class State(StrEnum):
    """States of a supervised program."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"
    PARKED = "PARKED"
    UNKNOWN = "UNKNOWN"


class LastReport(Part, frozen=True):
    """What the last tick did."""

    did: int
    note: str
    facts: dict[str, Any]
    at: str


class Heartbeat(Record, frozen=True, tag="weaver.heartbeat/1"):
    """status/procs/<program>.json. Past next_due_mono (same boot_id) the program is hung; exit_code is set by the last beat.

    home_id is set by writing and checked by reading: in a copy of a home the original's files say nothing about the copy.
    """

    name: str
    pid: int
    start_ticks: int
    boot_id: str
    state: str
    seq: int
    beat_mono: float
    next_due_mono: float
    beat_at: str
    phase: str
    note: str
    last_report: LastReport | None
    last_error: str | None
    exit_code: int | None
    version: str
    home_id: str | None = None

    @property
    def process(self) -> ProcessRef:
        """Give the process that beat."""
        return ProcessRef(pid=self.pid, start_ticks=self.start_ticks, boot_id=self.boot_id)


def write_heartbeat(paths: Paths, beat: Heartbeat, ops: Ops = OPS) -> None:
    """Publish a heartbeat (quick replace), also when its note or error quotes a file name that is not UTF-8."""
    error = None if beat.last_error is None else recordable(beat.last_error)
    beat = msgspec.structs.replace(beat, note=recordable(beat.note), last_error=error, home_id=paths.home_id)
    replace_quick(paths.heartbeat(beat.name), encode(beat), ops)


def read_heartbeat(paths: Paths, program: str) -> Heartbeat | None:
    """Read a heartbeat; None when there is none, it is damaged (its owner writes it again), or of another home."""
    try:
        beat = read(Heartbeat, paths.heartbeat(program))
    except (FileNotFoundError, InvalidData):
        return None
    return msgspec.structs.replace(beat, home_id=None) if beat.home_id == paths.home_id else None


def is_fresh(beat: Heartbeat, mono: float, boot: str | None = None) -> bool:
    """Say whether the program promised to be alive now."""
    return beat.boot_id == (boot or boot_id()) and beat.exit_code is None and mono <= beat.next_due_mono


class ProgramView(Part, frozen=True):
    """One wanted program as the Weaver sees it; started_mono is null while no process runs, reason says why it does not."""

    name: str
    state: State
    pid: int | None
    started_mono: float | None
    restarts: int
    last_exit: int | None
    reason: str


class ConfigStatus(Part, frozen=True):
    """Which configuration is in force, and what is wrong with a newer one; where: a file with its line, or a variable.

    in_force_at: since when the files in force are as they are; null when there never were good ones. where, reason and since
    are null while nothing is refused.
    """

    state: Literal["good", "refused"]
    in_force_at: str | None
    where: str | None
    reason: str | None
    since: str | None


class SupervisorView(Record, frozen=True, tag="weaver.supervisor/1"):
    """status/supervisor.json: the Weaver's own account of every wanted program, in starting order; a view."""

    pid: int
    start_ticks: int
    boot_id: str
    started_mono: float
    started_at: str
    stopping: bool
    programs: list[ProgramView]
    config: ConfigStatus | None = None
    home_id: str | None = None


def write_supervisor_view(paths: Paths, view: SupervisorView) -> None:
    """Publish status/supervisor.json (quick replace)."""
    replace_quick(paths.supervisor, encode(msgspec.structs.replace(view, home_id=paths.home_id)))


def read_supervisor_view(paths: Paths) -> SupervisorView | None:
    """Read status/supervisor.json; None when there is none, it is damaged (the Weaver writes it again), or of another home."""
    try:
        view = read(SupervisorView, paths.supervisor)
    except (FileNotFoundError, InvalidData):
        return None
    return msgspec.structs.replace(view, home_id=None) if view.home_id == paths.home_id else None


class DaemonStatus(Part, frozen=True):
    """One row of the table of daemons."""

    name: str
    state: State
    pid: int | None
    up_s: float | None
    restarts: int
    heartbeat_age_s: float | None
    note: str
    last_exit: int | None


class QueueStatus(Part, frozen=True):
    """How many drops and jobs lie where."""

    inbox: int
    high: int
    normal: int
    low: int
    processing: int
    completed: int
    failed: int
    rejected: int
    paused: bool


class TrainingStatus(Part, frozen=True):
    """The claimed job; step is the model's global step, total_steps where the present job ends, both null before the first."""

    pid: int | None
    phase: str
    model: str
    job: str
    step: int | None
    total_steps: int | None
    loss: float | None
    tokens_per_s: float | None
    eta_s: float | None


class ServingStatus(Part, frozen=True):
    """What the champion alias serves and when that was last proved."""

    checkpoint: str
    host: str
    verified_at: str


class SupervisorStatus(Part, frozen=True):
    """The Weaver itself."""

    pid: int
    up_s: float


class DiskStatus(Part, frozen=True):
    """Free space of the home's file system; floor_bytes is null while the configuration cannot be read."""

    free_bytes: int
    floor_bytes: int | None


class GpuStatus(Part, frozen=True):
    """One GPU; unknown is null."""

    index: int
    name: str
    memory_total_bytes: int | None
    memory_used_bytes: int | None
    utilisation: float | None


class StatusReport(Record, frozen=True, tag="weaver.status/1"):
    """`weaver status --json` and GET /api/status (DESIGN.md section 9)."""

    host: str
    state: str
    checked_at: str
    home: str
    web: str | None
    oracle: str | None
    supervisor: SupervisorStatus | None
    daemons: list[DaemonStatus]
    queue: QueueStatus
    training: TrainingStatus | None
    serving: ServingStatus | None
    gpus: list[GpuStatus]
    disk: DiskStatus
    hosts: dict[str, Any]
    config: ConfigStatus | None

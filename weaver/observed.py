"""What the Weaver has seen: one track per program, folded from events. Pure; the supervisor feeds it, plan() reads it.

Invariant: a track is a value; every function here takes one and gives the next one. Times are monotonic seconds.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from core.process import ProcessRef
from core.status import Heartbeat, ProgramView, State
from weaver.backoff import CRASH_LOOP, HEALTHY_S, SHORT_LIFE_S, delay_s

EXIT_BUDGET_SPENT = 75
EXIT_MISCONFIGURED = 78


@dataclass(frozen=True)
class Track:
    """One program: its process if one lives, and the history that back-off needs.

    watched: since when the Weaver looks after it. beaten: when its newest beat was made. next_due: what that promised (None
    before the first). deaths: in a row, without ten healthy minutes between. short_lives: crashes in a row, each soon after
    its start, what others killed or asked to stop, or the machine did not let live, not counted. retry: end of BACKOFF.
    """

    name: str
    state: State = State.STOPPED
    process: ProcessRef | None = None
    started: float = 0.0
    watched: float = 0.0
    beaten: float = float("-inf")
    next_due: float | None = None
    running_since: float | None = None
    signalled: float | None = None
    grace_s: float = 0.0
    killed: bool = False
    deaths: int = 0
    short_lives: int = 0
    retry: float = 0.0
    starts: int = 0
    last_exit: int | None = None
    reason: str = ""
    restart_asked: bool = False

    @property
    def restarts(self) -> int:
        """Give how often it was started again."""
        return max(0, self.starts - 1)

    def view(self) -> ProgramView:
        """Give what people and the CLI see."""
        alive = self.process is not None
        return ProgramView(
            name=self.name, state=self.state, pid=self.process.pid if self.process else None,
            started_mono=self.started if alive else None, restarts=self.restarts, last_exit=self.last_exit, reason=self.reason,
        )  # fmt: skip


BaseState = Literal["missing", "building", "ready", "failed"]


@dataclass(frozen=True)
class Observed:
    """Everything that plan() looks at.

    blind_until: the Weaver itself did not run for a while; nobody is hung before that. full_until: when its own heartbeat could
    not be written last. unburied: the programs whose death is not recorded yet, because something that belongs to it could
    not be read.
    """

    tracks: Mapping[str, Track] = field(default_factory=dict)
    base: BaseState = "ready"
    base_reason: str = ""
    blind_until: float = float("-inf")
    full_until: float = float("-inf")
    unburied: frozenset[str] = frozenset()

    def track(self, name: str) -> Track:
        """Give the track of a program, a fresh one for a program never seen."""
        return self.tracks.get(name, Track(name))


def started(track: Track, now: float, process: ProcessRef | None) -> Track:
    """Fold: the Weaver started a process; None: it tried to."""
    return replace(
        track, state=State.STARTING, process=process, started=now, watched=now, beaten=float("-inf"), next_due=None,
        running_since=None, signalled=None, killed=False, starts=track.starts + 1, reason="", restart_asked=False,
    )  # fmt: skip


def held(track: Track, process: ProcessRef) -> Track:
    """Fold: the process that was just started is this one."""
    return replace(track, process=process)


def adopted(track: Track, now: float, process: ProcessRef, age_s: float) -> Track:
    """Fold: a process that somebody else started age_s ago was found alive."""
    return replace(started(track, now, process), started=now - age_s, starts=max(1, track.starts))


def beaten(track: Track, now: float, beat: Heartbeat) -> Track:
    """Fold: the newest heartbeat in the file. A beat of another process changes nothing."""
    if beat.process != track.process:
        return track
    track = replace(track, beaten=beat.beat_mono, next_due=beat.next_due_mono)
    if track.state is State.STARTING and beat.state == State.RUNNING and now <= beat.next_due_mono:
        return replace(track, state=State.RUNNING, running_since=now)
    if track.running_since is not None and now - track.running_since >= HEALTHY_S:
        return replace(track, deaths=0, short_lives=0)
    return track


def signalled(track: Track, now: float, grace_s: float, reason: str) -> Track:
    """Fold: SIGTERM was sent; SIGKILL follows after grace_s."""
    return replace(track, state=State.STOPPING, signalled=now, grace_s=grace_s, reason=reason)


def killed(track: Track) -> Track:
    """Fold: SIGKILL was sent."""
    return replace(track, killed=True)


def exited(
    track: Track, now: float, code: int | None, is_wanted: bool, chance: float, words: str = "", excuse: str = ""
) -> Track:
    """Fold: the process is gone. code: -n for signal n, None: nobody knows. chance: the jitter, in [0, 1). words: its last.

    excuse: what the machine did not give it. It may have died of that, so it is not given up for it.
    """
    gone = replace(
        track, process=None, next_due=None, running_since=None, signalled=None, killed=False, last_exit=code,
        restart_asked=False,
    )  # fmt: skip
    if not is_wanted or track.restart_asked:
        return replace(gone, state=State.STOPPED, deaths=0, short_lives=0, reason="")
    if code == EXIT_MISCONFIGURED and not excuse:
        return parked(gone, words or "misconfigured (exit code 78)")
    is_crash = code != EXIT_BUDGET_SPENT and not excuse and not _was_others(track, code)
    deaths = track.deaths + 1
    is_short = is_crash and now - track.started < SHORT_LIFE_S
    short_lives = (track.short_lives + 1 if is_short else 0) if is_crash else track.short_lives
    known = "" if excuse and code is None else _describe(code)
    why = track.reason if track.signalled is not None else ": ".join(filter(None, (excuse, known, words)))
    gone = replace(gone, deaths=deaths, short_lives=short_lives, reason=why)
    if short_lives >= CRASH_LOOP:
        return replace(gone, state=State.FATAL, reason=f"crash loop: {short_lives} short lives in a row, the last one: {why}")
    return replace(gone, state=State.BACKOFF, retry=now + delay_s(deaths, chance))


def _was_others(track: Track, code: int | None) -> bool:
    """Say whether others ended it, which is no crash: asked it to stop, or killed it while it ran well."""
    if code in (0, -signal.SIGTERM):
        return track.signalled is None
    return code == -signal.SIGKILL and track.running_since is not None and not track.killed


def _describe(code: int | None) -> str:
    if code is None:
        return "ended, exit code unknown"
    if code == 0:
        return "exit code 0: it was asked to stop, not by the Weaver"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def parked(track: Track, reason: str) -> Track:
    """Fold: not to be started until somebody changes something."""
    return replace(track, state=State.PARKED, reason=reason)


def resting(track: Track, reason: str) -> Track:
    """Fold: not running, for a reason that is nobody's fault."""
    return replace(track, state=State.STOPPED, reason=reason)


def asked_to_restart(track: Track) -> Track:
    """Fold: a person wants it started anew; its past is forgiven."""
    if track.process is not None:
        return replace(track, restart_asked=True)
    return replace(track, state=State.STOPPED, deaths=0, short_lives=0, reason="")


def hurried(track: Track, now: float) -> Track:
    """Fold: there is room on the disk again; what waits is tried at once, as after a first death."""
    return replace(track, deaths=0, retry=now) if track.state is State.BACKOFF else track


def forgiven(track: Track) -> Track:
    """Fold: config/ has changed; what was given up is tried again."""
    return asked_to_restart(track) if track.state in (State.PARKED, State.FATAL) else track

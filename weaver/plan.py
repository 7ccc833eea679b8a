"""plan(now, desired, observed) -> actions: the whole judgement of the Weaver, pure, tested as tables.

Place in the flow: the supervisor calls it after every event and does what it says. Invariant: the same three values always give
the same actions; nothing here reads a clock, a file or a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.status import State
from weaver.desired import Desired, Program
from weaver.observed import Observed, Track

SLACK_S = 0.5
LOOK_S = 1.0
STARTING_LOOK_S = 0.1
LOST_S = 300.0  # the longest promise of a daemon: what was promised on a full disk could not be read


@dataclass(frozen=True)
class Start:
    """Start a program."""

    name: str


@dataclass(frozen=True)
class Terminate:
    """Send SIGTERM; SIGKILL is due grace_s later. hung: ask for the stacks of its threads, and wake it if it was stopped."""

    name: str
    grace_s: float
    reason: str
    hung: bool = False


@dataclass(frozen=True)
class Kill:
    """Send SIGKILL to the process group."""

    name: str


@dataclass(frozen=True)
class Park:
    """Do not start it until somebody changes something."""

    name: str
    reason: str


@dataclass(frozen=True)
class Rest:
    """Note that it does not run, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class BuildBase:
    """Make the base checkpoint of the default model."""


Action = Start | Terminate | Kill | Park | Rest | BuildBase


def plan(now: float, desired: Desired, observed: Observed) -> list[Action]:
    """Say what to do now: in starting order, and when everything stops, in the reverse of it."""
    actions: list[Action] = []
    if observed.base == "missing" and any(program.needs_base and desired.wants(program) for program in desired.programs):
        actions.append(BuildBase())
    for program in desired.programs:
        if program.name in observed.unburied:
            continue
        track = observed.track(program.name)
        actions += _alive(now, program, track, desired, observed) if track.process else _dead(now, program, desired, observed)
    return actions


def _alive(now: float, program: Program, track: Track, desired: Desired, observed: Observed) -> Iterator[Action]:
    if track.signalled is not None:
        if not track.killed and now >= track.signalled + track.grace_s:
            yield Kill(program.name)
    elif desired.stopping:
        if not any(observed.track(other.name).process for other in desired.programs if other.stage > program.stage):
            yield Terminate(program.name, program.grace_s, "everything is to stop")
    elif track.restart_asked:
        yield Terminate(program.name, program.grace_s, "a restart was asked for")
    elif program.argv is not None and not desired.wants(program):
        yield Terminate(program.name, program.grace_s, "it is not wanted on this host")
    elif now > hung_at(program, track, observed):
        late = "no first heartbeat" if track.next_due is None else "no heartbeat when it was due"
        yield Terminate(program.name, program.hung_grace_s, f"hung: {late}", hung=True)


def hung_at(program: Program, track: Track, observed: Observed) -> float:
    """Give the moment from which a living process counts as hung."""
    due = track.watched + program.start_s if track.next_due is None else track.next_due
    if max(track.watched, track.beaten) <= observed.full_until:
        due = max(due, observed.full_until + LOST_S)
    return max(due, observed.blind_until) + SLACK_S


def _dead(now: float, program: Program, desired: Desired, observed: Observed) -> Iterator[Action]:
    track = observed.track(program.name)
    if not desired.wants(program):
        reason = "switched off" if program.name in desired.off else ""
        if track.state is not State.STOPPED or track.reason != reason:
            yield Rest(program.name, reason)
    elif track.state in (State.PARKED, State.FATAL) or (track.state is State.BACKOFF and now < track.retry):
        return
    elif program.needs_base and observed.base == "failed":
        yield Park(program.name, f"the base model could not be made: {observed.base_reason}")
    else:
        waits = _waits_for(program, track, desired, observed)
        if not waits:
            yield Start(program.name)
        elif track.reason != waits:
            yield Rest(program.name, waits)


def _waits_for(program: Program, track: Track, desired: Desired, observed: Observed) -> str:
    """Say what a program waits for before its start; empty when it may start. Only a first start waits for other programs."""
    if program.needs_base and observed.base != "ready":
        return "waits for the base model"
    if track.state is not State.BACKOFF:
        for other in desired.programs:
            untried = observed.track(other.name).state in (State.STOPPED, State.STARTING)
            if other.name in program.after and desired.wants(other) and untried:
                return f"waits for {other.name}"
    return ""


def next_look(now: float, desired: Desired, observed: Observed) -> float:
    """Give the seconds until the supervisor should look again even if nothing happens."""
    soonest = now + LOOK_S
    for program in desired.programs:
        track = observed.track(program.name)
        if program.name in observed.unburied:
            continue
        if track.state is State.STARTING:
            soonest = min(soonest, now + STARTING_LOOK_S)
        elif track.process and track.signalled is not None and not track.killed:
            soonest = min(soonest, track.signalled + track.grace_s)
        elif track.process:
            soonest = min(soonest, hung_at(program, track, observed) + 0.01)
        elif track.state is State.BACKOFF:
            soonest = min(soonest, track.retry)
    return max(0.0, soonest - now)

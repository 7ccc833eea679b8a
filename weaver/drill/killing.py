"""Signals that end the programs of one running factory, at moments that hurt, and the time until each has a replacement.

Place in the flow: `weaver drill`, tests/faults and benchmarks/kills.py kill by it. Reads heartbeats and /proc. Invariant: only
processes of the given home are signalled, by pid, start time and boot id. Nothing here waits: callers look again and again.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.names import is_identifier
from core.paths import Paths
from core.process import ProcessRef, send_signal, spawned, zombies_of
from core.status import State, is_fresh, read_heartbeat, read_supervisor_view
from weaver.adoption import age_s, living, weaver_process
from weaver.desired import PROGRAMS

WEAVER, TRAINER, ORACLE = "weaver", "trainer", "oracle"
HEAVY = (ORACLE, TRAINER)
DAEMONS = tuple(program.name for program in PROGRAMS if program.argv and program.argv[:2] == ("-m", "daemons"))
VICTIMS = (*DAEMONS, ORACLE, "web", TRAINER, WEAVER)
MOMENTS = ("saving", "building", "starting")
PHASES = {"saving": "save", "training": "train"}


@dataclass
class Kill:
    """One kill and what came after. Monotonic seconds.

    since: when it was killed, or when a Weaver was started again if none lived then. started: when its replacement was started;
    recovered: the replacement's first heartbeat that says RUNNING and is fresh.
    """

    program: str
    ref: ProcessRef
    moment: str
    since: float
    started: float | None = None
    recovered: float | None = None


class Killer:
    """Kills programs of a home and watches them come back."""

    def __init__(self, paths: Paths, rng: random.Random) -> None:
        self.paths, self.rng = paths, rng
        self.kills: list[Kill] = []

    def alive(self) -> dict[str, ProcessRef]:
        """Give the living victims by name."""
        found = {name: ref for name, ref in living(self.paths).items() if name in VICTIMS}
        weaver = weaver_process(self.paths)
        return {**found, WEAVER: weaver} if weaver is not None else found

    def kill(self, program: str, moment: str = "random", number: int = signal.SIGKILL) -> Kill | None:
        """Kill a program, or ask it to stop by another signal; None when it does not live."""
        ref = self.alive().get(program)
        if ref is None or not send_signal(ref, number):
            return None
        done = Kill(program, ref, moment, time.monotonic())
        self.kills.append(done)
        return done

    def power_cut(self) -> None:
        """Kill everything at once, the Weaver first, so that nothing is started again in between."""
        for program, ref in sorted(spawned(self.paths.home_id), key=lambda item: item[0] != WEAVER):
            if send_signal(ref, signal.SIGKILL) and program in VICTIMS:
                self.kills.append(Kill(program, ref, "power cut", time.monotonic()))

    def look(self) -> None:
        """Note who has come back."""
        for kill in self.waiting():
            beat = read_heartbeat(self.paths, kill.program)
            is_new = beat is not None and beat.process != kill.ref and beat.state == State.RUNNING
            if beat is not None and is_new and is_fresh(beat, time.monotonic()) and beat.beat_mono >= kill.since:
                kill.recovered = beat.beat_mono
                kill.started = max(kill.since, time.monotonic() - age_s(beat.process))

    def waiting(self) -> list[Kill]:
        """Give the kills whose program has not come back yet."""
        return [kill for kill in self.kills if kill.recovered is None]

    def weaver_is_started(self) -> None:
        """Note that somebody starts a Weaver: what was dead without one counts from now."""
        for kill in self.waiting():
            kill.since = time.monotonic()

    def is_moment(self, moment: str) -> bool:
        """Say whether it is now: the trainer saves or trains, a drop is being validated, the Weaver has started something."""
        if moment in PHASES:
            beat = read_heartbeat(self.paths, TRAINER)
            return beat is not None and beat.phase == PHASES[moment] and is_fresh(beat, time.monotonic())
        if moment == "building":
            return any(is_identifier(path.name) for path in self.paths.building.iterdir())
        if moment == "starting":
            view = read_supervisor_view(self.paths)
            return view is not None and any(program.state is State.STARTING for program in view.programs)
        return True

    def victim(self, moment: str) -> str:
        """Draw whom to kill at a moment."""
        victims = {"saving": (TRAINER,), "building": ("watch_inbox", "watch_inbox", *DAEMONS), "starting": (WEAVER,)}
        return self.rng.choice(victims.get(moment, VICTIMS))


def start_weaver(environ: Mapping[str, str], home: Path, out: IO[bytes]) -> subprocess.Popen[bytes]:
    """Type `weaver up` and do not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "weaver", "up"], env=dict(environ), cwd=home, stdin=subprocess.DEVNULL, stdout=out, stderr=out
    )


def zombies(paths: Paths) -> list[str]:
    """Name the dead children that a living program of this home has not reaped."""
    parents = {ref.pid: program for program, ref in spawned(paths.home_id)}
    return [f"{pid}, a child of {parents[parent]}" for pid, parent in zombies_of(parents)]


def doubles(paths: Paths) -> list[str]:
    """Name the programs of this home that live twice."""
    names = list(living(paths))
    weavers = [ref for program, ref in spawned(paths.home_id) if program == WEAVER]
    return [name for name in names if name.rpartition(".")[0] in VICTIMS] + ([f"{len(weavers)} Weavers"] if weavers[1:] else [])

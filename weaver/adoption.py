"""Which processes of this home are alive, whoever started them: by heartbeat, and by the mark in their environment.

Reads status/procs/ and /proc. Invariant: a process is named by pid, start time and boot id, and belongs to this user; a pid
that was given to another process is never taken for ours.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from core.paths import Paths
from core.process import ProcessRef, hold, is_alive, spawned, this_process
from core.status import Heartbeat, read_heartbeat

WEAVER = "weaver"


def living(paths: Paths) -> dict[str, ProcessRef]:
    """Give the living programs of this home by name, the Weaver and this process left out.

    By mark only the leaders of a session count: what they forked for themselves is their own affair. A second process of a
    program gets the name <program>.<pid>: nobody counts on it, so it is stopped. What has no readable heartbeat is found.
    """
    found: dict[str, ProcessRef] = {}
    me = this_process()
    beats = (readable_beat(paths, path.stem) for path in sorted(paths.procs.glob("[!.]*.json")))
    by_beat = [(beat.name, beat.process) for beat in beats if beat is not None]
    by_mark = [(program, ref) for program, ref in spawned(paths.home_id) if session_of(ref) == ref.pid]
    for program, ref in [*by_beat, *by_mark]:
        if program == WEAVER or ref == me or ref in found.values() or not is_alive(ref) or not _is_own(ref):
            continue
        found[program if program not in found else f"{program}.{ref.pid}"] = ref
    return found


def readable_beat(paths: Paths, program: str) -> Heartbeat | None:
    """Give the heartbeat of a program; None also when its file cannot be read."""
    try:
        return read_heartbeat(paths, program)
    except OSError:
        return None


def age_s(ref: ProcessRef) -> float:
    """Give how long ago a process was started, in seconds."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ref.start_ticks / os.sysconf("SC_CLK_TCK"))


def session_of(ref: ProcessRef) -> int | None:
    """Give the session of a process; None when the process is gone."""
    try:
        return os.getsid(ref.pid)
    except ProcessLookupError:
        return None


def _is_own(ref: ProcessRef) -> bool:
    try:
        return Path(f"/proc/{ref.pid}").stat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


def weaver_process(paths: Paths) -> ProcessRef | None:
    """Give the living Weaver of this home that is not this process: by its heartbeat, else by its mark; None: there is none."""
    beat, me = read_heartbeat(paths, WEAVER), this_process()
    if beat is not None and is_alive(beat.process) and beat.process != me:
        return beat.process
    return next((ref for program, ref in spawned(paths.home_id) if program == WEAVER and ref != me), None)


def lock_home(paths: Paths) -> int:
    """Become the only Weaver of this home, for as long as the descriptor given is open. Raises LockHeld naming the holder."""
    return hold(paths.home, f"the home {paths.home}", "a Weaver, ")

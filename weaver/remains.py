"""What programs leave when they are gone: processes, which are ended here, an exit code, and last words.

Place in the flow: the supervisor calls it when a program has died, and when everything has stopped. Reads /proc, heartbeats and
logs/<name>.out. Invariant: only what carries the mark of this home is signalled, by pid, start time and boot id.
"""

from __future__ import annotations

import logging
import signal

from core.paths import Paths
from core.process import ProcessRef, send_signal, spawned, this_process
from weaver.adoption import WEAVER, readable_beat, session_of
from weaver.outputs import last_words
from weaver.processes import Death


def end_left_by(paths: Paths, death: Death, log: logging.Logger) -> None:
    """Kill what a dead program left in its session; what it put into a session of its own is not its. Raises OSError."""
    if death.ref is None:
        return
    for name, ref in spawned(paths.home_id):
        if name == death.name and ref.pid != death.ref.pid and session_of(ref) == death.ref.pid:
            _end(name, ref, log)


def end_all_left(paths: Paths, log: logging.Logger) -> bool:
    """Kill what carries our mark, also without leading a session: orphans of killed programs. False: there was something."""
    me = this_process()
    left = [(program, ref) for program, ref in spawned(paths.home_id) if program != WEAVER and ref != me]
    for program, ref in left:
        _end(program, ref, log)
    return not left


def _end(program: str, ref: ProcessRef, log: logging.Logger) -> None:
    log.warning("SIGKILL to pid %d, left over from %s", ref.pid, program)
    send_signal(ref, signal.SIGKILL)


def code_and_words(paths: Paths, death: Death, age_s: float) -> tuple[int | None, str]:
    """Give the exit code of a program that lived for age_s seconds, and why it ended as far as it said so itself."""
    beat = readable_beat(paths, death.name)
    if beat is not None and beat.process != death.ref:
        beat = None
    code = beat.exit_code if beat is not None and death.code is None else death.code
    return code, (beat and beat.last_error) or (last_words(paths, death.name, age_s) if code else "")

"""The child of benchmarks/supervision.py, the same under both supervisors: HOME NAME.

Its first act is to look at the clock; then it imports what every program of the factory does, beats, writes a line with its
pid, its begin and its first beat (monotonic seconds) to HOME/NAME.starts, and beats every 2 s until a signal ends it.
"""
# ruff: noqa: E402 - the clock is read before anything is imported

import time

BEGAN = time.monotonic()

import logging
import os
import sys
from pathlib import Path

from core.clock import SystemClock
from core.paths import Paths
from core.pulse import BEAT_S, Pulse
from core.status import State

if __name__ == "__main__":
    home, name = Path(sys.argv[1]), sys.argv[2]
    pulse = Pulse(Paths(home), SystemClock(), name, logging.getLogger(name))
    pulse.beat(State.RUNNING, "wait", "")
    with (home / f"{name}.starts").open("a") as file:
        file.write(f"{os.getpid()} {BEGAN!r} {time.monotonic()!r}\n")
    while True:
        time.sleep(BEAT_S)
        pulse.beat(State.RUNNING, "wait", "")

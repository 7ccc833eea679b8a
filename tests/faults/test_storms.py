"""Storms of SIGTERM and crash loops under a real Weaver with real light daemons: nothing is given up that should not be.

`weaver drill` does the same to a whole factory while it trains (weaver/drill/storms.py). Moments are drawn from SEED.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest

from core.errors import Degraded
from core.paths import Paths
from core.process import ProcessRef, is_alive, spawned
from core.status import ProgramView, State, read_heartbeat, read_supervisor_view
from tests.fakes import delete_status, switch_on, wait_for
from weaver.adoption import living, weaver_process
from weaver.backoff import CRASH_LOOP
from weaver.drill.killing import doubles, zombies
from weaver.lifecycle import down, restart, up
from weaver.memory import Memory
from weaver.observed import Track
from weaver.wishes import Wishes

SEED = 20261121
LIGHT = ("reclaim_stale", "rank_checkpoints", "prune_checkpoints")
CRASHING, STEADY = "reclaim_stale", "rank_checkpoints"
BEATS, BYTES_A_BEAT = 3, 2000


@pytest.fixture
def rng() -> random.Random:
    print(f"seed {SEED}")
    return random.Random(SEED)


def remember(paths: Paths, name: str, short_lives: int) -> None:
    """Let the next Weaver remember so many crashes of a program: from its first life on a crash loop takes a minute."""
    past = Track(name, State.STOPPED, short_lives=short_lives, starts=1, last_exit=1)
    Memory(paths, logging.getLogger("test")).keep({name: past}, Wishes(paths, os.environ).mark, 0.0)


def seen(paths: Paths, name: str) -> ProgramView | None:
    view = read_supervisor_view(paths)
    return next((program for program in view.programs if program.name == name), None) if view else None


def is_in(paths: Paths, name: str, state: State) -> Callable[[], ProgramView | None]:
    """Give a look for a program in a state."""

    def look() -> ProgramView | None:
        program = seen(paths, name)
        return program if program is not None and program.state is state else None

    return look


def kill_weaver(paths: Paths) -> None:
    weaver = weaver_process(paths)
    assert weaver is not None
    os.kill(weaver.pid, signal.SIGKILL)
    wait_for("the end of the Weaver", lambda: not is_alive(weaver))


def has_ended(ref: ProcessRef) -> bool:
    return not is_alive(ref)


def written(paths: Paths) -> int:
    """Give the bytes that tell what happens to a program and the Weaver."""
    logs = [paths.logs / "weaver.jsonl", paths.logs / "weaver.out", paths.logs / f"{CRASHING}.out"]
    return sum(path.stat().st_size for path in [*logs, *(paths.logs / "events").iterdir()] if path.exists())


def beats(paths: Paths) -> int:
    beat = read_heartbeat(paths, "weaver")
    return beat.seq if beat is not None else 0


def test_daemon_that_dies_at_each_start_is_given_up_quietly_and_comes_back_when_asked(running_home: Paths) -> None:
    """About 10 s: three crashes, three beats of the Weaver, and a second Weaver."""
    switch_on(running_home, *LIGHT)
    remember(running_home, CRASHING, CRASH_LOOP - 3)
    (running_home.logs / f"{CRASHING}.jsonl").mkdir(parents=True)  # it cannot open its log
    with pytest.raises(Degraded, match=rf"{CRASHING} is FATAL \(crash loop: {CRASH_LOOP} short lives .*IsADirectoryError"):
        up(running_home.home, wait_s=60.0)
    given_up = wait_for("FATAL", is_in(running_home, CRASHING, State.FATAL))
    others = {name: ref for name, ref in living(running_home).items() if name != CRASHING}
    assert set(others) == set(LIGHT) - {CRASHING} and all(is_in(running_home, name, State.RUNNING)() for name in others)

    size, seq = written(running_home), beats(running_home)
    wait_for("three beats of the Weaver", lambda: beats(running_home) >= seq + BEATS)
    assert written(running_home) - size < BEATS * BYTES_A_BEAT, "what was given up is told once"

    kill_weaver(running_home)
    delete_status(running_home)
    with pytest.raises(Degraded, match=f"{CRASHING} is FATAL"):
        up(running_home.home, wait_s=60.0)
    assert seen(running_home, CRASHING) == given_up and living(running_home) == others, "nothing was started again"

    told = subprocess.run([sys.executable, "-m", "weaver", "status"], capture_output=True, text=True)
    assert told.returncode == Degraded.exit_code and "crash loop" in told.stdout, told.stdout
    (running_home.logs / f"{CRASHING}.jsonl").rmdir()
    restart(running_home.home, CRASHING)
    assert is_in(running_home, CRASHING, State.RUNNING)()
    assert {name: ref for name, ref in living(running_home).items() if name != CRASHING} == others


def test_daemon_that_others_ask_to_stop_is_never_given_up_for_it(running_home: Paths) -> None:
    """A storm meets it running, and then as soon as it lives; about 5 s of back-off."""
    switch_on(running_home, CRASHING, STEADY)
    remember(running_home, CRASHING, CRASH_LOOP - 1)
    up(running_home.home, wait_s=60.0)
    steady = living(running_home)[STEADY]
    for _ in range(4):
        old = wait_for("a process", lambda: living(running_home).get(CRASHING))
        os.kill(old.pid, signal.SIGTERM)
        wait_for("its end", partial(has_ended, old))
        program = seen(running_home, CRASHING)
        assert program is not None and program.state is not State.FATAL, program
    wait_for("running again", is_in(running_home, CRASHING, State.RUNNING))
    assert living(running_home)[STEADY] == steady and doubles(running_home) == zombies(running_home) == []
    restart(running_home.home, CRASHING)


def test_storm_of_sigterm_on_a_weaver_at_any_moment_of_its_life_leaves_nothing(running_home: Paths, rng: random.Random) -> None:
    """About 8 s: four Weavers meet it as soon as they live, four when they have begun to start programs."""
    switch_on(running_home, *LIGHT)
    for life in range(8):
        weaver = subprocess.Popen(
            [sys.executable, "-m", "weaver", "supervise"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if life >= 4:
            wait_for("the first program", lambda: living(running_home))
        first, deadline = time.monotonic() + rng.uniform(0.0, 0.4), time.monotonic() + 60.0
        while weaver.poll() is None:
            assert time.monotonic() < deadline, "it does not stop"
            if time.monotonic() >= first:
                weaver.send_signal(signal.SIGTERM)
            time.sleep(rng.uniform(0.0, 0.05))
        assert weaver.returncode in (0, -signal.SIGTERM), "by the signal, before it hears any and when it has done all"
        assert list(spawned(running_home.home_id)) == [], f"life {life} ended with {weaver.returncode}"
        beat = read_heartbeat(running_home, "weaver")
        assert life < 4 or (beat is not None and (beat.pid, beat.exit_code) == (weaver.pid, 0)), "it stopped in order"
    up(running_home.home, wait_s=60.0)
    assert set(living(running_home)) == set(LIGHT)
    assert down(running_home.home) == 0 and not list(spawned(running_home.home_id))

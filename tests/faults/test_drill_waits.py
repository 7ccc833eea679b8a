"""Every wait of every fault of a drill that runs out is a violation: no factory that never became well passes for well.

Each fault is made in a home in which nothing runs and everything is so at once, and again with one of its waits running out.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.files import replace_durable
from core.process import ProcessRef, start_ticks, this_process
from core.records import encode_pretty
from tests.fakes import make_home
from tests.faults.stage import Stage
from weaver.drill.faults import FAULTS, Fault
from weaver.drill.killing import VICTIMS, Kill, Killer
from weaver.drill.records import Trials
from weaver.drill.run import at_rest
from weaver.drill.site import Site
from weaver.drill.storms import twins
from weaver.memory import SupervisionRecord

SEED = 20261121


class Tame(Killer):
    """Kills nobody; every victim lives as the same process and comes back at once."""

    ref: ProcessRef

    def alive(self) -> dict[str, ProcessRef]:
        return dict.fromkeys(VICTIMS, self.ref)

    def kill(self, program: str, moment: str = "random", number: int = 9) -> Kill | None:
        return Kill(program, self.ref, moment, 0.0, 0.0, 1.0)

    def power_cut(self) -> None:
        self.kills += [Kill(program, self.ref, "power cut", 0.0, 0.0, 1.0) for program in VICTIMS]


class Waits(Site):
    """A site in which every wait ends at once, and the one of a number (from 0) runs out."""

    runs_out = -1
    waits = 0

    def until(self, is_so: Callable[[], object], seconds: float) -> float | None:
        is_it, self.waits = self.waits == self.runs_out, self.waits + 1
        return None if is_it else 0.0

    def pass_s(self, seconds: float) -> None:
        return

    def weaver(self, *words: str) -> int:
        return 0


@pytest.fixture
def process() -> Iterator[ProcessRef]:
    """Give a process that may be frozen."""
    child = subprocess.Popen(["sleep", "600"])
    try:
        ticks = start_ticks(child.pid)
        assert ticks is not None
        yield ProcessRef(pid=child.pid, start_ticks=ticks, boot_id=this_process().boot_id)
    finally:
        child.kill()
        child.wait()


def site_of(home: Path, process: ProcessRef, runs_out: int) -> Waits:
    """Make a home with a checkpoint and what a Weaver would remember."""
    paths = make_home(home)
    Stage(paths.home).history()
    record = SupervisionRecord(boot_id=process.boot_id, config_mark="", programs=())
    replace_durable(paths.supervision, encode_pretty(record))
    site = Waits(paths.home, random.Random(SEED), {})
    site.runs_out = runs_out
    site.killer = Tame(paths, site.rng)
    site.killer.ref = process
    return site


REST: Fault = lambda site, count: at_rest(site)[0]  # noqa: E731 - the last of the faults, so to say
MADE = {**{make.__name__: make for make in FAULTS if make is not twins}, "at_rest": REST}
"""twins makes a home of its own in which two Weavers really run."""


@pytest.mark.parametrize("name", MADE)
def test_wait_that_runs_out_is_a_violation(tmp_path: Path, process: ProcessRef, name: str) -> None:
    def made(number: int, runs_out: int) -> tuple[Trials, int]:
        site = site_of(tmp_path / str(number), process, runs_out)
        trials = MADE[name](site, 1)
        return trials, site.waits

    calm, count = made(0, -1)
    assert count > 0, "no wait was seen"
    for at in range(count):
        found, _ = made(at + 1, at)
        told = [text for text in found.violations if text not in calm.violations]
        assert told, f"wait {at} of {count} ran out, and nothing was said of it"
        assert all(text.startswith(f"{found.fault}: ") for text in found.violations), found.violations

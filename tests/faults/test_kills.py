"""kill -9 for every program of a working factory; nothing that was dropped is lost, doubled or trained twice.

The short form of benchmarks/kills.py: one factory for the module, each test goes on where the one before left it. Generation is
off, so that the factory comes to rest; the files dropped here are what is trained.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest

from core.checkpoints.ledger import Ledger
from core.jobs.spool import Spool
from core.process import spawned
from tests.fakes import make_home, wait_for
from weaver.drill import checks
from weaver.drill.killing import DAEMONS, ORACLE, TRAINER, VICTIMS, WEAVER, doubles, start_weaver, zombies
from weaver.drill.site import Site

pytestmark = pytest.mark.timeout(600)
SEED = 20261120


class Killed(Site):
    """A drill's factory, of which each step must succeed."""

    def type(self, *words: str) -> None:
        """Run a verb of the command line to its end."""
        code = self.weaver(*words)
        assert code == 0, f"{words}: exit {code}\n{(self.paths.logs / 'drill.out').read_text()[-2000:]}"

    def wait_for(self, what: str, is_so: Callable[[], object], seconds: float = 90.0) -> None:
        """Look again and again, while slow copies grow and the killed come back."""
        assert self.until(is_so, seconds) is not None, f"{what}: not within {seconds} s"

    def newest(self) -> str:
        """Give the newest checkpoint."""
        return Ledger(self.paths).names("tiny")[-1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    print(f"seed {SEED}")
    made = Killed(make_home(tmp_path_factory.mktemp("kills") / "home").home, random.Random(SEED))
    made.start()
    yield made
    made.type("down")


def test_every_program_killed_at_a_random_moment_comes_back(site: Killed) -> None:
    """About 20 s: ten programs are killed while files arrive, the oracle imports torch again."""
    site.dropper.by_rename(200, epochs=2)
    site.dropper.by_slow_copy(200)
    programs = [*DAEMONS, ORACLE, "web"]
    site.rng.shuffle(programs)
    for program in programs:
        due = time.monotonic() + site.rng.uniform(0.0, 1.0)
        site.wait_for("a random moment", lambda at=due: time.monotonic() > at)  # type: ignore[misc]
        site.wait_for(f"{program} to live", lambda name=program: site.killer.kill(name))  # type: ignore[misc]
    site.wait_for("health", site.is_healthy)
    assert doubles(site.paths) == []


def test_trainer_killed_in_the_middle_of_a_save_goes_on_from_the_last_whole_checkpoint(site: Killed) -> None:
    """About 30 s: the trainer imports its stack twice."""
    for _ in range(2):
        site.dropper.by_rename(200, epochs=4)
        site.wait_for("a save", lambda: site.killer.is_moment("saving"))
        due = time.monotonic() + site.rng.uniform(0.0, 0.3)
        site.wait_for("a random moment of it", lambda at=due: time.monotonic() > at)  # type: ignore[misc]
        before = site.newest()
        assert site.killer.kill(TRAINER, "saving") is not None
        site.wait_for("the next trainer", lambda: not site.killer.waiting())
        site.wait_for("another checkpoint", lambda was=before: site.newest() != was)  # type: ignore[misc]


def test_daemon_killed_with_the_weaver_comes_back_and_the_others_are_adopted(site: Killed) -> None:
    site.dropper.by_slow_copy(100)
    before = site.killer.alive()
    assert site.killer.kill(WEAVER) and site.killer.kill("watch_inbox", "no Weaver")
    wait_for("both to be gone", lambda: not {WEAVER, "watch_inbox"} & site.killer.alive().keys())
    site.start()
    site.wait_for("health", site.is_healthy)
    after = site.killer.alive()
    new = {program for program in VICTIMS if program != TRAINER and before[program] != after[program]}
    assert new == {WEAVER, "watch_inbox"}
    assert doubles(site.paths) == [] and zombies(site.paths) == []


def test_weaver_killed_while_it_starts_leaves_nothing_double(site: Killed) -> None:
    """About 10 s: everything is stopped and started."""
    site.type("down")
    with (site.paths.logs / "up.out").open("ab") as out:
        typed = start_weaver(site.environ, site.paths.home, out)
        site.wait_for("a start", lambda: len(site.killer.alive()) > site.rng.randint(1, 5))
        assert site.killer.kill(WEAVER, "starting") is not None
        assert typed.wait(60.0) != 0
    site.start()
    site.wait_for("health", site.is_healthy)
    assert doubles(site.paths) == []


def test_down_without_a_weaver_leaves_nothing_and_every_line_accounted_for(site: Killed) -> None:
    site.dropper.by_rename(200, epochs=2)
    site.wait_for("training", lambda: TRAINER in site.killer.alive() and Spool(site.paths).list("processing"))
    assert site.killer.kill(WEAVER) is not None
    site.type("down")
    assert list(spawned(site.paths.home_id)) == []
    assert checks.violations(site.paths, site.dropper.drops) == []


def test_everything_killed_at_once_goes_on_where_it_stopped(site: Killed) -> None:
    """About 40 s: everything starts twice, and what was dropped is trained to its end."""
    site.start()
    site.dropper.by_rename(200, epochs=3)
    site.wait_for("training", lambda: TRAINER in site.killer.alive() and Spool(site.paths).list("processing"))
    site.dropper.by_rename(50)
    site.killer.power_cut()
    wait_for("the end of everything", lambda: not list(spawned(site.paths.home_id)))
    site.start()
    site.wait_for("everything to be trained", site.is_drained, 240.0)
    site.wait_for("health", site.is_healthy)
    site.type("down")
    assert checks.violations(site.paths, site.dropper.drops) == []
    assert {state: len(Spool(site.paths).list(state)) for state in ("failed", "rejected")} == {"failed": 0, "rejected": 0}

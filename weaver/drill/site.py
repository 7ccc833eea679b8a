"""The home of a drill: a factory of its own in a temporary folder, that is really started and in the end removed.

Place in the flow: weaver/drill/run.py makes one, weaver/drill/faults.py breaks it. Files written: a new folder and what is in
it, nothing else. Invariants: it is no other home and lies in none; its ports are free ones; nothing of it outlives remove().
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from core.accounting.audit import audit
from core.errors import Conflict, NoHome, NotFound, StartFailed
from core.jobs.spool import Spool
from core.liveness import Liveness
from core.paths import Paths, find_home
from core.status import read_supervisor_view
from weaver.drill.drops import Dropper
from weaver.drill.ending import kill_left
from weaver.drill.killing import TRAINER, Killer
from weaver.drill.records import Trials

SETTINGS = {"WEAVER__GENERATION__ENABLED": "false", "WEAVER__CHECKPOINTS__EVERY_S": "2", "OMP_NUM_THREADS": "1"}
"""Generation is off, so that the factory comes to rest; checkpoints come often, so that there is much to break."""
PORTS = {"WEAVER_WEB_PORT": "0", "WEAVER_ORACLE_PORT": "0"}
TEMPORARY, CLOCK = ".tmp", ".clock"
SKEWED = Path(__file__).with_name("skewed")
SHIPPED = Path(__file__).parents[2]
LOOK_S = 0.02
HEALTHY_S = 90.0
NOT_LIVE = ("I4", "I5")
"""Views that are being written again are no fault while a factory works."""
ASKED = ("I8",)
"""The files only say what is to be served; what is served is asked at rest."""


def new_home() -> Path:
    """Make a folder for a drill. Raises Conflict when temporary files lie in a home, NotFound without configuration."""
    where = Path(tempfile.gettempdir())
    try:
        home, _ = find_home({}, where)
    except NoHome:
        home = None
    if home is not None:
        raise Conflict(detail=f"{where} lies in the home {home}, which a drill must not touch: set TMPDIR to a folder outside.")
    if not (SHIPPED / "config" / "hosts.json").is_file():
        raise NotFound(kind="shipped configuration", name=str(SHIPPED / "config"), known="a checkout has one")
    made = Path(tempfile.mkdtemp(prefix="weaver-drill-", dir=where)).resolve()
    with ExitStack() as unmade:
        unmade.callback(shutil.rmtree, made)  # asked to end now: a folder that nobody was given would be removed by nobody
        shutil.copytree(SHIPPED / "config", made / "config", ignore=shutil.ignore_patterns("local"))
        unmade.pop_all()
    return made


def environment(home: Path, outside: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of a drill's programs: nothing of a Weaver outside, free ports, temporary files of its own.

    They read the wall clock through weaver/drill/skewed, so that it can be set.
    """
    clean = {name: value for name, value in outside.items() if not name.startswith("WEAVER")}
    own = {
        "WEAVER_HOME": str(home), "TMPDIR": str(home / TEMPORARY), "DRILL_CLOCK": str(home / CLOCK),
        "PYTHONPATH": os.pathsep.join([str(SKEWED), *filter(None, [outside.get("PYTHONPATH")])]),
    }  # fmt: skip
    return {**clean, **PORTS, **SETTINGS, **own}


class Site:
    """A factory to be broken: who was killed in it, and what was dropped into it."""

    def __init__(self, home: Path, rng: random.Random, outside: Mapping[str, str] = os.environ) -> None:
        self.paths, self.rng = Paths(home), rng
        self.environ = environment(home, outside)
        self.paths.make()
        (home / TEMPORARY).mkdir()
        self.killer, self.dropper = Killer(self.paths, rng), Dropper(self.paths, rng)

    def weaver(self, *words: str) -> int:
        """Run a verb to its end; give its exit code. What it says goes to logs/drill.out."""
        argv, home = [sys.executable, "-m", "weaver", *words], self.paths.home
        with (self.paths.logs / "drill.out").open("ab") as out:
            # In a session of its own: what a terminal sends to all in front of it must not end `weaver down` halfway.
            return subprocess.run(
                argv, env=self.environ, cwd=home, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            ).returncode

    def start(self) -> None:
        """Start a Weaver and wait until everything runs. Raises StartFailed."""
        self.killer.weaver_is_started()
        code = self.weaver("up")
        if code:
            said = (self.paths.logs / "drill.out").read_text(encoding="utf-8", errors="replace")[-2000:]
            raise StartFailed(program="the drill's Weaver", code=code, detail=said)

    def until(self, is_so: Callable[[], object], seconds: float) -> float | None:
        """Look again and again, while slow copies grow and the killed come back; give the seconds it took, None if too many."""
        began = time.monotonic()
        while True:
            self.killer.look()
            self.dropper.write_on()
            if is_so():
                return time.monotonic() - began
            if time.monotonic() > began + seconds:
                return None
            time.sleep(LOOK_S)

    def within(self, trials: Trials, seconds: float, is_so: Callable[[], object], otherwise: str) -> float | None:
        """Look as until() does; when it does not become so in time, that is a violation, which says `otherwise`."""
        took = self.until(is_so, seconds)
        if took is None:
            trials.violations.append(f"{trials.fault}: {otherwise} within {seconds:.0f} s")
        return took

    def pass_s(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, seconds + 1.0)

    def is_healthy(self) -> bool:
        """Say whether everything that was killed is back and everything runs."""
        late = [kill for kill in self.killer.waiting() if kill.program != TRAINER]
        return not late and Liveness(self.paths, time.monotonic()).factory_state() == "healthy"

    def told(self, program: str) -> str:
        """Give what the Weaver says of a program."""
        view = read_supervisor_view(self.paths)
        found = [one for one in view.programs if one.name == program] if view is not None else []
        return f"{found[0].state}, restarts {found[0].restarts}, {found[0].reason!r}" if found else "nothing is said of it"

    def is_drained(self) -> bool:
        """Say whether every file that was dropped has been trained."""
        spool = Spool(self.paths)
        left = sum(count for state, count in spool.counts().items() if state not in ("completed", "failed", "rejected"))
        return not self.dropper.is_copying and left == 0 and spool.undecided() == 0

    def ended(self, trials: Trials) -> Trials:
        """Wait until all is well after the trials of a fault, and judge which invariants hold, in whatever is going on."""
        if self.until(self.is_healthy, HEALTHY_S) is None:
            late = [kill.program for kill in self.killer.waiting()]
            trials.violations.append(f"{trials.fault}: not healthy after {HEALTHY_S:.0f} s; not back: {late}")
        found = [one for one in audit(self.paths).invariants if one.id not in NOT_LIVE]
        trials.violations += [f"{trials.fault}: {one.id}: {text}" for one in found for text in one.violations]
        trials.judged |= {one.id for one in found if one.id not in ASKED}
        return trials

    def remove(self) -> None:
        """Stop everything and remove the folder; what `weaver down` did not find or could not end is killed."""
        self.weaver("down")
        kill_left(self.paths.home_id)
        shutil.rmtree(self.paths.home)

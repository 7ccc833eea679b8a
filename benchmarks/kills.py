"""kill -9 for random programs of a working factory at random moments, for minutes; then judge what is left.

Daemons, oracle, web, trainer and Weaver are victims, one every 3-8 s; a part of the kills waits for a moment that hurts: the
trainer saves, a drop is being validated, the Weaver is in the middle of a start. A killed Weaver is started again by
`weaver up` after a pause, in half of the cases with a daemon killed in between. Meanwhile files with known lines are dropped.
In the end all of them must be trained, everything is stopped, and every rule of weaver/drill/checks.py must hold.

A recovery counts from the kill (or from `weaver up`, where no Weaver lived) to the first fresh RUNNING heartbeat of the
replacement; the part of it before the replacement was started is back-off, which grows with every death in a row.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from factory import ROOT, Factory, factory, publish

sys.path.insert(0, str(ROOT))  # tests/ is no installed package

from core.paths import Paths
from core.status import read_supervisor_view
from weaver.drill import checks
from weaver.drill.drops import Drop, Dropper
from weaver.drill.killing import DAEMONS, MOMENTS, TRAINER, VICTIMS, WEAVER, Kill, Killer, doubles, start_weaver, zombies

LOOK_S = 0.01
GAP_S = (3.0, 8.0)
MOMENT_SHARE = 0.4
LONGEST_WAIT_S = 15.0
DROP_EVERY_S = (15.0, 35.0)


class Chaos:
    """The kills and the drops of one run."""

    def __init__(self, made: Factory, seed: int, out: IO[bytes]) -> None:
        self.made, self.paths, self.rng, self._out = made, Paths(made.home), random.Random(seed), out
        self.killer, self.dropper = Killer(self.paths, self.rng), Dropper(self.paths, self.rng)
        self.weaver_starts: list[subprocess.Popen[bytes]] = []
        self._up_at: float | None = None
        self._next_drop = self._next_kill = self._give_up = 0.0
        self._moment = "random"
        self._victim, self._is_provoked = "", False

    def start_weaver(self) -> None:
        """Type `weaver up` and go on at once."""
        self.killer.weaver_is_started()
        self.weaver_starts.append(start_weaver(self.made.environ, self.made.home, self._out))
        self._up_at = None

    def run(self, seconds: float) -> None:
        """Kill and drop for so many seconds."""
        began = time.monotonic()
        self._next_kill, self._next_drop = began + 5.0, began
        self._draw()
        while time.monotonic() < began + seconds:
            self.step()
            self._drop_if_due()
            self._kill_if_due()
        if self._up_at is not None:
            self.start_weaver()

    def step(self) -> None:
        """Look at everything once and sleep a moment."""
        self.killer.look()
        self.dropper.write_on()
        if self._up_at is not None and time.monotonic() >= self._up_at:
            self.start_weaver()
        for child in self.weaver_starts:
            child.poll()
        time.sleep(LOOK_S)

    def _drop_if_due(self) -> None:
        if time.monotonic() < self._next_drop:
            return
        self._next_drop = time.monotonic() + self.rng.uniform(*DROP_EVERY_S)
        if len(self.dropper.drops) == 2:
            self.dropper.by_columns(ROOT / "tests" / "data" / "gsm8k-300.jsonl")
        elif self.rng.random() < 0.5:
            self.dropper.by_rename(self.rng.randint(50, 800), self.rng.choice([1, 1, 3]))
        else:
            self.dropper.by_slow_copy(self.rng.randint(50, 800))

    def _draw(self) -> None:
        """Draw the next victim and what to wait for."""
        self._moment = self.rng.choice(MOMENTS) if self.rng.random() < MOMENT_SHARE else "random"
        self._victim = self.killer.victim(self._moment)
        self._next_kill += 0.0 if self._moment == "random" else -2.0
        self._give_up, self._is_provoked = self._next_kill + LONGEST_WAIT_S, False

    def _kill_if_due(self) -> None:
        now = time.monotonic()
        if now < self._next_kill:
            return
        self._provoke(now)
        if not self.killer.is_moment(self._moment) and now < self._give_up:
            return
        if self._moment in ("saving", "building"):
            time.sleep(self.rng.uniform(0.0, 0.4))
        if self._kill(self._victim, self._moment if now < self._give_up else "random") and self._victim == WEAVER:
            self._without_weaver()
        self._next_kill = time.monotonic() + self.rng.uniform(*GAP_S)
        self._draw()

    def _provoke(self, now: float) -> None:
        """Bring about the moment that is waited for, if it does not come by itself."""
        if self._is_provoked or now < self._next_kill + 1.0 or self.killer.is_moment(self._moment):
            return
        self._is_provoked = True
        if self._moment == "building":
            self.dropper.by_rename(800)
        elif self._moment == "starting":
            self._kill(self.rng.choice(DAEMONS), "random")

    def _kill(self, program: str, moment: str) -> bool:
        done = self.killer.kill(program, moment)
        print(f"{time.monotonic():9.1f} {moment}: {'killed' if done else 'dead already:'} {program}", flush=True)
        return done is not None

    def _without_weaver(self) -> None:
        pause = self.rng.uniform(0.5, 6.0)
        self._up_at = time.monotonic() + pause
        if self.rng.random() < 0.5:
            time.sleep(self.rng.uniform(0.0, pause / 2))
            self._kill(self.rng.choice([name for name in VICTIMS if name != WEAVER]), "no Weaver")

    def settle(self, seconds: float) -> list[str]:
        """Wait until everything runs again and all drops are trained; say what did not happen in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for _ in range(50):
                self.step()
            if self.dropper.is_copying or self.late():
                continue
            if self.made.status()["state"] == "healthy" and not self.unfinished():
                return []
        state = self.made.status()["state"]
        return [f"not settled after {seconds:.0f} s: {state}, waiting for {self.late()}, {self.unfinished()}"]

    def late(self) -> list[str]:
        """Name the programs that should have come back; the trainer comes back when there is work."""
        return [kill.program for kill in self.killer.waiting() if kill.program != TRAINER]

    def unfinished(self) -> list[str]:
        """Name the drops that are not completed."""
        done = {path.name for path in self.made.jobs("completed")}
        return [drop.name for drop in self.dropper.drops if not any(name.endswith(f"-{drop.stem}") for name in done)]


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that this share of the values does not exceed."""
    return sorted(values)[max(0, -(-len(values) * round(share * 100) // 100) - 1)]


def show(chaos: Chaos) -> None:
    """Print the table."""
    view = read_supervisor_view(chaos.paths)
    restarts = {program.name: program.restarts for program in view.programs} if view else {}
    print(f"{'program':<18} kills restarts   p50 s   p95 s   max s   of it p95 s: back-off   start")
    for name in VICTIMS:
        kills = [kill for kill in chaos.killer.kills if kill.program == name]
        total, waits = recoveries(kills), [kill.started - kill.since for kill in kills if kill.started is not None]
        if not total:
            print(f"{name:<18} {len(kills):>5}")
            continue
        starts = [whole - wait for whole, wait in zip(total, waits, strict=True)]
        columns = [statistics.median(total), percentile(total, 0.95), max(total)]
        shown = "".join(f"{value:>8.2f}" for value in columns)
        parts = f"{percentile(waits, 0.95):>23.2f} {percentile(starts, 0.95):>7.2f}"
        print(f"{name:<18} {len(kills):>5} {restarts.get(name, 0):>8}{shown}{parts}")


def recoveries(kills: Sequence[Kill]) -> list[float]:
    """Give the seconds from each kill to its recovery."""
    return [kill.recovered - kill.since for kill in kills if kill.recovered is not None]


def judge(chaos: Chaos, drops: Sequence[Drop]) -> list[str]:
    """Settle, ask the champion, stop everything, and give every violation."""
    found = chaos.settle(1800.0)
    show(chaos)
    found += zombies(chaos.paths) + doubles(chaos.paths)
    found += checks.champion_violations(chaos.paths, chaos.made.environ)
    chaos.made.weaver("down")
    return found + checks.violations(chaos.paths, drops)


def main() -> None:
    """Run and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", type=Path, default=None, help="copy the home here in the end, for a look at it")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    with factory(WEAVER__CHECKPOINTS__EVERY_S="8") as made, (made.home / "up.out").open("wb") as out:
        made.weaver("up")
        chaos = Chaos(made, seed, out)
        chaos.run(60.0 * args.minutes)
        found = judge(chaos, chaos.dropper.drops)
        left = checks.left_over(chaos.paths)
        account = json.loads(made.weaver("audit", "--json", check=False))
        failed = len(made.jobs("failed"))
        if args.keep is not None:
            shutil.copytree(made.home, args.keep, symlinks=True)
    kills = [kill for kill in chaos.killer.kills if kill.program in DAEMONS and kill.recovered is not None]
    light, starts = recoveries(kills), [(kill.recovered or 0.0) - (kill.started or 0.0) for kill in kills]
    print(f"{len(left)} temporary files of killed writers are left: {left[:10]}")
    print(f"lines: {account['lines']}")
    print("\n".join(["violations:", *found]) if found else "no violations")
    figures = {
        "kills": len(chaos.killer.kills), "minutes": args.minutes, "unaccounted_lines": account["lines"]["unaccounted"],
        "failed_jobs": failed, "violations": len(found), "light_recovery_p50_s": statistics.median(light),
        "light_recovery_p95_s": percentile(light, 0.95), "light_start_p95_s": percentile(starts, 0.95),
    }  # fmt: skip
    publish("kills", figures, seed=seed, violations=found)
    if found:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Our supervisor against supervisord 4.3 with its default settings (extra `bench`): replacing a killed child, and rest.

The same child program runs under both, one supervisor after the other, on the same machine: it notes when its process began and
when it has written its first heartbeat, and beats every 2 s as all programs of the factory do. Each child is killed once with
SIGKILL, at a random moment; then each once more, where our back-off waits a second by design and supervisord does not. Rest:
the processor time and memory of the supervisor alone, with ten children, over a minute.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from factory import ROOT, publish, wait_for
from footprint import cpu_s, pss_mb

from core.paths import Paths
from weaver.adoption import lock_home
from weaver.desired import Program
from weaver.drill.ending import ending_in_order
from weaver.supervisor import Supervisor
from weaver.wishes import Wishes

CHILD = str(Path(__file__).with_name("supervised_child.py"))
SETTLE_S = 3.0  # supervisord calls a child RUNNING after its startsecs, one second by default


def be_weaver(home: Path, count: int) -> None:
    """Be our supervisor over so many children, as `weaver supervise` is over the factory's programs."""
    paths = Paths(home)
    lock_home(paths)
    paths.make()
    programs = tuple(Program(name=name, argv=(CHILD, str(home), name)) for name in names(count))
    supervisor = Supervisor(paths, os.environ, Wishes(paths, os.environ, programs))
    supervisor.install_signals()
    supervisor.run()


def names(count: int) -> list[str]:
    """Name the children."""
    return [f"child{number:02d}" for number in range(count)]


def weaver_command(home: Path, count: int) -> list[str]:
    """Give the command that starts our supervisor."""
    return [sys.executable, __file__, "weaver", str(home), str(count)]


def supervisord_command(home: Path, count: int) -> list[str]:
    """Write a configuration with nothing but what must be there, and give the command that starts supervisord."""
    lines = ["[supervisord]", "nodaemon=true", f"logfile={home}/supervisord.log", f"pidfile={home}/pid", f"childlogdir={home}"]
    for name in names(count):
        lines += [f"[program:{name}]", f"command={sys.executable} {CHILD} {home} {name}"]
    (home / "supervisord.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [str(Path(sys.executable).with_name("supervisord")), "-c", str(home / "supervisord.conf")]


class Supervised:
    """A supervisor at work in a home of its own, and what its children noted."""

    def __init__(self, home: Path, process: subprocess.Popen[bytes], count: int) -> None:
        self.home, self.process, self.count = home, process, count

    def starts(self, name: str) -> list[tuple[int, float, float]]:
        """Give the pid, the begin and the first beat of every start of a child; monotonic seconds."""
        path = self.home / f"{name}.starts"
        lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
        return [(int(pid), float(began), float(beat)) for pid, began, beat in (line.split() for line in lines)]

    def kill_each(self, rng: random.Random) -> list[tuple[float, float]]:
        """Kill every child once; give the seconds from the kill to the replacement's begin and to its first beat."""
        found = []
        for name in rng.sample(names(self.count), self.count):
            time.sleep(rng.uniform(0.0, 1.0))
            found.append(self._kill(name))
        return found

    def _kill(self, name: str) -> tuple[float, float]:
        before = self.starts(name)
        killed = time.monotonic()
        os.kill(before[-1][0], signal.SIGKILL)
        after = wait_for(f"a new {name}", 30.0, lambda: self.starts(name)[len(before) :], 0.005)
        return after[0][1] - killed, after[0][2] - killed


def with_supervisor(command: Callable[[Path, int], list[str]], count: int, work: Callable[[Supervised], None]) -> None:
    """Start a supervisor with so many children, have the work done, stop it."""
    with ending_in_order(), tempfile.TemporaryDirectory(prefix="weaver-bench-") as name:
        _supervise(Path(name), command, count, work)


def _supervise(home: Path, command: Callable[[Path, int], list[str]], count: int, work: Callable[[Supervised], None]) -> None:
    shutil.copytree(ROOT / "config", home / "config", ignore=shutil.ignore_patterns("local"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WEAVER")}
    environ = {**clean, "WEAVER_HOME": str(home), "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    with (home / "supervisor.out").open("wb") as out:
        process = subprocess.Popen(command(home, count), env=environ, cwd=home, stdout=out, stderr=out)
        supervised = Supervised(home, process, count)
        try:
            wait_for("all children", 60.0, lambda: all(supervised.starts(name) for name in names(count)))
            time.sleep(SETTLE_S)
            work(supervised)
        finally:
            process.terminate()
            process.wait(60.0)


def percentile(values: list[float], share: float) -> float:
    """Give the value that this share of the values does not exceed."""
    return sorted(values)[max(0, -(-len(values) * round(share * 100) // 100) - 1)]


def measure(label: str, command: Callable[[Path, int], list[str]], args: argparse.Namespace) -> dict[str, float]:
    """Give the figures of one supervisor."""
    figures: dict[str, float] = {}

    def rest(supervised: Supervised) -> None:
        before = cpu_s(supervised.process.pid)
        time.sleep(args.rest_s)
        figures[f"{label}_rest_cpu_percent"] = 100 * (cpu_s(supervised.process.pid) - before) / args.rest_s
        figures[f"{label}_pss_mb"] = pss_mb(supervised.process.pid)

    def kills(supervised: Supervised) -> None:
        rng = random.Random(args.seed)
        for death in ("first", "second"):
            found = supervised.kill_each(rng)
            for part, values in (("start", [start for start, _ in found]), ("beat", [beat for _, beat in found])):
                figures[f"{label}_{death}_death_to_{part}_p50_s"] = statistics.median(values)
                figures[f"{label}_{death}_death_to_{part}_p95_s"] = percentile(values, 0.95)

    with_supervisor(command, args.kills, kills)
    with_supervisor(command, 10, rest)
    return figures


def main() -> None:
    """Measure both and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=24, help="children, each killed once and once more")
    parser.add_argument("--rest-s", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=20261121)
    args = parser.parse_args()
    print(f"seed {args.seed}, supervisord {version('supervisor')}", flush=True)
    figures = measure("weaver", weaver_command, args) | measure("supervisord", supervisord_command, args)
    for part in ("start", "beat"):
        for share in ("p50", "p95"):
            theirs, ours = (figures[f"{label}_first_death_to_{part}_{share}_s"] for label in ("supervisord", "weaver"))
            figures[f"ratio_first_death_to_{part}_{share}"] = theirs / ours
    publish("supervision", figures, seed=args.seed, kills=args.kills, rest_s=args.rest_s, supervisord=version("supervisor"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["weaver"]:
        be_weaver(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()

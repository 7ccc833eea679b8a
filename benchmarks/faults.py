"""Faults injected on purpose, and what they broke: the numbers of trials that the claims name.

In one process: every protocol of tests/faults/protocols.py, and the save of a checkpoint, killed, filled, broken and cut from
power in every call. A trainer killed at every moment of every step of a run of sixty, and in saves, compared with the
uninterrupted run to the last bit. Status files read while they are written. Then `weaver drill --full`: a real factory, killed,
frozen, filled, torn, and a hundred second Weavers. Writes benchmarks/results/faults.json and, as a picture, faults.svg.

Usage: .venv/bin/python benchmarks/faults.py [--scale 1.0] [--seed 20261121]
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import itertools
import json
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from factory import ROOT, publish

sys.path.insert(0, str(ROOT))  # tests/ is no installed package

from picture import Cell, draw

from core.errors import WeaverError
from core.files import replace_quick
from tests.faults.breaking import BrokenAt, Killed
from tests.faults.flood import flood
from tests.faults.power_cut import every_cut
from tests.faults.protocols import PROTOCOLS, Protocol
from tests.faults.stage import Stage
from weaver.drill.ending import ending_in_order
from weaver.drill.records import Drill
from weaver.drill.run import run as run_drill

SAVES, STEPS, OTHERS, READS, DISKS, FILES = 200, 60, 20, 1_000_000, 200, 10_000
DISKS_OF_A_SAVE = 10  # of each call: there are many calls, and a trainer goes on from each disk
FAULTS = {
    "killed": (None, False),
    "killed after": (None, True),
    "disk full": (errno.ENOSPC, False),
    "disk broken": (errno.EIO, False),
}
CALLS_OF_A_RUN = 300
FACTORY = "factory: "


def protocols(scale: float, rng: random.Random, root: Path) -> tuple[list[Cell], int]:
    """Break every call of every protocol; say how many there are."""
    from tests.faults.saving import saving

    cells, numbers, save = list[Cell](), itertools.count(), saving(root / "base of saves")
    every = (*PROTOCOLS, save)
    for name in ("killed", "disk full", "disk broken", "power cut"):
        count, found = 0, list[str]()
        for protocol in every:
            if name == "power cut":
                disks = DISKS_OF_A_SAVE if protocol is save else DISKS
                made, wrong = _cut(protocol, max(4, int(disks * scale)), rng, root, numbers)
            else:
                made, wrong = _break(protocol, [key for key in FAULTS if key.startswith(name)], root, numbers)
            count, found = count + made, found + wrong
        cells.append(Cell(name, "I1 I2 I3 I7 I8 I11", count, found))
        print(f"{name}: {count} trials of {len(every)} protocols, {len(found)} violations", flush=True)
    return cells, len(every)


def _break(protocol: Protocol, faults: Sequence[str], root: Path, numbers: Iterator[int]) -> tuple[int, list[str]]:
    count, found = 0, list[str]()
    for fault in faults:
        for at in itertools.count():
            home, ops = root / str(next(numbers)), BrokenAt(at, *FAULTS[fault])
            with contextlib.suppress(Killed, OSError, WeaverError), _noting(found, f"{protocol.name}, {fault} in call {at}"):
                protocol.begin(protocol.make(home), ops)
            with _noting(found, f"{protocol.name}, after {fault} in call {at}"):
                found += protocol.judge(home, f"{fault} in call {at}", not ops.was_reached)
            shutil.rmtree(home)
            if not ops.was_reached:
                break
            count += 1
    return count, found


@contextlib.contextmanager
def _noting(found: list[str], what: str) -> Iterator[None]:
    """Note what a stage expects in vain as a violation; the other trials go on."""
    try:
        yield
    except AssertionError as error:
        found.append(f"{what}: {error}")


def _cut(protocol: Protocol, most: int, rng: random.Random, root: Path, numbers: Iterator[int]) -> tuple[int, list[str]]:
    folder = root / f"cut-{next(numbers)}"
    folder.mkdir()

    def judge(home: Path, what: str, is_done: bool) -> list[str]:
        wrong = list[str]()
        with _noting(wrong, f"{protocol.name}, {what}"):
            wrong += protocol.judge(home, what, is_done)
        shutil.rmtree(home)
        return wrong

    def make() -> Path:
        return protocol.make(folder / str(next(numbers))).paths.home

    count, found = every_cut(make, lambda home, ops: protocol.begin(Stage(home), ops), judge, most=most, rng=rng)
    shutil.rmtree(folder)
    return count, found


def trainer(scale: float, rng: random.Random, root: Path) -> list[Cell]:
    """Kill a trainer at every moment of every step of a run, and in saves; compare with the run that was not killed.

    The hardest setting in full, the others, and the deaths between two jobs, by a sample.
    """
    from tests.faults import trainer_lives as lives

    def in_saves(whole: Any) -> Iterator[list[Any]]:
        while True:
            yield [lives.Death("call", rng.randint(1, CALLS_OF_A_RUN)) for _ in range(2)]

    def drawn(whole: Any) -> Iterator[list[Any]]:
        while True:
            yield lives.deaths_in_steps(rng, whole)

    moments = lives.every_moment(STEPS)
    in_steps = moments[: max(2, int(len(moments) * scale))]
    bases, steps, others = lives.make_bases(root / "bases"), sum(map(len, in_steps)), max(1, int(OTHERS * scale))
    long, short = lives.Run(lives.LONG, lives.HARDEST, 60.0), lives.Run(lives.SHORT, lives.HARDEST, 2.0)
    cells = [
        _killed(lives, "in a step", [long], lambda whole: in_steps, steps, bases, root),
        _killed(lives, "in a save", [short], in_saves, max(2, int(SAVES * scale)), bases, root),
    ]
    runs = [lives.Run(lives.SHORT, setting) for setting in lives.SETTINGS]
    return [*cells, _killed(lives, "in other settings", runs, drawn, others, bases, root)]


def _killed(
    lives: Any, name: str, runs: Sequence[Any], histories: Callable[[Any], Iterable[list[Any]]], most: int, bases: Any,
    root: Path,
) -> Cell:  # fmt: skip
    """Let every history of each run be trained to its end, whatever kills it, until there were so many kills of that run."""
    found, total = list[str](), 0
    for number, run in enumerate(runs):
        whole, kills = lives.make_home(bases, root / f"whole {name} {number}", run), 0
        lives.survive(whole, run, [])
        for deaths in histories(whole):
            home = lives.make_home(bases, root / "killed", run)
            kills += lives.survive(home, run, deaths)
            found += [f"{run.setting}, {deaths}: {text}" for text in lives.differences(home, whole, run)]
            shutil.rmtree(home.paths.home)
            lives.told_in(home.paths.home).unlink()
            if kills >= most:
                break
        total += kills
    print(f"trainer killed {name}: {total} kills, {len(found)} differences", flush=True)
    return Cell(f"trainer killed {name}", "I2 I6 I7", total, found)


def torn_reads(scale: float, root: Path) -> Cell:
    """Read a status file again and again while it is replaced."""
    path, is_over, torn = root / "status" / "a.json", threading.Event(), list[str]()
    contents = [json.dumps({"beat": number, "fill": "x" * (number * 37 % 4000)}).encode() for number in range(200)]
    replace_quick(path, contents[0])

    def write() -> None:
        for content in itertools.cycle(contents):
            if is_over.is_set():
                return
            replace_quick(path, content)

    writer, count = threading.Thread(target=write), int(READS * scale)
    writer.start()
    whole = set(contents)
    for _ in range(count):
        data = path.read_bytes()
        if data not in whole:
            torn.append(f"{len(data)} bytes")
    is_over.set()
    writer.join()
    print(f"status read: {count} reads, {len(torn)} torn", flush=True)
    return Cell("status read while written", "I4", count, torn)


def files_at_once(scale: float, root: Path) -> Cell:
    """Drop very many files at once."""
    count = max(2, int(FILES * scale))
    found = flood(root / "flood", count)
    print(f"files at once: {count} files, {len(found)} violations", flush=True)
    return Cell("many files at once", "I1 I3", count, found)


def drill_cells(found: Drill) -> list[Cell]:
    """Give the faults of a drill as rows of the picture, with what each judged; the last, the verdict at rest, has the rest.

    Every violation is in exactly one row, also one of a fault that could not be made, or of no fault that is known.
    """
    texts: dict[str, list[str]] = {fault.fault: [] for fault in found.faults}
    for text in found.violations:
        texts.get(text.partition(":")[0], texts[found.faults[-1].fault]).append(text)
    return [Cell(f"{FACTORY}{fault.fault}", " ".join(fault.judged), fault.trials, texts[fault.fault]) for fault in found.faults]


def figures_of(cells: Sequence[Cell], found: Drill) -> dict[str, float]:
    """Give the numbers for the README: of each fault its trials and, where something was to recover, the seconds."""
    lines, of_trainer = found.lines, [cell for cell in cells if cell.fault.startswith("trainer killed")]
    out: dict[str, float] = {
        "trials": sum(cell.trials for cell in cells), "violations": sum(len(cell.violations) for cell in cells),
        "resume_mismatches": sum(len(cell.violations) for cell in of_trainer),
        "drill_lines": lines.dropped if lines else 0, "unaccounted_lines": lines.unaccounted if lines else 0,
        **{f"{_key(cell.fault)}_trials": cell.trials for cell in cells},
    }  # fmt: skip
    for one in found.faults:
        times = {"p50": one.p50_s, "p95": one.p95_s, "max": one.max_s}
        out |= {f"{_key(f'{FACTORY}{one.fault}')}_{share}_s": value for share, value in times.items() if value is not None}
    return out


def _key(fault: str) -> str:
    """Give what a fault is called in a figure's name."""
    return re.sub("[^a-z]+", "_", fault.lower())


def main() -> None:
    """Run and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="this share of the trials")
    parser.add_argument("--seed", type=int, default=20261121)
    args = parser.parse_args()
    rng, began = random.Random(args.seed), time.monotonic()
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="weaver-faults-") as name:
        root = Path(name)
        cells, of_protocols = protocols(args.scale, rng, root)
        cells += [torn_reads(args.scale, root), files_at_once(args.scale, root)]
        cells += trainer(args.scale, rng, root)
    found = run_drill(args.scale >= 1.0, args.seed, lambda trials: None, lambda text: print(text, flush=True))
    cells += drill_cells(found)
    violations = [text for cell in cells for text in cell.violations]
    draw(cells, ROOT / "benchmarks" / "results" / "faults.svg")
    table = [{"fault": cell.fault, "trials": cell.trials, "violations": len(cell.violations)} for cell in cells]
    recoveries = [
        {"fault": one.fault, "trials": one.trials, "p50_s": one.p50_s, "p95_s": one.p95_s, "max_s": one.max_s}
        for one in found.faults
    ]
    figures = {"protocols": of_protocols, **figures_of(cells, found)}
    publish(
        "faults", figures, seed=args.seed, scale=args.scale, seconds=round(time.monotonic() - began), table=table,
        recoveries=recoveries, violations=violations,
    )  # fmt: skip
    if violations:
        raise SystemExit(1)


if __name__ == "__main__":
    with ending_in_order():
        main()

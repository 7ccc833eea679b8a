"""A whole drill: build a home, start it, make every fault, let it come to rest, stop it, judge what is left, remove it.

Place in the flow: `weaver drill` and benchmarks/faults.py call run(). Files: those of weaver/drill/site.py. Invariant: no
other home is touched; whatever happens, nothing is left running: what asks the drill to end (SIGTERM, SIGHUP, Ctrl-C) has it
clean up first.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from core.accounting.audit import audit
from core.accounting.records import AuditLines
from weaver.drill.checks import champion_violations, violations
from weaver.drill.ending import ending_in_order
from weaver.drill.faults import FAULTS, FLOOR, TRAINED_S
from weaver.drill.killing import doubles, zombies
from weaver.drill.records import Drill, DrilledFault, Trials
from weaver.drill.site import Site, new_home


def planned(full: bool, seed: int) -> Drill:
    """Give what a drill would do."""
    return Drill(
        ok=True, seed=seed, full=full, seconds=0.0, lines=None, violations=[],
        faults=[DrilledFault(
            fault=make.__name__, trials=counts[full], violations=0, p50_s=None, p95_s=None, max_s=None,
            note=(make.__doc__ or "").splitlines()[0], judged=[],
        ) for make, counts in FAULTS.items()],
    )  # fmt: skip


def run(full: bool, seed: int, say: Callable[[Trials], None], note: Callable[[str], None] = lambda text: None) -> Drill:
    """Do a whole drill; say() is told of every fault when it is over, note() what is going on.

    Raises Conflict, NotFound, StartFailed before anything is broken.
    """
    with ending_in_order():
        site = Site(new_home(), random.Random(seed))
        try:
            return _drill(site, full, seed, say, note)
        finally:
            site.remove()


def _drill(site: Site, full: bool, seed: int, say: Callable[[Trials], None], note: Callable[[str], None]) -> Drill:
    """Do it in a home that is there."""
    began, done = time.monotonic(), list[Trials]()
    config = site.paths.config / "weaver.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("disk: {floor_gb: 5}", FLOOR[0]), encoding="utf-8")
    note(f"starting a factory in {site.paths.home}")
    site.start()
    for make, counts in FAULTS.items():
        note(f"{make.__name__}: {(make.__doc__ or '').splitlines()[0]}")
        done.append(make(site, counts[full]))
        say(done[-1])
    note("waiting until everything that was dropped is trained")
    rest, lines = at_rest(site)
    say(rest)
    done.append(rest)
    found = [text for trials in done for text in trials.violations]
    return Drill(
        ok=not found, seed=seed, full=full, seconds=time.monotonic() - began, lines=lines, violations=found,
        faults=[trials.record() for trials in done],
    )  # fmt: skip


def at_rest(site: Site) -> tuple[Trials, AuditLines]:
    """Let everything be trained, stop it, and judge what is left, whichever fault it is of; say what became of the lines."""
    trials = Trials("at rest", "all that was dropped is trained, the champion asked, all stopped: what no single fault owns", 1)
    site.within(trials, TRAINED_S, site.is_drained, "not everything was trained")
    found = [f"a zombie: {one}" for one in zombies(site.paths)] + [f"lives twice: {one}" for one in doubles(site.paths)]
    found += champion_violations(site.paths, site.environ)
    if code := site.weaver("down"):
        found.append(f"`weaver down` ended with exit code {code}")
    found += violations(site.paths, site.dropper.drops)
    account = audit(site.paths)
    trials.violations += [f"{trials.fault}: {text}" for text in found]
    trials.judged |= {one.id for one in account.invariants}
    return trials, account.lines

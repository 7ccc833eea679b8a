"""The fault of a drill that sets the wall clock: ten years ahead, ten years back, right again, while everything works (I13).

Place in the flow: weaver/drill/faults.py lists it. Files written: .clock in the drill's own home, which its programs read
(weaver/drill/skewed/sitecustomize.py). Invariant: the clock is right again when the fault is over.
"""

from __future__ import annotations

from functools import partial

from core.checkpoints.ledger import Ledger
from core.clock import from_iso
from core.files import replace_quick
from core.jobs.spool import Spool
from core.status import read_heartbeat
from weaver.drill.killing import DAEMONS, TRAINER, WEAVER
from weaver.drill.records import Trials
from weaver.drill.site import CLOCK, Site

TEN_YEARS_S = 3652 * 24 * 3600
SEEN_S, TRAINED_S = 60.0, 120.0


def set_clock(site: Site, count: int) -> Trials:
    """Set the wall clock of every program ten years ahead and back while drops are trained; only what is shown may change."""
    trials = Trials("clock set", "ten years ahead, ten back, right again, in every program; until a drop made then is trained")
    trials.judged.add("I13")
    for _ in range(count):
        for ahead_s in (TEN_YEARS_S, -TEN_YEARS_S, 0):
            _set(site, trials, ahead_s)
    return site.ended(trials)


def _set(site: Site, trials: Trials, ahead_s: int) -> None:
    ledger = Ledger(site.paths)
    alive = {name: ref for name, ref in site.killer.alive().items() if name != TRAINER}
    weights = set(ledger.names("tiny"))
    was = _beaten_at(site, WEAVER)
    replace_quick(site.paths.home / CLOCK, str(ahead_s).encode())
    trials.count += 1
    what = f"{ahead_s / TEN_YEARS_S:+.0f} times ten years"
    site.within(trials, SEEN_S, partial(_all_see, site, was), f"{what}: not every program saw it")
    drop = site.dropper.by_rename(100, epochs=2)
    took = site.within(trials, TRAINED_S, partial(_is_trained, site, drop.stem), f"{what}: a drop was not trained")
    trials.recoveries += [] if took is None else [took]
    now = site.killer.alive()
    found = [f"{name} did not live on" for name, ref in alive.items() if now.get(name) != ref]
    found += [f"{name} was removed" for name in sorted(weights - set(ledger.names("tiny")))]
    trials.violations += [f"{trials.fault}: {what}: {text}" for text in found]


def _beaten_at(site: Site, program: str) -> float:
    beat = read_heartbeat(site.paths, program)
    return from_iso(beat.beat_at).timestamp() if beat is not None else 0.0


def _all_see(site: Site, was: float) -> bool:
    """Say whether every daemon and the Weaver have beaten by a clock that was set since one of them beat at `was`."""
    return all(abs(_beaten_at(site, program) - was) > TEN_YEARS_S / 2 for program in (*DAEMONS, WEAVER))


def _is_trained(site: Site, stem: str) -> bool:
    return any(job.endswith(stem) for job in Spool(site.paths).list("completed"))

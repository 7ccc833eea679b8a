"""The faults of a drill that hit status/: torn, and deleted again and again. All of it are views, which come back.

Place in the flow: weaver/drill/faults.py lists them among the others. Files written: those in status/ of the drill's own home.
Invariant: what is true is the same before and after.
"""

from __future__ import annotations

import shutil
from collections.abc import Container
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from core.accounting.files import views
from core.checkpoints.champion import read_champion
from core.checkpoints.ledger import Ledger
from core.evals.standing import Curriculum
from core.jobs.pause import paused
from core.paths import Paths
from core.records import read_if_there
from weaver.drill.killing import TRAINER, VICTIMS
from weaver.drill.records import Trials
from weaver.drill.site import Site

MODEL = "tiny"
VIEWS_BACK_S, CHOICE_S = 15.0, 60.0
DELETE_EVERY_S = 3.0


def tear_status(site: Site, count: int) -> Trials:
    """Cut every status file with a living owner to half; its owner writes it again."""
    trials = Trials("torn status", "every file in status/ cut to half of its size")
    trials.judged.add("I4")
    for _ in range(count):
        dead = {site.paths.procs / f"{name}.json" for name in set(VICTIMS) - site.killer.alive().keys()}
        written = set(site.paths.status.rglob("*.json")) - dead
        cut = {path: path.read_bytes() for path in written if path.is_file()}
        for path, data in cut.items():
            path.write_bytes(data[: len(data) // 2])
        trials.count += len(cut)
        took = site.within(trials, VIEWS_BACK_S, partial(_none_is_torn, site.paths, cut), "not all were written again")
        if took is None:
            trials.violations.append(f"torn status: I4: still torn: {_torn(site.paths, cut)}")
        else:
            trials.recoveries.append(took)
    return site.ended(trials)


def _none_is_torn(paths: Paths, among: Container[Path]) -> bool:
    return not _torn(paths, among)


def _torn(paths: Paths, among: Container[Path]) -> list[str]:
    """Name those of some views that are there and torn."""
    return [str(path.relative_to(paths.home)) for path, tear in views(paths) if tear is not None and path in among]


@dataclass(frozen=True)
class Truth:
    """What a person has chosen and the factory has reached, none of which may depend on status/."""

    champion: str | None
    pause: str | None
    pins: tuple[str, ...]
    levels: dict[str, tuple[int, int, int]] | None

    def lost(self, now: Truth) -> list[str]:
        """Say what is not as it was."""
        was, is_now = asdict(self), asdict(now)
        return [f"the {name} was {was[name]}, now {is_now[name]}" for name in was if was[name] != is_now[name]]


def truth(paths: Paths) -> Truth:
    """Read it: the champion, the pause and the pins from where they live, the levels from the view that comes back."""
    champion, pause = read_champion(paths, MODEL), paused(paths)
    levels = read_if_there(Curriculum, paths.status / "curriculum.json")
    return Truth(
        champion=champion.checkpoint if champion is not None else None,
        pause=f"{pause.verb} by {pause.by} at {pause.at}" if pause is not None else None,
        pins=tuple(sorted(path.name for path in paths.model(MODEL).pins.glob("*.json"))),
        levels=None if levels is None else {
            name: (skill.training_level, skill.mastered_level, skill.target_level) for name, skill in levels.skills.items()
        },
    )  # fmt: skip


def delete_status(site: Site, count: int) -> Trials:
    """Delete status/ every 3 s; the champion, the pause, the pins and the levels are the same before and after."""
    trials = Trials("deleted status", f"status/ deleted every {DELETE_EVERY_S:.0f} s; same champion, pause, pins and levels")
    name = _choose(site, trials)
    before, living = truth(site.paths), site.killer.alive()
    if None in (before.champion, before.pause, before.levels) or not before.pins:
        trials.violations.append(f"deleted status: there is nothing to lose: {before}")
    for _ in range(count):
        gone = site.paths.home / ".deleted-status"
        site.paths.status.rename(gone)
        shutil.rmtree(gone)
        trials.count += 1
        site.pass_s(DELETE_EVERY_S)
    took = site.within(trials, VIEWS_BACK_S, lambda: site.is_healthy() and _has_levels(site), "not healthy, or no levels")
    if took is not None:
        trials.recoveries.append(took + DELETE_EVERY_S)
    trials.violations += [f"deleted status: {text}" for text in before.lost(truth(site.paths))]
    restarted = [name for name, ref in site.killer.alive().items() if name != TRAINER and living.get(name) != ref]
    trials.violations += [f"deleted status: {name} was started again: {site.told(name)}" for name in restarted]
    _do(site, trials, "ckpt", "unpin", name)
    _do(site, trials, "queue", "resume")
    return site.ended(trials)


def _choose(site: Site, trials: Trials) -> str:
    """Pause, pin and deploy as a person does, so that there is something to lose; give the checkpoint that is pinned."""
    _do(site, trials, "queue", "pause")
    site.within(trials, CHOICE_S, lambda: not site.killer.is_moment("training"), "training did not pause")
    ledger = Ledger(site.paths)
    head = ledger.head(MODEL)
    name = f"{MODEL}/{head.checkpoint if head is not None else ledger.names(MODEL)[-1]}"
    _do(site, trials, "ckpt", "pin", name, "--note", "drill")
    champion = read_champion(site.paths, MODEL)
    if champion is None or f"{MODEL}/{champion.checkpoint}" != name:
        _do(site, trials, "deploy", "now", name, "--wait")
    site.within(trials, CHOICE_S, lambda: _has_levels(site), "there were no levels")
    return name


def _do(site: Site, trials: Trials, *words: str) -> None:
    """Run a verb, which must do what it is asked for."""
    if code := site.weaver(*words):
        trials.violations.append(f"{trials.fault}: `weaver {' '.join(words)}` ended with {code}")


def _has_levels(site: Site) -> bool:
    return truth(site.paths).levels is not None

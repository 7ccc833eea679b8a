"""The faults of a drill that hit status/: torn, and deleted again and again. All of it are views, which come back.

Place in the flow: weaver/drill/faults.py lists them among the others. Files written: those in status/ of the drill's own home.
Invariant: what is true is the same before and after.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from core.checkpoints.champion import read_champion
from core.status import read_supervisor_view
from weaver.drill.killing import TRAINER
from weaver.drill.records import Trials
from weaver.drill.site import Site

VIEWS_BACK_S = 15.0
DELETE_EVERY_S = 3.0


def tear_status(site: Site, count: int) -> Trials:
    """Cut every status file to half; its owner writes it again."""
    trials = Trials("torn status", "every file in status/ cut to half of its size")
    for _ in range(count):
        torn = {path: path.read_bytes() for path in site.paths.status.rglob("*.json") if path.is_file()}
        for path, data in torn.items():
            path.write_bytes(data[: len(data) // 2])
        trials.count += len(torn)
        took = site.until(partial(_none_is_torn, torn), VIEWS_BACK_S)
        if took is None:
            left = [str(path.relative_to(site.paths.home)) for path in torn if not _is_whole(path)]
            trials.violations.append(f"torn status: still torn after {VIEWS_BACK_S:.0f} s: {left}")
        else:
            trials.recoveries.append(took)
    return site.ended(trials)


def _none_is_torn(paths: Iterable[Path]) -> bool:
    return all(map(_is_whole, paths))


def _is_whole(path: Path) -> bool:
    """Say whether a file is JSON, or gone."""
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def delete_status(site: Site, count: int) -> Trials:
    """Delete status/ again and again; what is true is the same before and after."""
    trials = Trials("deleted status", f"status/ deleted every {DELETE_EVERY_S:.0f} s; same champion, pause, pins and programs")
    before, living = _truth(site), site.killer.alive()
    for _ in range(count):
        gone = site.paths.home / ".deleted-status"
        site.paths.status.rename(gone)
        shutil.rmtree(gone)
        trials.count += 1
        site.pass_s(DELETE_EVERY_S)
    took = site.until(site.is_healthy, VIEWS_BACK_S)
    if took is not None:
        trials.recoveries.append(took + DELETE_EVERY_S)
    if _truth(site) != before:
        trials.violations.append(f"deleted status: {_truth(site)}, before {before}")
    restarted = [name for name, ref in site.killer.alive().items() if name != TRAINER and living.get(name) != ref]
    trials.violations += [f"deleted status: {name} was started again: {_told(site, name)}" for name in restarted]
    return site.ended(trials)


def _told(site: Site, name: str) -> str:
    """Give what the Weaver says of a program."""
    view = read_supervisor_view(site.paths)
    found = [program for program in view.programs if program.name == name] if view is not None else []
    return f"restarts {found[0].restarts}, last exit {found[0].last_exit}, {found[0].reason!r}" if found else "nothing"


def _truth(site: Site) -> tuple[str | None, bool, tuple[str, ...]]:
    """Give what nobody may lose: the champion, the pause, the pins."""
    champion = read_champion(site.paths, "tiny")
    pins = tuple(sorted(path.name for path in site.paths.model("tiny").pins.glob("*.json")))
    return champion.checkpoint if champion else None, site.paths.paused.exists(), pins

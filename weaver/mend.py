"""One run of "check and mend": what can be put right safely, as a list of steps, and taking them.

Place in the flow: `weaver mend` shows the steps, or takes them. Files written: missing folders, modes of keys, what dead owners
left, views of dead processes, stale claims (by the functions of reclaim_stale and prune_checkpoints), orders to the Weaver.
Invariants: making the list changes nothing, so --dry-run is the same list; data of people, of jobs and of checkpoints is never
deleted; a folder in .building is left to watch_inbox, which goes on with it; a second run finds nothing to do.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from core.checkpoints.ledger import Ledger
from core.checkpoints.removal import left_over, sweep, temporaries
from core.clock import SystemClock, iso
from core.errors import IllegalMove, WeaverError
from core.hosts import SERVICES, read_endpoint
from core.jobs.reclaim import give_back, stale_claims, why_nothing_is_stale
from core.jobs.spool import Spool
from core.liveness import TRAINER, Liveness
from core.paths import Paths
from core.process import is_alive
from core.records import Part, Record
from core.status import State, read_heartbeat, read_supervisor_view
from weaver.adoption import living, weaver_process
from weaver.lifecycle import restart, up


class Step(NamedTuple):
    """One thing to do, why, and the way to do it (raises WeaverError or OSError)."""

    what: str
    why: str
    do: Callable[[], object]


class Action(Part, frozen=True):
    """One step: error says why it could not be done, null when it was (or with dry_run would be)."""

    what: str
    why: str
    error: str | None


class Mending(Record, frozen=True, tag="weaver.mend/1"):
    """`weaver mend --json`. ok: no step failed."""

    dry_run: bool
    ok: bool
    actions: list[Action]


def mend(paths: Paths, dry_run: bool, say: Callable[[Action], None] = lambda action: None) -> Mending:
    """Take every step that is safe, or with dry_run only name them; say is called after each."""
    actions = list[Action]()
    for step in list(steps(paths)):
        error = None if dry_run else _take(step)
        actions.append(Action(what=step.what, why=step.why, error=error))
        say(actions[-1])
    return Mending(dry_run=dry_run, ok=all(action.error is None for action in actions), actions=actions)


def _take(step: Step) -> str | None:
    try:
        step.do()
    except (WeaverError, OSError) as error:
        return str(error)
    return None


def steps(paths: Paths) -> Iterator[Step]:
    """Give what there is to do, in the order in which it is done; changes nothing."""
    yield from _missing_folders(paths)
    yield from _exposed_keys(paths)
    yield from _left_over(paths)
    yield from _dead_views(paths)
    if weaver_process(paths) is None:
        if _should_be_up(paths):
            why = "it died without being asked to stop"
            yield Step("start the Weaver, which adopts what runs", why, partial(up, paths.home))
        else:
            yield from _stale_claims(paths)
    else:
        yield from _given_up(paths)


def _missing_folders(paths: Paths) -> Iterator[Step]:
    for folder in paths.folders():
        if not folder.exists() and not folder.is_symlink():
            yield Step(f"make {_short(paths, folder)}", "it is missing", partial(folder.mkdir, parents=True, exist_ok=True))


def _exposed_keys(paths: Paths) -> Iterator[Step]:
    keys = sorted(path for path in paths.tokens.glob("[!.]*") if path.is_file() and not path.is_symlink())
    for path, mode in ((paths.local, 0o700), *((key, 0o600) for key in keys)):
        if not path.exists():
            continue
        facts = path.stat()
        if facts.st_mode & 0o077 and facts.st_uid == os.getuid():
            why = f"others can read it (mode {stat.S_IMODE(facts.st_mode):04o})"
            yield Step(f"make {_short(paths, path)} readable by its owner alone", why, partial(path.chmod, mode))


def _left_over(paths: Paths) -> Iterator[Step]:
    ledger, now_s = Ledger(paths), time.time()
    for model in ledger.models():
        for path in left_over(paths, ledger, model, now_s):
            yield Step(f"remove {_short(paths, path)}", "whoever made it is dead", partial(sweep, paths, model, [path]))
    for path in temporaries(paths, now_s):
        yield Step(f"remove {_short(paths, path)}", "its writer was killed", partial(path.unlink, missing_ok=True))


def _dead_views(paths: Paths) -> Iterator[Step]:
    """Name views that speak for processes which are dead: a living Weaver sees to those of its programs itself."""
    pids = {ref.pid for ref in living(paths).values()}
    for service in SERVICES:
        endpoint = read_endpoint(paths, service)
        if endpoint is not None and endpoint.pid not in pids:
            path = paths.endpoint(service)
            yield Step(f"remove {_short(paths, path)}", f"pid {endpoint.pid} is dead", partial(path.unlink, missing_ok=True))
    if weaver_process(paths) is not None:
        return
    for path in sorted(paths.procs.glob("[!.]*.json")):
        beat = read_heartbeat(paths, path.stem)
        if beat is None or beat.exit_code is not None or is_alive(beat.process):
            continue
        if beat.name == TRAINER and Spool(paths).list("processing"):
            continue  # train_next reads from it how its job ended
        yield Step(f"remove {_short(paths, path)}", f"pid {beat.pid} is dead", partial(path.unlink, missing_ok=True))


def _should_be_up(paths: Paths) -> bool:
    """Say whether a Weaver that is not there was not asked to stop: by its last view, else by what still runs."""
    view = read_supervisor_view(paths)
    return bool(living(paths)) if view is None else not view.stopping


def _stale_claims(paths: Paths) -> Iterator[Step]:
    """Name claimed jobs that nobody works on; where a Weaver runs or is started, its programs see to them."""
    spool = Spool(paths)
    if spool.list("processing") and why_nothing_is_stale(paths) is None:
        for job in stale_claims(paths, spool)[0]:
            yield Step(f"give {job} back to the queue", "its owner and the trainer are dead", partial(_give_back, spool, job))


def _give_back(spool: Spool, job: str) -> None:
    detail = "its owner and the trainer are dead, and no Weaver runs"
    if give_back(spool, job, "mend", iso(SystemClock().now()), detail) is None:
        raise IllegalMove(job=job, source="processing", target="the queue", detail="another process moved it first")


def _given_up(paths: Paths) -> Iterator[Step]:
    """Name the programs that a Weaver which is well has given up."""
    view = read_supervisor_view(paths)
    if view is None or view.stopping or not Liveness(paths, time.monotonic()).weaver_is_well:
        return
    for program in view.programs:
        if program.state in (State.PARKED, State.FATAL):
            why = f"it is {program.state}: {program.reason}"
            yield Step(f"restart {program.name}", why, partial(restart, paths.home, program.name))


def _short(paths: Paths, path: Path) -> str:
    return str(path.relative_to(paths.home))

"""The faults of a drill, each made in a running factory, and what must be so after it.

Place in the flow: weaver/drill/run.py makes them one after the other in one Site. Each gives Trials: how often it was made, how
long everything took to be well again, and what was not as it must be. Files written: config/weaver.yaml of the drill's own
home, and what views.py and storms.py beside it write. Invariant: a fault is over when its function returns, whether or not the
factory stood it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial

from core.checkpoints.ledger import Ledger
from core.files import replace_durable
from core.jobs.spool import Spool
from core.liveness import Liveness
from core.process import send_signal, spawned
from core.status import State, read_heartbeat
from weaver.desired import PROGRAMS
from weaver.drill.clock import set_clock
from weaver.drill.drops import Drop
from weaver.drill.killing import DAEMONS, HEAVY, ORACLE, TRAINER, WEAVER, Kill
from weaver.drill.records import Trials
from weaver.drill.site import Site
from weaver.drill.storms import crash_loop, storm, twins
from weaver.drill.views import delete_status, tear_status

LIGHT = (*DAEMONS, "web")
PROMPT = tuple(program.name for program in PROGRAMS if program.name in LIGHT and ORACLE not in program.after)  # need no torch
BACK_S, TRAINED_S = 60.0, 300.0
FLOOR = ("disk: {floor_gb: 0.1}", "disk: {floor_gb: 1000000}")
FULL_LOOK_S = 4.0
GAVE_WAY = 7
WAITING_S = 8.0

Fault = Callable[[Site, int], Trials]


def _kill_each(site: Site, trials: Trials, rounds: int, prepare: Callable[[], object] = lambda: None) -> Trials:
    """Kill each light program at a random moment; it is to come back before the next one dies.

    A program that died before waits (back-off) ever longer: each round begins with a new Weaver, which remembers nothing.
    """
    for _ in range(rounds):
        site.weaver("down")
        site.paths.supervision.unlink(missing_ok=True)
        site.start()
        site.within(trials, BACK_S, site.is_healthy, "a new Weaver was not healthy")
        for program in site.rng.sample(LIGHT, len(LIGHT)):
            prepare()
            site.pass_s(site.rng.uniform(0.0, 0.5))
            kill = site.killer.kill(program, trials.fault)
            if kill is None:
                trials.violations.append(f"{trials.fault}: {program} did not live")
                continue
            trials.count += 1
            _await(site, trials, kill, BACK_S)
    return site.ended(trials)


def _await(site: Site, trials: Trials, kill: Kill, seconds: float) -> bool:
    """Wait until what was killed is back; note how long it took, or that it did not come."""
    site.within(trials, seconds, partial(_is_back, kill), f"{kill.program} did not come back")
    if kill.recovered is not None:
        trials.recoveries.append(kill.recovered - kill.since)
    return kill.recovered is not None


def kill_idle(site: Site, count: int) -> Trials:
    """kill -9 of each light program while nothing is to be done."""
    return _kill_each(site, Trials("kill, idle", "kill -9 of every daemon and the web process, nothing to do"), count)


def kill_training(site: Site, count: int) -> Trials:
    """kill -9 of each light program while drops arrive and the trainer trains."""
    trials = Trials("kill, training", "kill -9 of every daemon and the web process while drops arrive and are trained")

    def train() -> None:
        if TRAINER in site.killer.alive() and Spool(site.paths).list("processing"):
            return
        site.dropper.by_rename(200, epochs=4)
        site.dropper.by_slow_copy(100)
        site.within(trials, BACK_S, lambda: site.killer.is_moment("training"), "no training began")

    return _kill_each(site, trials, count, train)


def kill_heavy(site: Site, count: int) -> Trials:
    """kill -9 of the oracle, and of the trainer in the middle of a save."""
    trials = Trials("kill, heavy", "kill -9 of the oracle, and of the trainer in a save; both import their libraries again")
    for program in (*[TRAINER] * count, ORACLE):
        if program == TRAINER:
            site.dropper.by_rename(200, epochs=6)
            site.within(trials, TRAINED_S, lambda: site.killer.is_moment("saving"), "the trainer did not save")
        kill = site.killer.kill(program, "saving" if program == TRAINER else "random")
        if kill is None:
            trials.violations.append(f"kill, heavy: {program} did not live")
            continue
        trials.count += 1
        if _await(site, trials, kill, TRAINED_S) and program == TRAINER:
            saves = partial(_saves, site, len(Ledger(site.paths).links("tiny")))
            site.within(trials, TRAINED_S, saves, "the next trainer did not save")
    return site.ended(trials)


def _saves(site: Site, before: int) -> bool:
    """Say whether there are more checkpoints: a job in which the trainer dies again and again without any would fail."""
    return len(Ledger(site.paths).links("tiny")) > before or site.is_drained()


def kill_weaver(site: Site, count: int) -> Trials:
    """kill -9 of the Weaver; everything goes on, the next Weaver adopts it."""
    trials = Trials("kill the Weaver", "kill -9 of the Weaver; `weaver up` again: what lives is adopted")
    for _ in range(count):
        before = site.killer.alive()
        kill = site.killer.kill(WEAVER)
        if kill is None:
            trials.violations.append("kill the Weaver: there was none")
            continue
        trials.count += 1
        site.start()
        _await(site, trials, kill, BACK_S)
        after = site.killer.alive()
        lost = [name for name in before if name not in (WEAVER, TRAINER) and before[name] != after.get(name)]
        trials.violations += [f"kill the Weaver: {name} was not adopted" for name in lost]
    return site.ended(trials)


def kill_everything(site: Site, count: int) -> Trials:
    """kill -9 of everything at once while it works, then `weaver up`; the time until every light program runs."""
    trials = Trials("kill everything", "kill -9 of all programs at once, then `weaver up`; until all run that need no torch")
    for _ in range(count):
        site.dropper.by_rename(100, epochs=2)
        site.within(trials, BACK_S, lambda: Spool(site.paths).list("processing"), "nothing was claimed")
        before = len(site.killer.kills)
        site.killer.power_cut()
        site.within(trials, BACK_S, lambda: not list(spawned(site.paths.home_id)), "not everything that was killed ended")
        site.paths.supervision.unlink(missing_ok=True)  # so many deaths in so short a time would be a crash loop
        trials.count += 1
        site.start()
        if site.within(trials, BACK_S, partial(_light_are_back, site), "not all light programs ran") is None:
            continue
        cut = [kill for kill in site.killer.kills[before:] if kill.program in PROMPT and kill.recovered is not None]
        if not cut:
            trials.violations.append("kill everything: no light program lived")
            continue
        trials.recoveries.append(max((kill.recovered or kill.since) - kill.since for kill in cut))
    return site.ended(trials)


def _light_are_back(site: Site) -> bool:
    return all(kill.program in HEAVY for kill in site.killer.waiting())


def freeze(site: Site, count: int) -> Trials:
    """SIGSTOP of a daemon: hung is not dead, so it is noticed by its beats and replaced."""
    trials = Trials("freeze", "SIGSTOP of a daemon; it is replaced once its beat is 6 s overdue and it does not end when asked")
    trials.judged.add("I5")
    left = list(DAEMONS)
    for _ in range(count):
        site.within(trials, BACK_S, lambda: any(_waits(site, name) for name in left), "no daemon was between two ticks")
        program = site.rng.choice([name for name in left if _waits(site, name)] or left)
        left.remove(program)
        ref = site.killer.alive().get(program)
        if ref is None or not send_signal(ref, signal.SIGSTOP):
            trials.violations.append(f"freeze: {program} did not live")
            continue
        trials.count += 1

        lies = set[str]()

        def is_new(name: str = program, old: int = ref.pid, lies: set[str] = lies) -> bool:
            lies |= _shown_alive(site, name)
            beat = read_heartbeat(site.paths, name)
            return beat is not None and beat.pid != old

        took = site.within(trials, BACK_S, is_new, f"{program} was not replaced")
        trials.violations += sorted(lies)
        if took is None:
            send_signal(ref, signal.SIGCONT)
        else:
            trials.recoveries.append(took)
    return site.ended(trials)


def _shown_alive(site: Site, program: str) -> set[str]:
    """Say so when status calls a program RUNNING that has broken its promise to beat (I5)."""
    beat, mono = read_heartbeat(site.paths, program), time.monotonic()
    if beat is None or mono <= beat.next_due_mono:
        return set()
    rows = [row for row in Liveness(site.paths, mono).rows() if row.name == program and row.state is State.RUNNING]
    return {f"freeze: I5: {program} is shown RUNNING with its beat overdue" for row in rows if row.pid == beat.pid}


def _waits(site: Site, program: str) -> bool:
    """Say whether a daemon is between two ticks: in one, it may be silent for minutes."""
    beat = read_heartbeat(site.paths, program)
    return beat is not None and beat.next_due_mono - beat.beat_mono < WAITING_S


def _is_back(kill: Kill) -> bool:
    return kill.recovered is not None


def fill_disk(site: Site, count: int) -> Trials:
    """Let the disk be below its floor, by raising the floor; intake stops, and goes on by itself."""
    trials = Trials("disk full", "disk.floor_gb above what is free, then as before; the time until intake goes on by itself")
    path = site.paths.config / "weaver.yaml"
    before = path.read_bytes()
    for _ in range(count):
        replace_durable(path, before.replace(FLOOR[0].encode(), FLOOR[1].encode()))
        trials.count += 1
        site.within(trials, BACK_S, lambda: _pauses(site), "intake did not say that it pauses")
        drop = site.dropper.by_rename(50)
        site.pass_s(FULL_LOOK_S)
        if _was_taken(site, drop):
            trials.violations.append("disk full: a drop was taken")
        replace_durable(path, before)
        took = site.within(trials, BACK_S, partial(_was_taken, site, drop), "intake did not go on")
        trials.recoveries += [] if took is None else [took]
    return site.ended(trials)


def _was_taken(site: Site, drop: Drop) -> bool:
    return not (site.paths.inbox / drop.name).exists()


def _pauses(site: Site) -> bool:
    beat = read_heartbeat(site.paths, "watch_inbox")
    return beat is not None and beat.last_report is not None and "paused" in beat.last_report.note


def race(site: Site, count: int) -> Trials:
    """Start second Weavers at once beside the one that runs; each must give way."""
    trials = Trials("second Weaver", "`weaver supervise` beside a running Weaver: exit 7, and the holder stays")
    holder = site.killer.alive().get(WEAVER)
    for _ in range(count):
        trials.count += 1
        code = site.weaver("supervise")
        if code != GAVE_WAY or site.killer.alive().get(WEAVER) != holder:
            trials.violations.append(
                f"second Weaver: exit {code}, the Weaver is {site.killer.alive().get(WEAVER)}, was {holder}"
            )
    return site.ended(trials)


FAULTS: dict[Fault, tuple[int, int]] = {
    kill_idle: (1, 5), kill_training: (1, 5), kill_heavy: (1, 5), kill_weaver: (1, 10), kill_everything: (1, 10),
    storm: (1, 5), crash_loop: (1, 3), freeze: (1, 4), tear_status: (1, 5), delete_status: (2, 20), fill_disk: (1, 3),
    race: (2, 100), twins: (3, 100), set_clock: (1, 3),
}  # fmt: skip
"""Every fault with its number of trials, or rounds of them, in a short drill and in a full one."""

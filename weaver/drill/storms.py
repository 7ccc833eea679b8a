"""The faults of a drill that hit supervision: storms of SIGTERM, a program that dies at each start, two Weavers at one moment.

Place in the flow: weaver/drill/faults.py lists them among the others. Files written: a folder in the place of one log of the
drill's own home, and config/local/ of a second small home beside it. Invariant: what a fault broke is mended when it returns.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

from core.files import replace_durable
from core.jobs.job import DEATH
from core.jobs.spool import Spool
from core.paths import STATES, Paths
from core.process import spawned
from core.records import encode_pretty, read
from core.status import ProgramView, State, read_heartbeat, read_supervisor_view
from weaver.backoff import CRASH_LOOP
from weaver.desired import PROGRAMS, DesiredRecord
from weaver.drill.killing import DAEMONS, ORACLE, TRAINER, WEAVER, doubles, zombies
from weaver.drill.records import Trials
from weaver.drill.site import HEALTHY_S, Site, new_home
from weaver.memory import ProgramMemory, SupervisionRecord

STORM = (*DAEMONS, "web", ORACLE, TRAINER) * 2
END_S, BACK_S = 150.0, 60.0
DEGRADED, GAVE_WAY = 4, 7
BEATS, BYTES_A_BEAT = 3, 2000
CRASHES = 3
TWIN_PROGRAM = "reclaim_stale"

Racer = subprocess.Popen[str]


def storm(site: Site, count: int) -> Trials:
    """SIGTERM to every program and then the Weaver, again and again while drops arrive and are trained."""
    trials = Trials("storm", "SIGTERM to every program, some twice at once, then to the Weaver, while drops are trained")
    deaths = _deaths_of_trainers(site)
    for _ in range(count):
        site.dropper.by_rename(300, epochs=4)
        site.dropper.by_slow_copy(100)
        site.within(trials, BACK_S, lambda: site.killer.is_moment("training"), "no training began")
        for program in site.rng.sample(STORM, len(STORM)):
            site.pass_s(site.rng.uniform(0.0, 0.4))
            for _ in range(site.rng.choice((1, 1, 2))):
                trials.count += site.killer.kill(program, "storm", signal.SIGTERM) is not None
        took = site.within(trials, HEALTHY_S, site.is_healthy, "not healthy")
        trials.recoveries += [] if took is None else [took]
        trials.violations += [f"storm: {one.name} was given up: {one.reason}" for one in _given_up(site.paths)]
        trials.violations += [f"storm: a zombie: {one}" for one in zombies(site.paths)]
        trials.violations += [f"storm: lives twice: {one}" for one in doubles(site.paths)]
        _end_weaver(site, trials)
        site.start()
    if _deaths_of_trainers(site) != deaths:
        trials.violations.append("storm: a trainer that was asked to stop did not save what it had trained")
    return site.ended(trials)


def _end_weaver(site: Site, trials: Trials) -> None:
    """Send SIGTERM to the Weaver, and again while it stops everything; nothing may be left, nor anything that is not saved."""
    for _ in range(2):
        trials.count += site.killer.kill(WEAVER, "storm", signal.SIGTERM) is not None
        site.pass_s(site.rng.uniform(0.0, 0.3))
    site.within(trials, END_S, lambda: not list(spawned(site.paths.home_id)), "SIGTERM to the Weaver did not end everything")
    trials.violations += [f"storm: still alive: {program} {ref}" for program, ref in spawned(site.paths.home_id)]


def _deaths_of_trainers(site: Site) -> int:
    """Count the trainers that died in the middle of a job: what they had not saved is trained again."""
    spool = Spool(site.paths)
    jobs = [job for state in STATES for job in spool.list(state)]
    return sum(attempt.outcome == DEATH for job in jobs for attempt in spool.read_attempts(job))


def _given_up(paths: Paths) -> list[ProgramView]:
    view = read_supervisor_view(paths)
    return [one for one in view.programs if one.state in (State.FATAL, State.PARKED)] if view is not None else []


def crash_loop(site: Site, count: int) -> Trials:
    """Let a daemon die at each start: it is given up, also by the next Weaver, the rest runs, `weaver restart` frees it."""
    trials = Trials("crash loop", "a daemon cannot open its log and dies at each start; until it is FATAL and all is quiet")
    for program in site.rng.sample(DAEMONS, count):
        log = site.paths.logs / f"{program}.jsonl"
        aside = log.with_name(f".{log.name}")
        _end_with_weaver(site, trials, program)
        if log.exists():
            log.rename(aside)
        log.mkdir()
        trials.count += 1
        began = time.monotonic()
        trials.violations += [f"crash loop: {program}: {text}" for text in _up_degraded(site)]
        trials.recoveries.append(time.monotonic() - began)
        trials.violations += [f"crash loop: {program}: {text}" for text in _judge_loop(site, trials, program)]
        log.rmdir()
        if aside.exists():
            aside.rename(log)
        if site.weaver("restart", program):
            trials.violations.append(f"crash loop: `weaver restart {program}` did not bring it back")
    return site.ended(trials)


def _end_with_weaver(site: Site, trials: Trials, program: str) -> None:
    """Kill the Weaver and a program; the next Weaver is to remember that this one has died almost often enough.

    From its first death on, a crash loop takes more than a minute.
    """
    site.killer.kill(WEAVER, "crash loop")
    site.killer.kill(program, "crash loop")
    gone = partial(_are_gone, site, WEAVER, program)
    site.within(trials, BACK_S, gone, f"{program} and the Weaver, which were killed, did not end")
    record = read(SupervisionRecord, site.paths.supervision)
    past = ProgramMemory(
        name=program, state=State.STOPPED, reason="", deaths=0, short_lives=CRASH_LOOP - CRASHES, retry_mono=0.0, starts=1,
        last_exit=1,
    )  # fmt: skip
    others = tuple(one for one in record.programs if one.name != program)
    changed = SupervisionRecord(boot_id=record.boot_id, config_mark=record.config_mark, programs=(*others, past))
    replace_durable(site.paths.supervision, encode_pretty(changed))


def _are_gone(site: Site, *programs: str) -> bool:
    return site.killer.alive().keys().isdisjoint(programs)


def _up_degraded(site: Site) -> list[str]:
    """Start a Weaver that gives a program up; say what is wrong."""
    site.killer.weaver_is_started()
    code = site.weaver("up")
    return [] if code == DEGRADED else [f"`weaver up` ended with {code}, not with {DEGRADED}, though it dies at each start"]


def _is_given_up(paths: Paths, program: str) -> bool:
    return any(one.name == program and one.state is State.FATAL for one in _given_up(paths))


def _judge_loop(site: Site, trials: Trials, program: str) -> list[str]:
    """Say what is wrong while a program is in a crash loop: it is given up with its reason, and nothing else happens."""
    found = [f"it is not given up, but {site.told(program)}"] if not _is_given_up(site.paths, program) else []
    found += [f"no reason is given: {one.reason!r}" for one in _given_up(site.paths) if "crash loop" not in one.reason]
    found += [f"{one.name} was given up too: {one.reason}" for one in _given_up(site.paths) if one.name != program]
    before, seq = _written(site.paths), _beats(site.paths)
    site.within(trials, BACK_S, lambda: _beats(site.paths) >= seq + BEATS, f"{program}: the Weaver did not beat")
    if (grown := _written(site.paths) - before) > BEATS * BYTES_A_BEAT:
        found.append(f"the Weaver is not quiet: it wrote {grown} bytes of log and events within {BEATS} beats")
    site.killer.kill(WEAVER, "crash loop")
    site.within(trials, BACK_S, partial(_are_gone, site, WEAVER), f"{program}: the Weaver, which was killed, did not end")
    found += _up_degraded(site)
    if not _is_given_up(site.paths, program):
        found.append(f"a killed Weaver forgot that it was given up: {site.told(program)}")
    return found


def _beats(paths: Paths) -> int:
    beat = read_heartbeat(paths, WEAVER)
    return beat.seq if beat is not None else 0


def _written(paths: Paths) -> int:
    """Give the bytes of what the Weaver writes about what happens."""
    files = (paths.logs / "weaver.jsonl", paths.logs / "events" / "weaver.jsonl", paths.logs / "weaver.out")
    return sum(path.stat().st_size for path in files if path.exists())


def twins(site: Site, count: int) -> Trials:
    """Start two Weavers at the same moment in a stopped home; one runs, the other exits 7 and names it."""
    trials = Trials("twin Weavers", "two `weaver supervise` at one moment in a stopped home: one runs, the other exits 7")
    second = Site(new_home(), site.rng)
    try:
        off = sorted(program.name for program in PROGRAMS if program.argv and program.name != TWIN_PROGRAM)
        replace_durable(second.paths.desired, encode_pretty(DesiredRecord(off=tuple(off))))
        for race in range(count):
            trials.count += 1
            trials.violations += [f"twin Weavers: race {race + 1}: {text}" for text in _race(second, trials)]
    finally:
        second.remove()
    return site.ended(trials)


def _race(home: Site, trials: Trials) -> list[str]:
    """Run one race; say what is wrong with it. No racer outlives it."""
    argv, racers = [sys.executable, "-m", "weaver", "supervise"], list[Racer]()
    try:
        for _ in range(2):
            racers.append(subprocess.Popen(
                argv, env=home.environ, cwd=home.paths.home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True,
            ))  # fmt: skip
        found = _judge_race(home, trials, racers)
        return found + [f"left over: {program} {ref}" for program, ref in spawned(home.paths.home_id)]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()


def _judge_race(home: Site, trials: Trials, racers: Sequence[Racer]) -> list[str]:
    took = home.within(trials, BACK_S, lambda: any(racer.poll() is not None for racer in racers), "none of two gave way")
    loser, winner = sorted(racers, key=lambda racer: racer.poll() is None)
    found = []
    if winner.poll() is not None:
        found.append(f"both gave way: exit codes {[racer.poll() for racer in racers]}")
    elif took is not None and loser.stderr is not None:
        said = loser.stderr.read()
        if loser.returncode != GAVE_WAY or f"pid {winner.pid}" not in said:
            found.append(f"the loser ended with {loser.returncode} and said {said!r} of pid {winner.pid}")
    runs = home.within(trials, BACK_S, lambda: TWIN_PROGRAM in home.killer.alive(), f"{TWIN_PROGRAM} was not started")
    if took is not None and runs is not None:
        trials.recoveries.append(took + runs)
    found += [f"lives twice: {one}" for one in doubles(home.paths)]
    for racer in racers:
        racer.terminate()
    ended = home.within(trials, BACK_S, lambda: all(racer.poll() is not None for racer in racers), "SIGTERM did not end both")
    if ended is not None and winner.returncode:
        found.append(f"the winner ended with {winner.returncode}")
    return found

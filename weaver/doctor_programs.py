"""The doctor's checks of what runs, and of the model it serves: the Weaver, its programs, strays, base, newest checkpoint.

Place in the flow: weaver/doctor.py runs them. Reads status/, models/ and /proc; writes nothing, takes no lock, signals nobody.
Invariant: each check is one function that gives one finding, and says the command that helps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from core.checkpoints.ledger import Ledger
from core.errors import InvalidData
from core.liveness import Liveness
from core.names import checkpoint_order, is_checkpoint
from core.process import ProcessRef, lock_holder, spawned, start_ticks, this_process
from core.status import State, read_supervisor_view
from weaver.adoption import WEAVER, living, weaver_process
from weaver.base_model import has_base
from weaver.desired import BASE_BUILDER, PROGRAMS
from weaver.doctor_scene import Finding, Scene, fail, ok, warn
from weaver.outputs import last_line

_GIVEN_UP = (State.FATAL, State.PARKED)


def weaver(scene: Scene) -> Finding:
    """Is the Weaver alive, well, and the only one with the lock?"""
    process = weaver_process(scene.paths)
    holder = lock_holder(scene.paths.home)
    if process is None:
        if holder:
            say = f"no Weaver is alive, but pid {holder} holds the lock of the home"
            return fail("weaver", say, f"`ps {holder}` says what it is; stop it, then `weaver up`.")
        if living(scene.paths):
            say = "no Weaver is alive, though its programs are: nothing is restarted"
            return fail("weaver", say, "`weaver up` starts one; it adopts what runs.")
        view = read_supervisor_view(scene.paths)
        if view is not None and not view.stopping:
            return fail("weaver", "it died without being asked to stop", "`weaver mend`, or `weaver up`.")
        return warn("weaver", "it does not run", "`weaver up`, or `./scripts/start_all.sh`.")
    if not Liveness(scene.paths, scene.mono).weaver_is_well:
        say = f"the Weaver (pid {process.pid}) is silent: its process is there, its heartbeat is not"
        return fail("weaver", say, "`weaver down`, then `weaver up`: running programs are adopted or saved.")
    return ok("weaver", f"pid {process.pid} is at work" + (", and has the lock of the home" if process.pid == holder else ""))


def programs(scene: Scene) -> Finding:
    """Do the wanted programs run and keep their promises?"""
    found = Liveness(scene.paths, scene.mono)
    if found.factory_state() == "stopped":
        return ok("programs", "nothing runs")
    rows = found.rows()
    given_up = [row for row in rows if row.state in _GIVEN_UP]
    if given_up:
        first = given_up[0].name
        fix = f"`weaver logs {first}` says more; remove the cause, then `weaver restart {first}`, or `weaver mend`."
        return fail("programs", "; ".join(f"{row.name} is {row.state}: {row.note}" for row in given_up), fix)
    ailing = [row for row in rows if row.state not in (State.RUNNING, State.STARTING, State.STOPPED)]
    if ailing:
        said = "; ".join(f"{row.name} is {row.state}: {row.note}" for row in ailing)
        return warn("programs", said, f"`weaver logs {ailing[0].name}` says why; a living Weaver sees to it by itself.")
    running = sum(row.state is State.RUNNING for row in rows)
    return ok("programs", f"{running} of {len(rows)} wanted programs run")


def strays(scene: Scene) -> Finding:
    """Is there a process of this home that no program explains?"""
    found = list(_strays(scene))
    if not found:
        return ok("strays", "every process of this home is a program of it")
    named = ", ".join(f"pid {ref.pid} ({program})" for program, ref in found)
    return warn("strays", f"no program explains {named}", "`weaver down` ends them too, then `weaver up`.")


def _strays(scene: Scene) -> Iterator[tuple[str, ProcessRef]]:
    known = {WEAVER, *(program.name for program in PROGRAMS)}
    leaders = living(scene.paths)
    yield from ((name, ref) for name, ref in leaders.items() if name not in known)
    me = this_process()
    for program, ref in spawned(scene.paths.home_id):
        try:
            leader = os.getsid(ref.pid)
        except ProcessLookupError:
            continue
        if ref != me and leader != ref.pid and start_ticks(leader) is None:
            yield f"left over from {program}", ref


def base(scene: Scene) -> Finding:
    """Is there a model to begin with?"""
    if scene.in_force is None:
        return warn("base", "not looked at: config/ is not good", "Mend config/ first: `weaver config validate`.")
    model = scene.in_force.config.weaver.model
    if has_base(scene.paths, model):
        return ok("base", f"{model} has its base")
    view = read_supervisor_view(scene.paths)
    parked = [item for item in (view.programs if view else ()) if item.state is State.PARKED and "base model" in item.reason]
    if parked:
        said = last_line(scene.paths.logs / f"{BASE_BUILDER}.out") or parked[0].reason
        return fail("base", f"the base of {model} could not be made: {said}", f"`weaver restart {parked[0].name}` tries again.")
    return warn("base", f"{model} has no checkpoint yet", "`weaver up` makes its base.")


def checkpoint(scene: Scene) -> Finding:
    """Do the newest checkpoint and its training state hash to what their manifests say?"""
    if scene.in_force is None:
        return warn("checkpoint", "not looked at: config/ is not good", "Mend config/ first: `weaver config validate`.")
    model = scene.in_force.config.weaver.model
    root = scene.paths.model(model).root
    names = sorted((path.name for path in root.glob("checkpoint-*") if is_checkpoint(path.name)), key=checkpoint_order)
    if not names:
        return ok("checkpoint", f"{model} has none yet")
    try:
        Ledger(scene.paths).verify(model, names[-1])
    except InvalidData as error:
        fix = "`weaver ckpt verify` checks them all; with the next job training goes back to the last whole one by itself."
        return fail("checkpoint", str(error), fix)
    return ok("checkpoint", f"{model}/{names[-1]} matches its manifest")

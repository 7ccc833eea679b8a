"""up, down, restart: what `weaver up`, `weaver down` and `weaver restart NAME` do; messages go to stderr.

Place in the flow: called by the CLI. up starts the Weaver in a session of its own and waits for health; down asks it to stop
everything, or does it itself when there is none; restart is an order to it. Invariant: after down nothing of this home lives.
"""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.clock import SystemClock
from core.errors import Conflict, Degraded, InvalidData, LockHeld, NotFound, NotRunning, StartFailed, TimedOut
from core.orders import answered, place
from core.paths import Paths
from core.process import ProcessRef, is_alive, send_signal, spawn, spawned
from core.status import ProgramView, State, SupervisorView, is_fresh, read_heartbeat, read_supervisor_view
from weaver.adoption import WEAVER, living, lock_home, weaver_process
from weaver.desired import BASE_BUILDER, TRAINER, write_down
from weaver.notifier import UNIT_VARIABLE, VARIABLES
from weaver.outputs import last_line
from weaver.supervisor import Supervisor
from weaver.wishes import LastWish, Wishes

LOOK_S = 0.05
DEAF_S = 5.0
ORDER_S = 15.0
CONTAINER_VARIABLE = "WEAVER_IN_CONTAINER"  # set by the image
_GIVEN_UP = (State.PARKED, State.FATAL)
_IN_CONTAINER = (
    "In a container the Weaver is the main program, and Docker starts it again when it ends. Stop the container: `docker"
    " compose stop` saves first, and what it stopped stays stopped until `docker compose start`."
)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _until(is_so: Callable[[], bool], seconds: float) -> bool:
    """Look again and again; False when it did not become so in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True


def up(home: Path, wait_s: float = 120.0) -> None:
    """Start the Weaver and wait until every wanted program runs; when it runs already, say so; a frozen one is replaced.

    Raises InvalidConfig, InvalidData, StartFailed, Degraded (a program was given up), TimedOut.
    """
    paths = Paths(home.resolve())
    write_down(paths, False)
    problem = Wishes(paths, os.environ).problem  # where there never was a good configuration: an error here, not in a log
    if problem:
        _say(f"weaver: {problem}")
    running = weaver_process(paths)
    view = read_supervisor_view(paths)
    if running and view and view.stopping and view.pid == running.pid:
        _say(f"The Weaver of {paths.home} (pid {running.pid}) is stopping; a new one is started when it has ended.")
        _await_end(paths, running)
    elif running and _answers(paths, running):
        _say(f"Weaver already runs in {paths.home} (pid {running.pid}).")
        return
    elif running:
        _say(
            f"The Weaver of {paths.home} (pid {running.pid}) does not answer: it is killed, a new one takes over what it left."
        )
        send_signal(running, signal.SIGKILL)
        _until(lambda: not is_alive(running), DEAF_S)
    environ = {name: value for name, value in os.environ.items() if name not in VARIABLES} | {"WEAVER_HOME": str(paths.home)}
    out = paths.logs / "weaver.out"
    child = spawn([sys.executable, "-m", "weaver", "supervise"], WEAVER, paths.home_id, out, environ, paths.home)
    await_health(paths, wait_s, child)


def _answers(paths: Paths, weaver: ProcessRef) -> bool:
    """Say whether a Weaver keeps its promise, or does so within DEAF_S: it may have started just now."""

    def is_fresh_beat() -> bool:
        beat = read_heartbeat(paths, WEAVER)
        return beat is not None and beat.process == weaver and is_fresh(beat, time.monotonic())

    return _until(is_fresh_beat, DEAF_S)


def await_health(paths: Paths, wait_s: float, child: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until every program of a Weaver that was just started runs: a child of ours, or None: of systemd.

    Raises StartFailed, Degraded (a program was given up), TimedOut.
    """
    late: list[str] = ["the Weaver has not said anything yet"]

    def is_settled() -> bool:
        if child is not None and child.poll() is not None:
            other = weaver_process(paths)
            if child.returncode == LockHeld.exit_code and other is not None:
                _say(f"Weaver already runs in {paths.home} (pid {other.pid}).")
                late.clear()
                return True
            raise StartFailed(program="The Weaver", code=child.returncode, detail=last_line(paths.logs / "weaver.out"))
        view = read_supervisor_view(paths)
        started = child or weaver_process(paths)
        if view is None or started is None or view.pid != started.pid:
            return False
        late[:] = [_describe(item) for item in view.programs if not _is_healthy(paths, item)]
        return all(_is_healthy(paths, item) or item.state in _GIVEN_UP for item in view.programs)

    if not _until(is_settled, wait_s):
        raise TimedOut(what=f"the start of everything ({'; '.join(late)})", seconds=wait_s)
    if late:
        raise Degraded(home=paths.home, detail="; ".join(late))


def _describe(program: ProgramView) -> str:
    return f"{program.name} is {program.state}" + (f" ({program.reason})" if program.reason else "")


def _is_healthy(paths: Paths, program: ProgramView) -> bool:
    beat = read_heartbeat(paths, program.name)
    return program.state is State.RUNNING and beat is not None and beat.pid == program.pid and is_fresh(beat, time.monotonic())


def down(home: Path) -> int:
    """Stop everything of this home, whether or not a Weaver runs; give 0. Raises LockHeld, and Conflict in a container.

    Called by a person it is kept: systemd does not start the factory with the machine until somebody does.
    """
    paths = Paths(home.resolve())
    if CONTAINER_VARIABLE in os.environ:
        raise Conflict(detail=_IN_CONTAINER)
    if UNIT_VARIABLE not in os.environ:
        _keep_down(paths)
    weaver = weaver_process(paths)
    if weaver is not None:
        _say(f"Stopping Weaver in {paths.home} (pid {weaver.pid}); a running training saves first.")
        send_signal(weaver, signal.SIGTERM)
        _await_end(paths, weaver)
    held = _lock_in_time(paths)
    try:
        is_left = any(program != WEAVER for program, _ in spawned(paths.home_id)) or bool(living(paths))
        if is_left:
            Supervisor(paths, os.environ, LastWish(), stopping=True).run()
    finally:
        os.close(held)
    _say("Everything has stopped." if weaver or is_left else f"Nothing runs in {paths.home}.")
    return 0


def _keep_down(paths: Paths) -> None:
    try:
        write_down(paths, True)
    except (InvalidData, OSError) as error:  # it is stopped all the same
        _say(f"It could not be noted that this is to stay stopped: {error}")


def _await_end(paths: Paths, weaver: ProcessRef) -> None:
    """Wait for the Weaver's end as long as it beats: its own deadlines end the rest. A deaf one is killed."""
    heard = time.monotonic()
    while is_alive(weaver):
        beat = read_heartbeat(paths, WEAVER)
        now = time.monotonic()
        if beat is not None and beat.process == weaver and now <= beat.next_due_mono:
            heard = now
        elif now - heard > DEAF_S:
            _say(f"The Weaver (pid {weaver.pid}) does not answer: it is killed.")
            send_signal(weaver, signal.SIGKILL)
            heard = now
        time.sleep(LOOK_S)


def _lock_in_time(paths: Paths) -> int:
    deadline = time.monotonic() + DEAF_S
    while True:
        try:
            return lock_home(paths)
        except LockHeld:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_S)


def restart(home: Path, name: str, wait_s: float = 60.0) -> None:
    """Have a program started anew, whatever its state, and wait until it runs.

    Raises NotRunning, NotFound, Conflict (it cannot be restarted now), Degraded, TimedOut.
    """
    paths = Paths(home.resolve())
    view = read_supervisor_view(paths)
    if weaver_process(paths) is None or view is None:
        raise NotRunning(home=paths.home)
    known = [program.name for program in view.programs] + [TRAINER]
    if name not in known or name == BASE_BUILDER:
        raise NotFound(kind="program", name=name, known=", ".join(known))
    before = _program(view, name)
    order = place(paths, WEAVER, "restart", {"name": name}, getpass.getuser(), SystemClock().now())
    if not _until(lambda: answered(paths, order.id) is not None, ORDER_S):
        raise TimedOut(what=f"an answer of the Weaver to the order {order.id}", seconds=ORDER_S)
    reply = answered(paths, order.id)
    if reply is not None and not reply.ok:
        raise Conflict(detail=reply.message)
    if before is not None:
        _await_restart(paths, before, wait_s)


def _await_restart(paths: Paths, before: ProgramView, wait_s: float) -> None:
    now = before

    def is_settled() -> bool:
        nonlocal now
        view = read_supervisor_view(paths)
        now = (_program(view, before.name) if view else None) or now
        is_new = now.pid != before.pid and now.state is State.RUNNING
        return is_new or (now.state in _GIVEN_UP and now != before)

    if not _until(is_settled, wait_s):
        raise TimedOut(what=f"the restart of {before.name} ({_describe(now)})", seconds=wait_s)
    if now.state in _GIVEN_UP:
        raise Degraded(home=paths.home, detail=_describe(now))


def _program(view: SupervisorView, name: str) -> ProgramView | None:
    return next((program for program in view.programs if program.name == name), None)

"""The supervisor's shell on real processes that pretend: deaths, hangs, parking, adoption, stopping, orders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import LockHeld
from core.files import read_records
from core.orders import answered, place
from core.paths import Paths
from core.process import is_alive, spawned
from core.status import ProgramView, State, read_heartbeat, read_supervisor_view
from tests.fakes import delete_status, home_environment, make_home, wait_for
from weaver.adoption import living, lock_home, ref_of

SCRIPT = str(Path(__file__).with_name("weaver_of_pretenders.py"))


class Stage:
    """A home and the Weavers that the test starts in it."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.weavers: list[subprocess.Popen[bytes]] = []

    def start(self, *programs: str) -> subprocess.Popen[bytes]:
        """Start a Weaver over pretenders, each NAME:MANNER[:AFTER]."""
        weaver = subprocess.Popen([sys.executable, SCRIPT, *programs], env=home_environment(self.paths), cwd=self.paths.home)
        self.weavers.append(weaver)
        return weaver

    def program(self, name: str) -> ProgramView | None:
        """Give what the newest Weaver says of a program."""
        view = read_supervisor_view(self.paths)
        if view is None or view.pid != self.weavers[-1].pid:
            return None
        return next((program for program in view.programs if program.name == name), None)

    def until(self, name: str, *states: State, restarts: int = 0, seconds: float = 20.0) -> ProgramView:
        """Wait until a program is in one of these states and was restarted so often."""

        def look() -> ProgramView | None:
            program = self.program(name)
            return program if program and program.state in states and program.restarts >= restarts else None

        return wait_for(f"{name} {states} ({self.program(name)})", look, seconds)

    def log(self) -> str:
        return (self.paths.logs / "weaver.jsonl").read_text()

    def events(self) -> str:
        return "".join(record.decode() for record in read_records(self.paths.logs / "events" / "weaver.jsonl"))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(make_home(tmp_path / "home"))
    yield stage
    for weaver in stage.weavers:
        weaver.kill()
        weaver.wait()
    for ref in living(stage.paths).values():
        os.kill(ref.pid, signal.SIGKILL)


def pid_of(program: ProgramView) -> int:
    assert program.pid is not None
    return program.pid


def test_killed_program_runs_again_within_half_a_second(stage: Stage) -> None:
    stage.start("one:steady")
    first = pid_of(stage.until("one", State.RUNNING))
    killed_at = time.monotonic()
    os.kill(first, signal.SIGKILL)
    again = stage.until("one", State.STARTING, State.RUNNING, restarts=1)
    assert again.pid != first and again.last_exit == -9
    assert again.started_mono is not None and again.started_mono - killed_at < 0.5
    stage.until("one", State.RUNNING, restarts=1)


def test_second_death_waits_and_the_state_says_so(stage: Stage) -> None:
    stage.start("one:crashes")
    program = stage.until("one", State.BACKOFF, restarts=2)
    assert program.last_exit == 1 and "exit code 1" in program.reason
    assert "next start in 2." in stage.log()
    assert stage.events().count('"event": "died", "name": "one", "reason": "exit code 1') >= 3


def test_misconfigured_program_is_parked_loudly_and_a_change_of_config_frees_it(stage: Stage) -> None:
    stage.start("one:misconfigured", "two:steady")
    parked = stage.until("one", State.PARKED)
    assert (parked.last_exit, parked.reason, parked.restarts) == (78, "the port is taken", 0)
    assert '"level": "critical"' in stage.log() and "the port is taken" in stage.events()
    stage.until("two", State.RUNNING)
    training = stage.paths.config / "training.yaml"
    training.write_text(training.read_text() + "# touched\n")
    stage.until("one", State.PARKED, restarts=1)


def test_spent_budget_is_restarted(stage: Stage) -> None:
    stage.start("one:spent")
    assert stage.until("one", State.BACKOFF, State.STARTING, restarts=1).last_exit == 75


@pytest.mark.parametrize("manner", ["frozen", "silent", "parent"])
def test_hung_program_is_ended_with_sigkill_and_started_anew(stage: Stage, manner: str) -> None:
    """About 8 s: a Weaver that has just started calls nobody hung for 6 s."""
    stage.start(f"one:{manner}")
    first = pid_of(stage.until("one", State.RUNNING, State.STARTING))
    again = stage.until("one", State.STARTING, State.RUNNING, restarts=1)
    assert again.pid != first
    assert "hung" in stage.log() and "SIGKILL to one" in stage.log()
    assert again.last_exit == -9
    assert '"event": "terminated", "name": "one", "reason": "hung' in stage.events()
    if manner == "parent":
        child = Path(f"/proc/{(stage.paths.home / 'child.pid').read_text()}")
        wait_for("the end of its child", lambda: again.pid != first and not _is_alive(child))


def _is_alive(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_program_waits_for_the_one_it_needs(stage: Stage) -> None:
    stage.start("oracle:steady", "probe:steady:oracle")
    oracle, probe = stage.until("oracle", State.RUNNING), stage.until("probe", State.RUNNING)
    assert oracle.started_mono is not None and probe.started_mono is not None
    log = stage.log()
    assert log.index("oracle is RUNNING") < log.index("started probe")


def test_new_weaver_adopts_what_the_killed_one_left(stage: Stage) -> None:
    weaver = stage.start("one:steady", "two:steady")
    before = {name: pid_of(stage.until(name, State.RUNNING)) for name in ("one", "two")}
    weaver.kill()
    weaver.wait()
    delete_status(stage.paths)  # the marks in the environment are enough
    stage.start("one:steady", "two:steady")
    after = {name: stage.until(name, State.RUNNING) for name in ("one", "two")}
    assert {name: program.pid for name, program in after.items()} == before
    os.kill(before["one"], signal.SIGKILL)
    again = stage.until("one", State.RUNNING, restarts=1)
    assert again.pid != before["one"] and again.last_exit is None, "a stranger's exit code is not known"


def test_exit_code_of_an_adopted_program_is_its_last_beats(stage: Stage) -> None:
    weaver = stage.start("one:steady")
    first = pid_of(stage.until("one", State.RUNNING))
    weaver.kill()
    weaver.wait()
    stage.start("one:steady")
    stage.until("one", State.RUNNING)
    os.kill(first, signal.SIGTERM)
    assert stage.until("one", State.RUNNING, restarts=1).last_exit == 0


def test_stopping_goes_backwards_kills_the_deaf_and_leaves_nothing(stage: Stage) -> None:
    weaver = stage.start("one:steady", "two:deaf", "three:steady")
    refs = []
    for name in ("one", "two", "three"):
        stage.until(name, State.RUNNING)
        beat = read_heartbeat(stage.paths, name)
        assert beat is not None
        refs.append(ref_of(beat))
    weaver.send_signal(signal.SIGTERM)
    assert weaver.wait(10.0) == 0
    assert not any(map(is_alive, refs))
    log = stage.log()
    signals = ["SIGTERM to three", "SIGTERM to two", "SIGKILL to two", "SIGTERM to one"]
    assert sorted(signals, key=log.index) == signals
    last = read_heartbeat(stage.paths, "weaver")
    assert last is not None and (last.exit_code, last.state) == (0, State.EXITED)
    view = read_supervisor_view(stage.paths)
    assert view is not None and {program.state for program in view.programs} == {State.STOPPED}


def test_children_of_a_killed_program_are_swept_when_everything_stops(stage: Stage) -> None:
    weaver = stage.start("one:steady")
    mark = {**home_environment(stage.paths), "WEAVER_SPAWN": f"{stage.paths.home_id}:one"}
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], env=mark) as child:
        stage.until("one", State.RUNNING)
        assert child.poll() is None, "while the factory runs it is left alone"
        weaver.send_signal(signal.SIGTERM)
        assert child.wait(10.0) == -signal.SIGKILL
    assert weaver.wait(10.0) == 0
    assert not list(spawned(stage.paths.home_id))


def test_second_weaver_of_a_home_names_the_first(stage: Stage) -> None:
    weaver = stage.start("one:steady")
    stage.until("one", State.RUNNING)
    with pytest.raises(LockHeld, match=f"pid {weaver.pid}"):
        lock_home(stage.paths)


def test_deleted_status_comes_back_within_ten_seconds(stage: Stage) -> None:
    stage.start("one:steady")
    first = stage.until("one", State.RUNNING)
    delete_status(stage.paths)
    assert wait_for("supervisor.json", lambda: stage.program("one"), 10.0) == first
    wait_for("weaver.json", lambda: read_heartbeat(stage.paths, "weaver"), 10.0)


def test_orders_are_obeyed_and_answered(stage: Stage) -> None:
    stage.start("one:steady", "two:misconfigured")
    first = pid_of(stage.until("one", State.RUNNING))
    stage.until("two", State.PARKED)
    good = place(stage.paths, "weaver", "restart", {"name": "one"}, "test", datetime.now(UTC))
    assert stage.until("one", State.RUNNING, restarts=1).pid != first
    place(stage.paths, "weaver", "restart", {"name": "two"}, "test", datetime.now(UTC))
    stage.until("two", State.PARKED, restarts=1)
    unknown = place(stage.paths, "weaver", "restart", {"name": "nobody"}, "test", datetime.now(UTC))
    absurd = place(stage.paths, "weaver", "dance", {}, "test", datetime.now(UTC))
    for order, ok in ((good, True), (unknown, False), (absurd, False)):
        reply = wait_for("an answer", lambda order=order: answered(stage.paths, order.id))  # type: ignore[misc]
        assert reply.ok is ok, reply


def test_broken_configuration_leaves_everything_running_and_is_said(stage: Stage) -> None:
    stage.start("one:steady")
    first = stage.until("one", State.RUNNING)
    (stage.paths.config / "weaver.yaml").write_text("modell: tiny\n")

    def said() -> bool:
        beat = read_heartbeat(stage.paths, "weaver")
        return bool(beat and beat.last_error and "did you mean 'model'" in beat.last_error)

    wait_for("the error in the Weaver's heartbeat", said)
    assert stage.program("one") == first


def test_program_that_cannot_be_started_is_tried_again_and_the_others_run(stage: Stage) -> None:
    (stage.paths.logs / "one.out").mkdir()
    stage.start("one:steady", "two:steady")
    stage.until("two", State.RUNNING)
    program = stage.until("one", State.BACKOFF, restarts=2)
    assert program.pid is None
    assert "one could not be started" in stage.log()
    (stage.paths.logs / "one.out").rmdir()
    stage.until("one", State.RUNNING)

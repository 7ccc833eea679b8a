"""The supervisor's shell on real processes that pretend: deaths, hangs, parking, adoption, stopping, orders."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from core.accounting.processes import compare, look
from core.clock import boot_id
from core.errors import LockHeld
from core.files import read_records, replace_durable
from core.log import OUT_BYTES, OUT_FLOOD_BYTES
from core.orders import answered, place
from core.paths import Paths
from core.process import ProcessRef, is_alive, spawned, start_ticks
from core.records import encode_pretty, read
from core.status import Heartbeat, ProgramView, State, is_fresh, read_heartbeat, read_supervisor_view, write_heartbeat
from tests.fakes import delete_status, home_environment, make_home, wait_for
from weaver.adoption import living, lock_home
from weaver.backoff import CRASH_LOOP
from weaver.desired import DesiredRecord
from weaver.memory import Memory, SupervisionRecord
from weaver.observed import Track
from weaver.processes import Processes
from weaver.wishes import Wishes

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


def beat(paths: Paths, name: str, pid: int, ticks: int, boot: str | None = None) -> None:
    """Forge a heartbeat that is past its promise."""
    write_heartbeat(paths, Heartbeat(
        name=name, pid=pid, start_ticks=ticks, boot_id=boot or boot_id(), state=State.RUNNING, seq=1, beat_mono=0.0,
        next_due_mono=0.0, beat_at="", phase="", note="", last_report=None, last_error=None, exit_code=None, version="0",
    ))  # fmt: skip


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


HUNG = {"frozen": "main", "silent": "main", "parent": "sleep_here", "spinning": "spin_here", "sleeping": "sleep_here"}
HUNG |= {"reading": "read_here"}  # the function that its stacks must show


def test_hung_programs_show_their_stacks_and_are_ended_with_sigkill_and_started_anew(stage: Stage) -> None:
    """About 10 s: a Weaver that has just started calls nobody hung for 6 s."""
    stage.start(*(f"{manner}:{manner}" for manner in HUNG))
    first = {manner: pid_of(stage.until(manner, State.RUNNING, State.STARTING)) for manner in HUNG}
    child = child_of(stage)
    for manner, function in HUNG.items():
        again = stage.until(manner, State.STARTING, State.RUNNING, restarts=1)
        assert again.pid != first[manner] and again.last_exit == -9
        assert f"SIGTERM to {manner}: hung" in stage.log() and f"SIGKILL to {manner}" in stage.log()
        assert f'"event": "terminated", "name": "{manner}", "reason": "hung' in stage.events()
        printed = (stage.paths.logs / f"{manner}.out").read_text()
        assert "most recent call first" in printed and f"in {function}" in printed
        assert f"the stacks of {manner}'s threads are in logs/{manner}.out" in stage.log()
    wait_for("the end of the parent's child", lambda: not _is_alive(child))


def test_stopped_program_is_let_go_on_so_that_it_can_end_in_order(stage: Stage) -> None:
    """About 8 s, as above: SIGSTOP is a hang as well, and a trainer that goes on for a moment saves."""
    stage.start("one:stopped")
    first = pid_of(stage.until("one", State.RUNNING))
    again = stage.until("one", State.STARTING, State.RUNNING, restarts=1)
    assert again.pid != first and again.last_exit == 0, "it took the SIGTERM"
    assert "hung" in stage.log() and "SIGKILL" not in stage.log()


def test_program_that_shows_no_stacks_is_not_killed_by_the_question(stage: Stage) -> None:
    """SIGUSR2 ends a process that does not expect it: before it is sent, the kernel is asked."""
    with subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(100)"],
                          stdout=subprocess.PIPE) as child:  # fmt: skip
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        ref = ProcessRef(pid=child.pid, start_ticks=start_ticks(child.pid) or 0, boot_id=boot_id())
        processes = Processes(os.eventfd(0))
        assert processes.adopt("one", ref) and not processes.ask_for_stacks("one")
        assert child.poll() is None
        child.kill()


def child_of(stage: Stage) -> Path:
    path = stage.paths.home / "child.pid"
    return Path(f"/proc/{wait_for('a child', lambda: path.read_text() if path.exists() else '')}")


def test_what_a_killed_program_leaves_in_its_session_is_ended_before_its_replacement_starts(stage: Stage) -> None:
    stage.start("one:mother")
    first = pid_of(stage.until("one", State.RUNNING))
    orphan = child_of(stage)
    os.kill(first, signal.SIGKILL)
    stage.until("one", State.RUNNING, restarts=1)
    assert not orphan.exists(), "ended and reaped: the Weaver is the parent of orphans"
    log = stage.log()
    assert log.index(f"SIGKILL to pid {orphan.name}, left over from one") < log.rindex("started one")


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
        refs.append(beat.process)
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


@pytest.mark.parametrize("state", [State.PARKED, State.FATAL])
def test_killed_weaver_forgets_nothing_that_was_given_up_even_without_status(stage: Stage, state: State) -> None:
    manner = "misconfigured" if state is State.PARKED else "crashes"
    past = Track("one", State.BACKOFF, deaths=1, short_lives=CRASH_LOOP - 1, starts=7, last_exit=1)
    mark = Wishes(stage.paths, home_environment(stage.paths)).mark
    Memory(stage.paths, logging.getLogger("test")).keep({"one": past}, mark, 0.0)
    weaver = stage.start(f"one:{manner}")
    before = stage.until("one", state)
    weaver.kill()
    weaver.wait()
    delete_status(stage.paths)
    weaver = stage.start(f"one:{manner}", "two:steady")
    after = stage.until("one", state)
    stage.until("two", State.RUNNING)
    assert after == before and "started one" not in stage.log().split("started (pid")[-1]
    weaver.send_signal(signal.SIGTERM)
    assert weaver.wait(10.0) == 0
    stage.start("one:steady")
    assert stage.until("one", State.RUNNING).restarts == 0, "after an orderly stop everything begins anew"


def test_after_a_reboot_what_was_switched_off_stays_off_and_nothing_old_is_taken_for_alive(stage: Stage) -> None:
    """Another boot id in every file is what a reboot leaves; the pids now belong to others."""
    replace_durable(stage.paths.desired, encode_pretty(DesiredRecord(off=("web",))))
    with subprocess.Popen(["sleep", "100"]) as foreign:
        ticks = start_ticks(foreign.pid) or 0
        for name in ("web", "reclaim_stale", "trainer", "weaver"):
            beat(stage.paths, name, pid=foreign.pid, ticks=ticks, boot="a former boot")
        past = Track("reclaim_stale", State.BACKOFF, deaths=9, retry=time.monotonic() + 200.0, starts=9)
        mark = Wishes(stage.paths, home_environment(stage.paths)).mark
        Memory(stage.paths, logging.getLogger("test")).keep({"reclaim_stale": past}, mark, 0.0)
        record = read(SupervisionRecord, stage.paths.supervision)
        replace_durable(stage.paths.supervision, encode_pretty(msgspec.structs.replace(record, boot_id="a former boot")))
        weaver = stage.start("web:steady", "reclaim_stale:steady")
        assert stage.until("reclaim_stale", State.RUNNING).restarts == 9, "it waits for no time of a former boot"
        assert stage.program("web") is None and set(living(stage.paths)) == {"reclaim_stale"}
        weaver.send_signal(signal.SIGTERM)
        assert weaver.wait(10.0) == 0
        assert foreign.poll() is None and "adopted" not in stage.log()
        foreign.kill()


def test_what_outlives_the_program_that_started_it_is_left_alone_and_reaped_when_it_ends(stage: Stage) -> None:
    """The trainer outlives train_next, which started it: then the Weaver is its parent, as it is of all orphans."""
    stage.start("one:starter")
    first = stage.until("one", State.RUNNING)
    wait_for("the child of one", lambda: "two" in living(stage.paths))
    os.kill(pid_of(first), signal.SIGKILL)
    stage.until("one", State.RUNNING, restarts=1)
    orphan = living(stage.paths)["two"]
    parent = Path(f"/proc/{orphan.pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert int(parent) == stage.weavers[-1].pid
    os.kill(orphan.pid, signal.SIGTERM)
    wait_for("the end of it in the table of processes", lambda: not Path(f"/proc/{orphan.pid}").exists())


def test_back_off_goes_on_where_the_killed_weaver_was(stage: Stage) -> None:
    weaver = stage.start("one:crashes")
    stage.until("one", State.BACKOFF, restarts=2)
    weaver.kill()
    weaver.wait()
    delete_status(stage.paths)
    stage.start("one:crashes")
    stage.until("one", State.BACKOFF, restarts=3)
    assert "next start in 4." in stage.log(), "the fourth death in a row"


def test_heartbeat_of_a_pid_that_now_is_another_process_signals_nobody(stage: Stage) -> None:
    """About 7 s: the forged beat is long past its promise, and everything is stopped in the end."""
    with subprocess.Popen(["sleep", "100"]) as foreign:
        ticks = start_ticks(foreign.pid) or 0
        beat(stage.paths, "one", pid=foreign.pid, ticks=ticks - 1)
        beat(stage.paths, "stranger", pid=foreign.pid, ticks=ticks - 1)
        weaver = stage.start("one:steady")
        assert pid_of(stage.until("one", State.RUNNING)) != foreign.pid
        beat(stage.paths, "stranger", pid=foreign.pid, ticks=ticks - 1, boot="another boot")
        weaver.send_signal(signal.SIGTERM)
        assert weaver.wait(10.0) == 0
        assert foreign.poll() is None and str(foreign.pid) not in stage.log().replace(str(weaver.pid), "")
        foreign.kill()


def test_flood_of_a_hundred_thousand_lines_a_second_stays_bounded(stage: Stage) -> None:
    """About 10 s: at 10 MB a second the file is cut several times."""
    stage.start("one:flood")
    stage.until("one", State.RUNNING)
    path, longest, cuts, size = stage.paths.logs / "one.out", 0, 0, 0
    deadline = time.monotonic() + 60.0
    while cuts < 3:
        assert time.monotonic() < deadline, f"{cuts} cuts, {size} bytes"
        before, size = size, path.stat().st_size
        longest, cuts = max(longest, size), cuts + (size < before)
        time.sleep(0.01)
    print(f"longest: {longest / 1e6:.1f} MB")
    assert longest < OUT_BYTES + OUT_FLOOD_BYTES
    assert stage.until("one", State.RUNNING).restarts == 0, "it was not disturbed"


def test_view_that_cannot_be_written_stops_neither_restarts_nor_the_cutting_of_outputs(stage: Stage) -> None:
    weaver = stage.start("one:steady")
    first = pid_of(stage.until("one", State.RUNNING))
    stage.paths.supervisor.unlink()
    (stage.paths.supervisor / "in the way").mkdir(parents=True)
    with (stage.paths.logs / "one.out").open("ab") as out:
        out.truncate(OUT_BYTES + 1)
    os.kill(first, signal.SIGKILL)
    wait_for("another process", lambda: (found := read_heartbeat(stage.paths, "one")) and found.pid != first)
    wait_for("a shorter file", lambda: (stage.paths.logs / "one.out").stat().st_size < OUT_BYTES)
    assert "the view of the programs could not be written" in stage.log() and "this step failed" not in stage.log()
    weaver.send_signal(signal.SIGTERM)
    assert weaver.wait(10.0) == 0, "and stopping ends in order"
    assert not list(spawned(stage.paths.home_id))


def let_pass(seconds: float) -> None:
    """Let steps of the Weaver pass that leave nothing to wait for."""
    since = time.monotonic()
    wait_for("some steps", lambda: time.monotonic() - since > seconds)


def test_death_that_cannot_be_recorded_at_once_is_recorded_when_it_can(stage: Stage) -> None:
    """A Weaver that may open no file reads neither /proc nor heartbeats."""
    weaver = stage.start("one:steady", "two:steady", "three:frozen")
    first, other = pid_of(stage.until("one", State.RUNNING)), stage.until("two", State.RUNNING)
    hung = pid_of(stage.until("three", State.RUNNING))
    limits = resource.prlimit(weaver.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(weaver.pid, resource.RLIMIT_NOFILE, (4, limits[1]))
    os.kill(first, signal.SIGKILL)
    wait_for("the end of the first process", lambda: not Path(f"/proc/{first}").exists())
    let_pass(1.5)
    resource.prlimit(weaver.pid, resource.RLIMIT_NOFILE, limits)
    again = stage.until("one", State.RUNNING, restarts=1)
    assert (again.restarts, again.last_exit) == (1, -9) and again.pid != first
    assert stage.events().count('"event": "died", "name": "one"') == 1, "it died once"
    assert stage.program("two") == other
    assert pid_of(stage.until("three", State.RUNNING, State.STARTING, restarts=1)) != hung, "what hangs is still ended"
    weaver.send_signal(signal.SIGTERM)
    assert weaver.wait(10.0) == 0
    assert not list(spawned(stage.paths.home_id))


def test_program_that_dies_because_nothing_can_be_written_is_not_given_up_and_tried_when_it_can(stage: Stage) -> None:
    """About 16 s: the Weaver must miss its own promise first. A limit on the size of files is a full disk for it alone."""
    past = Track("one", deaths=1, short_lives=CRASH_LOOP - 1, starts=1)
    mark = Wishes(stage.paths, home_environment(stage.paths)).mark
    Memory(stage.paths, logging.getLogger("test")).keep({"one": past}, mark, 0.0)
    weaver = stage.start("one:steady")
    first = pid_of(stage.until("one", State.RUNNING))
    limits = resource.prlimit(weaver.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(weaver.pid, resource.RLIMIT_FSIZE, (0, limits[1]))  # what it starts now inherits the limit
    wait_for("its silence", lambda: not ((beat := read_heartbeat(stage.paths, "weaver")) and is_fresh(beat, time.monotonic())))
    os.kill(first, signal.SIGKILL)
    seen = {first}
    wait_for("three more lives", lambda: seen.update(ref.pid for ref in living(stage.paths).values()) or len(seen) > 3)  # type: ignore[func-returns-value]
    resource.prlimit(weaver.pid, resource.RLIMIT_FSIZE, limits)
    lifted = time.monotonic()
    again = stage.until("one", State.RUNNING, restarts=len(seen))
    assert again.started_mono is not None and again.started_mono - lifted < 5.0, "its back-off would have been 8 s"
    assert pid_of(again) not in seen and "FATAL" not in stage.log() and "given up" not in stage.events()
    assert "heartbeats could not be written, and can be again" in stage.log()


def test_new_weaver_adopts_and_replaces_what_has_no_readable_heartbeat(stage: Stage) -> None:
    weaver = stage.start("one:steady")
    first = pid_of(stage.until("one", State.RUNNING))
    weaver.kill()
    weaver.wait()
    os.kill(first, signal.SIGSTOP)  # its own beats would repair the file
    heartbeat = stage.paths.heartbeat("one")
    heartbeat.unlink()
    heartbeat.mkdir()
    stage.start("one:steady")
    assert pid_of(stage.until("one", State.STARTING)) == first
    os.kill(first, signal.SIGKILL)
    wait_for("its death", lambda: f"one (pid {first}) has ended" in stage.log())
    heartbeat.rmdir()
    assert pid_of(stage.until("one", State.RUNNING)) != first


def test_process_that_cannot_be_held_is_ended_and_one_that_is_not_held_is_signalled_by_nobody() -> None:
    processes = Processes(os.eventfd(0))
    assert not processes.signal("one", signal.SIGTERM) and not processes.ask_for_stacks("one")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with subprocess.Popen(["sleep", "100"]) as child:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                processes.hold_child("one", child)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert child.wait(10.0) == -signal.SIGKILL and "one" not in processes


def test_event_that_cannot_be_written_holds_up_no_signal_and_no_restart(stage: Stage) -> None:
    """About 8 s: a Weaver that has just started calls nobody hung for 6 s."""
    (stage.paths.logs / "events" / "weaver.jsonl").mkdir()
    stage.start("one:frozen", "two:steady", "three:misconfigured")
    stage.until("three", State.PARKED)
    first = pid_of(stage.until("two", State.RUNNING))
    stage.until("one", State.STARTING, State.RUNNING, restarts=1)
    os.kill(first, signal.SIGKILL)
    assert pid_of(stage.until("two", State.RUNNING, restarts=1)) != first
    assert "the event terminated of one could not be written" in stage.log()
    assert "the event parked of three could not be written" in stage.log()


def test_order_that_cannot_be_answered_holds_up_nothing_and_is_obeyed_once_it_can(stage: Stage) -> None:
    done = stage.paths.orders / "done"
    stage.start("one:steady", "two:steady")
    first, other = (pid_of(stage.until(name, State.RUNNING)) for name in ("one", "two"))
    done.rmdir()
    done.write_text("in the way")
    order = place(stage.paths, "weaver", "restart", {"name": "one"}, "test", datetime.now(UTC))
    wait_for("the error", lambda: "orders wait" in stage.log())
    os.kill(other, signal.SIGKILL)
    stage.until("two", State.RUNNING, restarts=1)
    assert pid_of(stage.until("one", State.RUNNING)) == first, "an order that is not answered would be obeyed again and again"
    done.unlink()
    wait_for("the answer", lambda: answered(stage.paths, order.id))
    assert pid_of(stage.until("one", State.RUNNING, restarts=1)) != first


def test_action_that_fails_holds_up_no_other_and_is_said_once(stage: Stage) -> None:
    stage.start("one:NUL", "two:steady")
    first = pid_of(stage.until("two", State.RUNNING))
    os.kill(first, signal.SIGKILL)
    stage.until("two", State.RUNNING, restarts=1)
    assert stage.log().count("Start(name='one') failed, the next step tries again: embedded null byte") == 1


def test_clock_that_jumps_ten_years_changes_displayed_times_only(stage: Stage) -> None:
    stage.start("one:steady", "two:crashes")
    first = stage.until("one", State.RUNNING)
    (stage.paths.home / "jump").touch()
    beats = wait_for("a beat of another year", lambda: [
        found for found in [read_heartbeat(stage.paths, "weaver")] if found and found.beat_at > "2030"
    ])  # fmt: skip
    assert is_fresh(beats[0], time.monotonic())
    stage.until("two", State.BACKOFF, restarts=3)
    assert stage.program("one") == first and "hung" not in stage.log()
    (stage.paths.home / "jump").unlink()
    wait_for("a beat of this year", lambda: (found := read_heartbeat(stage.paths, "weaver")) and found.beat_at < "2030")
    assert stage.program("one") == first and "hung" not in stage.log()


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


def test_audit_calls_nobody_lost_when_status_was_just_deleted(stage: Stage) -> None:
    first = stage.start("one:steady")
    stage.until("one", State.RUNNING)
    first.kill()
    first.wait()
    stage.start("one:steady", "two:steady")  # the one is adopted, the other its own
    pids = {name: pid_of(stage.until(name, State.RUNNING)) for name in ("one", "two")}
    for _ in range(4):
        wait_for("the view", lambda: stage.program("two"), 20.0)
        delete_status(stage.paths)
        looks = look(stage.paths, time.monotonic()), look(stage.paths, time.monotonic())
        assert looks[0].processes >= len(pids)
        assert compare(*looks)[2].texts == []
    stage.weavers[-1].kill()
    stage.weavers[-1].wait()
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)  # no heartbeat comes back
    shutil.rmtree(stage.paths.status, ignore_errors=True)
    told = compare(look(stage.paths, time.monotonic()), look(stage.paths, time.monotonic()))[2].texts
    assert {int(text.split()[1]) for text in told} == set(pids.values()), "no Weaver lives: nobody looks after them"


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

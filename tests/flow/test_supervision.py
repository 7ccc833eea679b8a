"""up, down and restart on a real Weaver with real light daemons: kill, adopt, stop, with and without a Weaver."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import Degraded, InvalidConfig, NotFound, NotRunning, StartFailed
from core.keys import KEY_NAMES, read_key
from core.paths import Paths
from core.process import ProcessRef, is_alive, spawned
from core.status import State, read_heartbeat, read_supervisor_view
from tests.fakes import delete_status, switch_on, wait_for
from weaver.adoption import living, weaver_process
from weaver.lifecycle import down, restart, up

LIGHT = ("reclaim_stale", "rank_checkpoints", "prune_checkpoints")


@pytest.fixture
def factory(running_home: Paths) -> Paths:
    """Give a home in which the light daemons run under a Weaver."""
    switch_on(running_home, *LIGHT)
    up(running_home.home, wait_s=60.0)
    return running_home


def states(paths: Paths) -> dict[str, State]:
    view = read_supervisor_view(paths)
    return {program.name: program.state for program in view.programs} if view else {}


def weaver_of(paths: Paths) -> ProcessRef:
    weaver = weaver_process(paths)
    assert weaver is not None
    return weaver


def nothing_is_left(paths: Paths, refs: list[ProcessRef]) -> bool:
    return not any(map(is_alive, refs)) and not list(spawned(paths.home_id)) and not living(paths)


def test_up_starts_everything_and_makes_keys_and_a_second_up_says_so(
    factory: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert states(factory) == dict.fromkeys(("prune_checkpoints", "rank_checkpoints", "reclaim_stale"), State.RUNNING)
    assert all(read_key(factory.tokens / name) for name in KEY_NAMES)
    before = weaver_of(factory)
    up(factory.home)
    assert "already runs" in capsys.readouterr().err
    assert weaver_of(factory) == before
    assert os.getsid(before.pid) == before.pid, "closing the terminal does not end it"


def test_two_starts_at_once_give_one_weaver_and_no_error(running_home: Paths) -> None:
    switch_on(running_home, "reclaim_stale")
    starts = [subprocess.Popen([sys.executable, "-m", "weaver", "up"], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [start.communicate(timeout=60.0)[1] for start in starts]
    assert [start.returncode for start in starts] == [0, 0, 0], said
    assert [program for program, _ in spawned(running_home.home_id)].count("weaver") == 1


def test_ten_races_of_two_weavers_end_with_one_and_the_other_names_it(running_home: Paths) -> None:
    """About 10 s; `weaver drill --full` runs a hundred."""
    for race in range(10):
        racers = [
            subprocess.Popen([sys.executable, "-m", "weaver", "supervise"], stderr=subprocess.PIPE, text=True) for _ in range(2)
        ]
        wait_for("a loser", lambda both=racers: [racer for racer in both if racer.poll() is not None])  # type: ignore[misc]
        loser, winner = sorted(racers, key=lambda racer: racer.poll() is None)
        assert loser.returncode == 7 and f"pid {winner.pid}" in loser.communicate()[1], f"race {race}"
        wait_for("the Weaver", lambda: weaver_process(running_home))
        assert weaver_of(running_home).pid == winner.pid and winner.poll() is None
        winner.terminate()
        assert winner.wait(20.0) == 0 and not list(spawned(running_home.home_id))
        winner.communicate()


def test_killed_daemon_is_replaced_at_once(factory: Paths) -> None:
    old = living(factory)["reclaim_stale"]
    killed_at = time.monotonic()
    os.kill(old.pid, signal.SIGKILL)

    def replaced() -> bool:
        beat = read_heartbeat(factory, "reclaim_stale")
        return beat is not None and beat.pid != old.pid

    wait_for("a new reclaim_stale", replaced, 10.0)
    view = read_supervisor_view(factory)
    assert view is not None
    program = next(program for program in view.programs if program.name == "reclaim_stale")
    assert (program.restarts, program.last_exit) == (1, -signal.SIGKILL)
    print(f"dead to first heartbeat: {time.monotonic() - killed_at:.2f} s")
    assert program.started_mono is not None and program.started_mono - killed_at < 0.5


def test_killed_weaver_leaves_the_daemons_running_and_the_next_adopts_them(factory: Paths) -> None:
    before = living(factory)
    os.kill(weaver_of(factory).pid, signal.SIGKILL)
    wait_for("the end of the Weaver", lambda: weaver_process(factory) is None)
    assert living(factory) == before
    up(factory.home, wait_s=60.0)
    assert living(factory) == before


def test_up_replaces_a_frozen_weaver_and_the_new_one_adopts(factory: Paths) -> None:
    """About 11 s: a Weaver is given 6 s of promise and 5 s of silence."""
    before, frozen = living(factory), weaver_of(factory)
    os.kill(frozen.pid, signal.SIGSTOP)
    beat = read_heartbeat(factory, "weaver")
    assert beat is not None
    wait_for("the end of its promise", lambda: time.monotonic() > beat.next_due_mono)
    up(factory.home, wait_s=60.0)
    assert not is_alive(frozen) and weaver_of(factory) != frozen
    assert living(factory) == before


def test_down_stops_everything_and_a_second_down_is_fine(factory: Paths) -> None:
    refs = [weaver_of(factory), *living(factory).values()]
    assert down(factory.home) == 0
    assert nothing_is_left(factory, refs)
    assert set(states(factory).values()) == {State.STOPPED}
    assert down(factory.home) == 0


@pytest.mark.parametrize("what_is_lost", ["nothing", "status", "config"])
def test_down_without_a_weaver_leaves_nothing(factory: Paths, what_is_lost: str) -> None:
    refs = [weaver_of(factory), *living(factory).values()]
    os.kill(refs[0].pid, signal.SIGKILL)
    if what_is_lost == "status":
        delete_status(factory)
    elif what_is_lost == "config":
        (factory.config / "weaver.yaml").write_text("modell: broken\n")
    assert down(factory.home) == 0
    assert nothing_is_left(factory, refs)
    shutil.copy(Path(__file__).parents[2] / "config" / "weaver.yaml", factory.config)


def test_down_ends_what_ignores_sigterm_and_what_only_its_mark_betrays(factory: Paths) -> None:
    """About 5 s: the grace of a program that nobody knows."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(200)"
    environ = {**os.environ, "WEAVER_SPAWN": f"{factory.home_id}:parquet_reader"}
    stranger = {**os.environ, "WEAVER_SPAWN": "000000000000:web"}
    with (
        subprocess.Popen([sys.executable, "-c", deaf], env=environ, start_new_session=True, stdout=subprocess.PIPE) as child,
        subprocess.Popen([sys.executable, "-c", deaf], env=stranger, stdout=subprocess.PIPE) as other,
    ):
        assert child.stdout is not None and child.stdout.readline() == b"deaf\n"
        assert down(factory.home) == 0
        assert child.poll() == -signal.SIGKILL
        assert "SIGTERM to parquet_reader" in (factory.logs / "weaver.jsonl").read_text(), "it was asked first"
        assert other.poll() is None, "a process of another home is never touched"
        other.kill()


def test_down_called_by_a_marked_process_does_not_end_itself(factory: Paths) -> None:
    refs = [weaver_of(factory), *living(factory).values()]
    os.kill(refs[0].pid, signal.SIGKILL)
    marked = {**os.environ, "WEAVER_SPAWN": f"{factory.home_id}:web"}
    program = "import pathlib, weaver.lifecycle; weaver.lifecycle.down(pathlib.Path.cwd())"
    subprocess.run([sys.executable, "-c", program], env=marked, cwd=factory.home, start_new_session=True, check=True)
    assert nothing_is_left(factory, refs)


def test_deaf_weaver_is_killed_and_its_programs_are_stopped(factory: Paths) -> None:
    """About 10 s: a Weaver is given 6 s of promise and 5 s of silence."""
    refs = [weaver_of(factory), *living(factory).values()]
    os.kill(refs[0].pid, signal.SIGSTOP)
    assert down(factory.home) == 0
    assert nothing_is_left(factory, refs)


def test_restart_gives_a_new_process_and_unknown_names_are_refused(factory: Paths) -> None:
    before = living(factory)
    restart(factory.home, "rank_checkpoints")
    after = living(factory)
    assert after["rank_checkpoints"] != before["rank_checkpoints"]
    assert after["reclaim_stale"] == before["reclaim_stale"]
    with pytest.raises(NotFound, match="rank_checkpoints"):
        restart(factory.home, "nobody")


def test_switching_a_program_off_and_on_is_obeyed_while_everything_runs(factory: Paths) -> None:
    switch_on(factory, "reclaim_stale")
    wait_for("two fewer programs", lambda: set(living(factory)) == {"reclaim_stale"})
    switch_on(factory, *LIGHT)
    wait_for("all programs again", lambda: set(living(factory)) == set(LIGHT))


def test_restart_without_a_weaver_and_up_with_a_broken_configuration_are_errors(running_home: Paths) -> None:
    with pytest.raises(NotRunning):
        restart(running_home.home, "web")
    (running_home.config / "weaver.yaml").write_text("modell: tiny\n")
    with pytest.raises(InvalidConfig, match="did you mean 'model'"):
        up(running_home.home)
    assert weaver_process(running_home) is None


def test_up_says_what_was_given_up_and_the_rest_runs(running_home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_on(running_home, "reclaim_stale", "web")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("WEAVER_WEB_PORT", str(port))
        with pytest.raises(Degraded, match=f"web is PARKED.*{port}"):
            up(running_home.home, wait_s=60.0)
    assert states(running_home) == {"web": State.PARKED, "reclaim_stale": State.RUNNING}
    restart(running_home.home, "web")
    assert states(running_home)["web"] is State.RUNNING


def test_weaver_that_cannot_start_says_why(running_home: Paths) -> None:
    (running_home.logs / "weaver.jsonl").mkdir()
    with pytest.raises(StartFailed, match=r"weaver\.jsonl"):
        up(running_home.home)

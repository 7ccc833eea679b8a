"""`python -m daemons NAME` as a real process: signals, the lock, misconfiguration, memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.orders import place
from core.paths import Paths
from core.status import Heartbeat, State, is_fresh, read_heartbeat
from tests.fakes import delete_status, home_environment, wait_for

NAME = "reclaim_stale"
GOAL_PSS_KB = 25_000
ALONE_KB = 8_000  # what several daemons share (python, libc, libcrypto) counts whole when only one runs

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(paths: Paths) -> Iterator[Run]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemons", *arguments], env=home_environment(paths), cwd=paths.home,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def running(paths: Paths, process: subprocess.Popen[str]) -> Heartbeat:
    def look() -> Heartbeat | None:
        beat = read_heartbeat(paths, NAME)
        return beat if beat and beat.pid == process.pid and beat.state == State.RUNNING else None

    return wait_for("the first beat", look)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_a_waiting_daemon_at_once_with_exit_code_0(paths: Paths, run: Run, number: int) -> None:
    process = run(NAME)
    running(paths, process)
    process.send_signal(number)
    assert process.wait(2.0) == 0
    beat = read_heartbeat(paths, NAME)
    assert beat is not None and (beat.exit_code, beat.state) == (0, State.EXITED)


def test_daemon_shows_the_stacks_of_its_threads_when_asked_and_works_on(paths: Paths, run: Run) -> None:
    process = run(NAME)
    running(paths, process)
    process.send_signal(signal.SIGUSR2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=10.0)
    assert process.returncode == 0 and "most recent call first" in errors and "loop.py" in errors, errors


def test_killed_daemon_starts_again_and_its_lock_is_free(paths: Paths, run: Run) -> None:
    first = run(NAME)
    running(paths, first)
    second = run(NAME)
    assert second.wait(10.0) == 7
    assert str(first.pid) in second.communicate()[1]
    first.kill()
    first.wait()
    running(paths, run(NAME))


def test_deleted_status_folder_comes_back(paths: Paths, run: Run) -> None:
    running(paths, run(NAME))
    delete_status(paths)
    wait_for("the heartbeat", lambda: read_heartbeat(paths, NAME), 10.0)


def test_order_wakes_the_daemon_before_its_time(paths: Paths, run: Run) -> None:
    process = run(NAME)
    running(paths, process)
    wait_for("the watch of the orders folder", lambda: _watches(process.pid))

    def last_report() -> str:
        beat = read_heartbeat(paths, NAME)
        return beat.last_report.at if beat and beat.last_report else ""

    first = wait_for("the first tick", last_report)
    place(paths, NAME, "look", {}, "test", SystemClock().now())
    wait_for("a tick before ten seconds are over", lambda: last_report() > first, 5.0)


def _watches(pid: int) -> bool:
    return any("inotify" in text for info in Path(f"/proc/{pid}/fdinfo").iterdir() if (text := info.read_text()))


def test_bad_configuration_at_the_start_is_exit_78_with_the_reason(paths: Paths, run: Run) -> None:
    (paths.config / "weaver.yaml").write_text("modell: tiny\n")
    process = run(NAME)
    assert process.wait(10.0) == 78
    beat = read_heartbeat(paths, NAME)
    assert beat is not None and beat.exit_code == 78
    assert "did you mean 'model'" in str(beat.last_error)


def test_unknown_name_and_bad_usage_say_what_there_is(run: Run) -> None:
    for arguments, code in ((["nobody"], 5), ([], 2), (["--once"], 2), (["--help"], 2)):
        process = run(*arguments)
        _, errors = process.communicate(timeout=10.0)
        assert process.returncode == code
        assert NAME in errors


def test_once_prints_one_json_object(run: Run) -> None:
    output, errors = run(NAME, "--once").communicate(timeout=10.0)
    assert json.loads(output)["name"] == NAME, errors


def test_stopped_process_is_past_its_promise_within_seven_seconds(paths: Paths, run: Run) -> None:
    """Takes 6 s by definition: the promise of a waiting daemon is 6 s."""
    process = run(NAME)
    running(paths, process)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        beat = read_heartbeat(paths, NAME)
        assert beat is not None and is_fresh(beat, SystemClock().mono())
        wait_for("the end of its promise", lambda: not is_fresh(beat, SystemClock().mono()), 7.0)
    finally:
        os.kill(process.pid, signal.SIGCONT)


def test_light_daemon_is_small(paths: Paths, run: Run) -> None:
    process = run(NAME)
    running(paths, process)
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    pss = int(next(line.split()[1] for line in lines if line.startswith("Pss:")))
    print(f"PSS of {NAME} running alone: {pss} kB")
    assert pss < GOAL_PSS_KB + ALONE_KB
    modules = subprocess.run(
        [sys.executable, "-c", f"import sys, daemons.__main__, daemons.{NAME}; print(*sys.modules)"],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3],
    ).stdout.split()  # fmt: skip
    heavy = {"numpy", "pydantic", "requests", "fastapi", "asyncio", "apscheduler", "transformers", "torch", "watchdog"}
    assert not heavy & set(modules)

"""A file broken while the factory runs: everything goes on, also what dies meanwhile, it is said, told, and ends by itself.

A real Weaver with real daemons, the web process and a real receiver of notices.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from core.paths import Paths
from core.status import State, read_heartbeat, read_supervisor_view
from tests.fakes import home_environment, switch_on, wait_for
from tests.receiver import Receiver, receiving
from weaver.adoption import living
from weaver.lifecycle import down, up

GOOD = "queue: {{retries: 7}}\nnotify: {{urls: ['http://{0}/T0KEN']}}\n"
FRESH_S = 60.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def factory(running_home: Paths, receiver: Receiver) -> Paths:
    """Give a home in which three daemons and the web process run, whose values are none of the defaults."""
    switch_on(running_home, "reclaim_stale", "send_notices", "web")
    (running_home.config / "weaver.yaml").write_text(GOOD.format(receiver.address))
    up(running_home.home, wait_s=FRESH_S)
    wait_for("the first tick of send_notices", running_home.notices.exists, FRESH_S)
    return running_home


def status(paths: Paths) -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, "-m", "weaver", "status", "--json"]
    done = subprocess.run(argv, env=home_environment(paths), capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def is_refused(paths: Paths) -> bool:
    view = read_supervisor_view(paths)
    return bool(view and view.config and view.config.state == "refused")


def note_of(paths: Paths, program: str) -> str:
    beat = read_heartbeat(paths, program)
    return beat.note if beat else "config/ is not known yet"


def runs_anew(paths: Paths, name: str, old: int) -> bool:
    beat, view = read_heartbeat(paths, name), read_supervisor_view(paths)
    state = next((one.state for one in view.programs if one.name == name), None) if view else None
    return beat is not None and beat.pid != old and beat.state == State.RUNNING and state is State.RUNNING


@pytest.mark.parametrize("name", ["weaver.yaml", "hosts.json"])
def test_program_killed_while_a_file_is_bad_comes_back_with_the_last_good_ones(
    factory: Paths, receiver: Receiver, name: str
) -> None:
    """About 20 s: daemons start, die and start again, and a change must stand still before it counts."""
    good = (factory.config / name).read_text()
    (factory.config / name).write_text('{"schema": "weaver.hosts/1"' if name == "hosts.json" else "quue: {retries: 1}\n")
    wait_for("the Weaver's refusal", lambda: is_refused(factory), FRESH_S)
    for program in ("reclaim_stale", "web"):
        old = living(factory)[program].pid
        os.kill(old, signal.SIGKILL)
        wait_for(f"{program} with the last good files", lambda: runs_anew(factory, program, old), FRESH_S)  # noqa: B023
    note = note_of(factory, "reclaim_stale")
    assert f"config/{name}" in note and "in force: the files of" in note
    code, report = status(factory)
    assert (code, report["state"], report["config"]["state"]) == (0, "healthy", "refused")
    assert report["config"]["where"].startswith(f"config/{name}") and report["config"]["since"]

    wait_for("the notice", lambda: [one for one in receiver.bodies if one["kind"] == "config_refused"], FRESH_S)
    assert receiver.bodies[0]["key"] == f"config_refused:config/{name}"

    (factory.config / name).write_text(good)
    wait_for("the end of the refusal", lambda: not is_refused(factory), FRESH_S)
    wait_for("a note without it", lambda: "config/" not in note_of(factory, "reclaim_stale"), FRESH_S)
    assert status(factory)[1]["config"]["state"] == "good"
    assert "T0KEN" not in "".join(path.read_text() for path in factory.logs.rglob("*.json*"))


def test_whole_factory_starts_again_with_a_bad_file_and_says_so(factory: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    """About 15 s: a factory is stopped and started."""
    wait_for("the copy", factory.in_force.exists, FRESH_S)
    (factory.config / "weaver.yaml").write_text("quue: {}\n")
    down(factory.home)
    capsys.readouterr()
    up(factory.home, wait_s=FRESH_S)
    assert "config/weaver.yaml:1: unknown key quue" in capsys.readouterr().err
    assert is_refused(factory)
    shown = subprocess.run(
        [sys.executable, "-m", "weaver", "config", "show", "queue.retries"], env=home_environment(factory), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert shown.stdout == "queue.retries: 7\n"


def test_new_value_takes_effect_without_a_restart(factory: Paths) -> None:
    before = living(factory)
    with receiving() as other:
        (factory.config / "weaver.yaml").write_text(GOOD.format(other.address))
        wait_for("the new set", lambda: other.address in factory.in_force.read_text(), FRESH_S)
        (factory.config / "evals.yaml").write_text("significanc: 0.1\n")
        wait_for("a notice at the new place", lambda: other.bodies, FRESH_S)
    assert living(factory) == before


def test_receiver_that_never_answers_delays_nobody(running_home: Paths) -> None:
    """The factory runs beside a receiver that accepts and is silent: the daemons beat, and stopping is as quick as ever."""
    switch_on(running_home, "reclaim_stale", "send_notices", "web")
    with receiving(None) as deaf:
        (running_home.config / "weaver.yaml").write_text(GOOD.format(deaf.address))
        up(running_home.home, wait_s=FRESH_S)
        wait_for("the first tick", running_home.notices.exists, FRESH_S)
        for name in ("a", "b", "c"):
            (running_home.config / "evals.yaml").write_text(f"{name}: 1\n")
            wait_for("the refusal", lambda: name in str(_reason(running_home)), FRESH_S)  # noqa: B023
        assert deaf.asked.wait(FRESH_S)
        old = living(running_home)["reclaim_stale"].pid
        os.kill(old, signal.SIGKILL)
        wait_for("its replacement", lambda: runs_anew(running_home, "reclaim_stale", old), FRESH_S)
        view = read_supervisor_view(running_home)
        assert view is not None and {one.state for one in view.programs} == {State.RUNNING}
        down(running_home.home)
        assert not living(running_home)


def _reason(paths: Paths) -> str | None:
    view = read_supervisor_view(paths)
    return view.config.reason if view and view.config else None


def test_home_that_never_had_a_good_file_does_not_start(running_home: Paths) -> None:
    (running_home.config / "weaver.yaml").write_text("quue: {}\n")
    argv = [sys.executable, "-m", "weaver", "up"]
    done = subprocess.run(argv, env=home_environment(running_home), capture_output=True, text=True, check=False)
    assert done.returncode == 6 and "config/weaver.yaml:1: unknown key quue; did you mean 'queue'?" in done.stderr
    for name, code in (("reclaim_stale", 78), ("send_notices", 78)):
        argv = [sys.executable, "-m", "daemons", name]
        done = subprocess.run(argv, env=home_environment(running_home), capture_output=True, text=True, check=False)
        assert done.returncode == code

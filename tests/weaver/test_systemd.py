"""The Weaver as a systemd user unit: what it tells systemd, the unit's text, and a real user manager where one can be had."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import InvalidConfig
from core.paths import Paths
from core.process import spawned
from core.status import State, is_fresh, read_heartbeat
from tests.fakes import ROOT, home_environment, switch_on, wait_for
from weaver.adoption import living
from weaver.desired import PROGRAMS, is_down, read_off, write_down
from weaver.lifecycle import down, up
from weaver.notifier import UNIT_VARIABLE, Notifier
from weaver.systemd import NoUserManager, longest_stop_s, unit_name, unit_path, unit_text

SCRIPT = str(Path(__file__).with_name("weaver_of_pretenders.py"))


class Receiver:
    """What systemd is for a unit: the socket that NOTIFY_SOCKET names."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.05)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """Give everything heard so far, line by line."""
        try:
            while True:
                self.heard += self._socket.recv(4096).decode().split("\n")
        except TimeoutError:
            return self.heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path / "notify")
    yield receiver
    receiver.close()


def end(weaver: subprocess.Popen[bytes], paths: Paths) -> None:
    """Leave nothing behind, wherever the test ended."""
    weaver.kill()
    weaver.wait()
    for ref in living(paths).values():
        os.kill(ref.pid, signal.SIGKILL)


def test_weaver_says_ready_feeds_the_watchdog_from_its_loop_and_says_when_it_stops(
    paths: Paths, systemd: Receiver, tmp_path: Path
) -> None:
    environ = {**home_environment(paths), "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    weaver = subprocess.Popen([sys.executable, SCRIPT, "one:steady"], env=environ, cwd=paths.home)
    try:
        wait_for("READY=1", lambda: "READY=1" in systemd.listen())
        wait_for("the pretender", lambda: living(paths).get("one"))
        wait_for("three feeds", lambda: systemd.listen().count("WATCHDOG=1") >= 3)
        assert systemd.heard.count("READY=1") == 1 and "STOPPING=1" not in systemd.heard
        wait_for("its state", lambda: "STATUS=1 of 1 run" in systemd.listen())
        child = Path(f"/proc/{living(paths)['one'].pid}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in child and b"WATCHDOG" not in child, "no program may speak for the Weaver"
        os.kill(weaver.pid, signal.SIGSTOP)
        systemd.listen()
        systemd.heard.clear()
        before = time.monotonic()
        wait_for("a second without its loop", lambda: time.monotonic() - before > 1.0)
        assert systemd.listen() == [], "a loop that is stuck feeds nobody"
        os.kill(weaver.pid, signal.SIGCONT)
        weaver.send_signal(signal.SIGTERM)
        assert weaver.wait(10.0) == 0
        assert "STOPPING=1" in systemd.listen()
    finally:
        end(weaver, paths)


def test_watchdog_is_fed_only_after_a_step_in_which_nothing_failed(paths: Paths, systemd: Receiver, tmp_path: Path) -> None:
    """What fails for a whole minute may be the Weaver itself: a new one adopts everything and begins with a clear head."""
    environ = {**home_environment(paths), "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    weaver = subprocess.Popen([sys.executable, SCRIPT, "one:steady", "two:misconfigured"], env=environ, cwd=paths.home)
    try:
        wait_for("its state", lambda: "STATUS=1 of 2 run, two PARKED" in systemd.listen())
        wait_for("a feed", lambda: "WATCHDOG=1" in systemd.listen())
        paths.heartbeat("two").unlink()
        paths.heartbeat("two").mkdir()
        wait_for("the error", lambda: "Is a directory" in (paths.logs / "weaver.jsonl").read_text())
        systemd.listen()
        systemd.heard.clear()
        before = time.monotonic()
        wait_for("a second of failing steps", lambda: time.monotonic() - before > 1.5)
        assert systemd.listen() == []
        paths.heartbeat("two").rmdir()
        wait_for("a feed", lambda: "WATCHDOG=1" in systemd.listen())
        beat = read_heartbeat(paths, "weaver")
        assert beat is not None and is_fresh(beat, time.monotonic()), "a passing error ends nothing"
        weaver.send_signal(signal.SIGTERM)
        assert weaver.wait(10.0) == 0
    finally:
        end(weaver, paths)


def test_without_a_socket_or_with_a_dead_one_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    for address in ("", str(tmp_path / "nobody"), "@nobody", "x" * 300):
        Notifier({"NOTIFY_SOCKET": address}).alive(0.0, "1 of 1 run")


def test_watchdog_of_another_process_is_not_fed(systemd: Receiver, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    Notifier(environ).alive(100.0, "well")
    assert systemd.listen() == ["READY=1", "STATUS=well"]


def test_unit_says_what_the_issue_asks(paths: Paths) -> None:
    lines = unit_text(paths, {"WEAVER_WEB_PORT": "0", "WEAVER_SPAWN": "x", "HOME": "/x"}, "/venv/bin/python").splitlines()
    for line in (
        "Type=notify", "KillMode=process", "Restart=on-failure", 'ExecStart="/venv/bin/python" -m weaver supervise',
        'ExecStop="/venv/bin/python" -m weaver down', "WatchdogSec=60", "WantedBy=default.target",
        f'Environment="WEAVER_HOME={paths.home}"', 'Environment="WEAVER_WEB_PORT=0"',
        f'Environment="WEAVER_UNIT={unit_name(paths)}"',
    ):  # fmt: skip
        assert line in lines
    assert not any("SPAWN" in line or "HOME=/x" in line for line in lines)
    timeout = next(int(line.partition("=")[2]) for line in lines if line.startswith("TimeoutStopSec="))
    assert timeout > longest_stop_s() >= 120.0 + 15.0 + 15.0, "the trainer's grace, then web's, then the oracle's"
    assert longest_stop_s() > max(program.grace_s for program in PROGRAMS)


@pytest.mark.parametrize("odd", ['a b"c', "50%", "back\\slash", "$HOME", "ünï"])
def test_odd_names_mean_themselves_in_the_unit(tmp_path: Path, odd: str) -> None:
    home = tmp_path / odd
    home.mkdir()
    (home / "python").symlink_to("/bin/true")
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here: the text is not verified")
    unit = tmp_path / "weaver-test.service"
    unit.write_text(
        unit_text(Paths(home), {"WEAVER__X": f"{odd} %h"}, "/bin/true" if set(odd) & set('\\"') else str(home / "python"))
    )
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert "weaver-test" not in done.stderr, done.stderr


def test_path_that_no_unit_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="odd characters"):
        unit_text(Paths(tmp_path / "a\nExecStart=evil"), {})
    with pytest.raises(InvalidConfig, match="quotes or backslashes"):
        unit_text(Paths(tmp_path), {}, '/venv"/python')


def test_machine_without_a_user_manager_gets_the_unit_and_an_error_that_says_what_to_do(
    running_home: Paths, tmp_path: Path
) -> None:
    environ = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": "", "XDG_RUNTIME_DIR": str(tmp_path),
               "DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/nobody"}  # fmt: skip
    command = [sys.executable, "-m", "weaver", "up", "--systemd"]
    done = subprocess.run(command, env=environ, cwd=running_home.home, capture_output=True, text=True, check=False)
    assert done.returncode == NoUserManager.exit_code == 8
    assert "XDG_RUNTIME_DIR" in done.stderr and "`weaver up` needs none" in done.stderr
    assert unit_path(running_home, environ).read_text() == unit_text(running_home, environ)
    assert not list(spawned(running_home.home_id))


def test_what_a_person_stopped_stays_stopped_when_the_machine_starts(
    running_home: Paths, systemd: Receiver, tmp_path: Path
) -> None:
    switch_on(running_home, "reclaim_stale")
    up(running_home.home)
    assert not is_down(running_home)
    down(running_home.home)
    assert is_down(running_home)
    environ = {**os.environ, UNIT_VARIABLE: unit_name(running_home), "NOTIFY_SOCKET": str(tmp_path / "notify")}
    boot = [sys.executable, "-m", "weaver", "supervise"]
    done = subprocess.run(boot, env=environ, cwd=running_home.home, capture_output=True, text=True, timeout=30.0, check=False)
    assert done.returncode == 0, done.stderr
    assert systemd.listen()[0] == "READY=1" and "`weaver up`" in systemd.heard[1], "systemd sees a clean end, and why"
    assert read_heartbeat(running_home, "reclaim_stale").state == State.EXITED  # type: ignore[union-attr]
    up(running_home.home)
    assert not is_down(running_home) and "web" in read_off(running_home), "what was switched off stays so"


def test_down_by_systemd_is_no_wish_of_a_person(running_home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UNIT_VARIABLE, unit_name(running_home))
    down(running_home.home)
    assert not is_down(running_home)


def test_damaged_wish_keeps_nothing_alive_and_is_said(running_home: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    running_home.desired.write_text("{nonsense")
    down(running_home.home)
    assert "could not be noted" in capsys.readouterr().err
    running_home.desired.unlink()
    write_down(running_home, True)
    assert is_down(running_home) and read_off(running_home) == frozenset()


IN_A_MANAGER = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user && chmod 700 /run/user
export XDG_RUNTIME_DIR=/run/user
{systemd} --user > {log} 2>&1 &
manager=$!
for i in $(seq 100); do systemctl --user is-system-running 2>/dev/null | grep -Eq 'running|degraded' && break; sleep 0.1; done
set +e
{python} {test}
code=$?
kill $manager
wait
exit $code
"""


def test_real_user_manager_starts_watches_restarts_and_stops_it(running_home: Paths, tmp_path: Path) -> None:
    """About 15 s. A systemd of our own in a mount namespace; skipped where no such namespace is allowed, as for most users."""
    switch_on(running_home, "reclaim_stale")
    systemd = shutil.which("systemd", path="/usr/lib/systemd:/lib/systemd")
    allowed = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, check=False)
    if systemd is None or shutil.which("systemctl") is None or allowed.returncode:
        pytest.skip("no systemd, or no mount namespace for us: the unit was verified by its text only")
    script = IN_A_MANAGER.format(
        systemd=systemd, log=tmp_path / "systemd.log", python=sys.executable, test=Path(__file__).with_name("under_systemd.py")
    )
    environ = {**os.environ, "HOME": str(tmp_path / "person"), "PYTHONPATH": str(ROOT)}
    environ.pop("XDG_CONFIG_HOME", None)
    done = subprocess.run(["unshare", "-m", "bash", "-c", script], env=environ, cwd=running_home.home, capture_output=True,
                          text=True, timeout=200.0, check=False)  # fmt: skip
    said = done.stdout + done.stderr
    if "no user manager" in said:
        pytest.skip("systemd does not run here: the unit was verified by its text only")
    assert done.returncode == 0, said + (tmp_path / "systemd.log").read_text()[-3000:]
    assert not list(spawned(running_home.home_id))

"""The oracle as a process: `python -m trainer serve`, its views, its signals, its exit codes, and what a restart keeps."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import openai
import pytest

from core.clock import SystemClock, boot_id
from core.errors import InvalidConfig, KeyFileExposed, LockHeld
from core.evals.ask import connect
from core.hosts import Endpoint, get_service_url
from core.in_force import read_in_force
from core.keys import read_key
from core.paths import Paths
from core.pulse import Pulse
from core.records import read, read_if_there
from core.status import Heartbeat, State, read_heartbeat
from tests.fakes import home_environment, wait_for
from tests.trainer.serve.oracle_home import name_of
from trainer.serve.app import PROGRAM, _serve, _take_port, _threads, build, main

USER = {"role": "user", "content": "reverse ka lo mi"}


def endpoint_path(paths: Paths) -> Path:
    return paths.status / "endpoints" / "inference.json"


@contextmanager
def process(paths: Paths) -> Iterator[subprocess.Popen[str]]:
    """Run the oracle of a home in a process of its own, and end it with the block."""
    child = subprocess.Popen(
        [sys.executable, "-m", "trainer", "serve"], env=home_environment(paths), cwd=paths.home,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def wait_until_serving(paths: Paths, child: subprocess.Popen[str]) -> Endpoint:
    """Wait for the endpoint of exactly this process."""

    def look() -> Endpoint | None:
        assert child.poll() is None, child.communicate()
        found = read_if_there(Endpoint, endpoint_path(paths))
        return found if found is not None and found.pid == child.pid else None

    return wait_for("the oracle to serve", look, 60)


def test_oracle_serves_is_killed_comes_back_with_its_alias_and_stops_when_asked(
    home: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over 20 s on a busy machine: two processes are started, and each imports torch and transformers (4-8 s)."""
    champion = f"tiny/{name_of(20)}"
    with process(home) as first:
        wait_until_serving(home, first)
        served = connect(home, home_environment(home), "oracle-admin").alias("champion", champion)
        first.kill()  # no chance to write anything
        first.wait()
    with process(home) as second:
        endpoint = wait_until_serving(home, second)
        answer = connect(home, home_environment(home)).answer("champion", [[USER]], 5)
        assert (answer.model, answer.system_fingerprint) == (champion, served.system_fingerprint)
        _views_come_back(home, second)
        _second_oracle_is_refused(home)
        _port_in_use_is_told(home, endpoint.port, second.pid, capsys)
        _stops_after_what_is_in_flight(home, second)
    beat = read(Heartbeat, home.heartbeat("oracle"))
    assert (beat.pid, beat.exit_code, beat.state, beat.last_error) == (second.pid, 0, State.EXITED, None)
    lines = [json.loads(line) for line in (home.logs / "oracle.jsonl").read_text().splitlines()]
    assert [line["msg"] for line in lines if line["level"] == "error"] == []
    assert any(line["event"] == "alias" and line["checkpoint"] == champion for line in lines)


def _views_come_back(home: Paths, child: subprocess.Popen[str]) -> None:
    beat = read(Heartbeat, home.heartbeat("oracle"))
    assert (beat.pid, beat.boot_id, beat.exit_code) == (child.pid, boot_id(), None)
    assert beat.next_due_mono - beat.beat_mono == pytest.approx(6.0)
    shutil.rmtree(home.status, ignore_errors=True)  # a beat may come in between

    def later() -> Heartbeat | None:
        found = read_heartbeat(home, "oracle")
        return found if found is not None and found.seq > beat.seq else None

    again = wait_for("the heartbeat to come back", later, 10)
    assert again.state == State.RUNNING and f"tiny/champion = {name_of(20)}" in again.note
    found = wait_for("the endpoint to come back", lambda: read_if_there(Endpoint, endpoint_path(home)), 10)
    assert (found.pid, found.host, found.address) == (child.pid, "local", "127.0.0.1")


def _second_oracle_is_refused(home: Paths) -> None:
    with pytest.raises(LockHeld, match=f"Another process holds the oracle of {home.home}"):
        main(home.home)
    assert read(Heartbeat, home.heartbeat("oracle")).exit_code is None


def _port_in_use_is_told(home: Paths, port: int, holder: int, printed: pytest.CaptureFixture[str]) -> None:
    other = Paths(home.home.parent / "other")
    shutil.copytree(home.home / "config", other.config)
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("WEAVER_ORACLE_PORT", str(port))
        assert main(other.home) == 78
    expected = f"Port {port} of inference is taken by pid {holder} ({sys.executable} -m trainer serve)"
    beat = read(Heartbeat, other.heartbeat("oracle"))
    for text in (printed.readouterr().err, str(beat.last_error)):
        assert expected in text and "WEAVER_ORACLE_PORT" in text
    assert beat.exit_code == 78


def _stops_after_what_is_in_flight(home: Paths, child: subprocess.Popen[str]) -> None:
    url = get_service_url(home, read_in_force(home, {}).hosts, "inference", home_environment(home))
    with openai.OpenAI(base_url=f"{url}/v1", api_key=read_key(home.tokens / "oracle-read"), max_retries=0) as client:
        stream = iter(
            client.chat.completions.create(
                model="champion", messages=[{"role": "user", "content": "x"}], max_tokens=300, temperature=0, stream=True
            )
        )
        next(stream)
        child.send_signal(signal.SIGTERM)
        chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason in ("length", "stop")
    assert child.wait(timeout=30) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_broken_worker_ends_the_process_with_exit_code_1(home: Paths, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(partial(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP)))
    log, clock = logging.getLogger("test.broken"), SystemClock()
    oracle, pulse = build(home, log, clock), Pulse(home, clock, PROGRAM, log)
    taken, endpoint = _take_port(home, {"WEAVER_ORACLE_PORT": "0", "WEAVER_HOST": "local"})
    request.addfinalizer(taken.close)

    def break_it() -> None:
        wait_for("a heartbeat", lambda: read_heartbeat(home, "oracle"))
        oracle.worker.task(lambda: 1 // 0)

    breaker = threading.Thread(target=break_it)
    breaker.start()
    assert _serve(oracle, taken, endpoint, pulse, log) == 1
    breaker.join()
    assert "ZeroDivisionError" in repr(oracle.worker.crashed)


@pytest.mark.parametrize("name", ["oracle-read", "oracle-admin"])
def test_key_that_others_can_read_stops_the_oracle(home: Paths, name: str) -> None:
    (home.tokens / name).chmod(0o640)
    with pytest.raises(KeyFileExposed, match=f"chmod 600 {home.tokens / name}") as caught:
        build(home, logging.getLogger("test"), SystemClock())
    assert caught.value.exit_code == 78


def test_thread_count_that_is_no_number_is_misconfigured() -> None:
    assert _threads({"OMP_NUM_THREADS": "3"}) == 3 and _threads({}) == 1
    for text in ("0", "two", "1,2", ""):
        with pytest.raises(InvalidConfig, match="OMP_NUM_THREADS"):
            _threads({"OMP_NUM_THREADS": text})

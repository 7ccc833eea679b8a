"""The web process among the others: its port, its heartbeat, its end, its memory."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from core.hosts import Endpoint
from core.records import read
from core.status import State, read_heartbeat
from tests.core.home_files import make_home
from tests.weaver.web.web_process import DEADLINE_S, WebProcess, running, start, until

MOST_PSS_KB = 60_000


def test_heartbeat_promises_within_6_s_and_goes_on(web: WebProcess) -> None:
    first = until(lambda: (beat := read_heartbeat(web.paths, "web")) and beat.state == State.RUNNING and beat, "a heartbeat")
    assert (first.pid, first.exit_code) == (web.process.pid, None)
    assert first.next_due_mono - first.beat_mono == pytest.approx(6.0)
    until(lambda: (beat := read_heartbeat(web.paths, "web")) and beat.seq > first.seq, "the next heartbeat")


def test_deleted_views_come_back(web: WebProcess) -> None:
    endpoint = web.paths.status / "endpoints" / "web.json"
    endpoint.unlink()
    web.paths.heartbeat("web").unlink()
    until(lambda: endpoint.exists() and web.paths.heartbeat("web").exists(), "endpoint and heartbeat were written again")
    assert read(Endpoint, endpoint).port == web.port


def test_asked_to_stop_it_ends_with_0_even_while_somebody_listens(tmp_path: Path) -> None:
    paths = make_home(tmp_path / "home")
    with running(paths) as web:
        connection = socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE_S)
        connection.sendall(f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {web.key}\r\n\r\n".encode())
        assert b"200 OK" in connection.recv(100)
        web.process.terminate()
        rest = b"".join(iter(lambda: connection.recv(65536), b""))
        assert rest.endswith(b"\r\n0\r\n\r\n"), "the stream was cut off, not ended"
        assert web.process.wait(timeout=DEADLINE_S) == 0
        connection.close()
    beat = read_heartbeat(paths, "web")
    assert beat is not None
    assert beat.exit_code == 0


def test_taken_port_is_78_and_names_holder_and_variable(tmp_path: Path) -> None:
    paths = make_home(tmp_path / "home")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        process = start(paths, WEAVER_WEB_PORT=str(holder.getsockname()[1]))
        assert process.wait(timeout=DEADLINE_S) == 78
    beat = read_heartbeat(paths, "web")
    assert beat is not None
    assert beat.exit_code == 78
    assert f"pid {os.getpid()}" in beat.note
    assert "WEAVER_WEB_PORT" in beat.note


@pytest.mark.parametrize("environ", [{"WEAVER_WEB_PORT": "many"}, {"WEAVER__WEB__BINDD": "x"}, {"WEAVER_HOST": "nobody"}])
def test_misconfigured_is_78(tmp_path: Path, environ: dict[str, str]) -> None:
    assert start(make_home(tmp_path / "home"), **environ).wait(timeout=DEADLINE_S) == 78


def test_memory_stays_under_60_mb_after_every_kind_of_request(tmp_path: Path) -> None:
    with running(make_home(tmp_path / "home")) as web:
        for path in ("/", "/api/status", "/api/queue", "/api/ledger", "/api/ledger/summary", "/api/lineage", "/metrics",
                     "/static/page.js") * 5:  # fmt: skip
            assert web.ask("GET", path).status == 200
        rollup = Path(f"/proc/{web.process.pid}/smaps_rollup").read_text()
        pss = int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")))
        assert pss < MOST_PSS_KB, f"{pss} kB"


def test_allowed_host_is_answered(tmp_path: Path) -> None:
    with running(make_home(tmp_path / "home"), WEAVER__WEB__ALLOWED_HOSTS="[weaver.lan]") as web:
        assert web.ask("GET", "/health", {"Host": "weaver.lan:8888"}).status == 200
        assert web.ask("GET", "/health", {"Host": "other.lan"}).status == 400


def test_log_never_holds_the_key(web: WebProcess) -> None:
    web.ask("GET", "/api/status")
    lines = (web.paths.logs / "web.jsonl").read_text().splitlines()
    assert all(web.key not in line for line in lines)
    assert json.loads(lines[0])["program"] == "web"

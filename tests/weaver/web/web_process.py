"""The real web process in a home of its own, and a client without any library between test and wire."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from core.hosts import Endpoint
from core.keys import make_keys, read_key
from core.paths import Paths
from core.records import read_if_there
from tests.weaver.cli.command import environment

DEADLINE_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Give the body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class WebProcess:
    """A running web process."""

    paths: Paths
    process: subprocess.Popen[bytes]
    port: int
    key: str

    @property
    def authorized(self) -> dict[str, str]:
        """Give the header that holds the key."""
        return {"Authorization": f"Bearer {self.key}"}

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
        """Send one request, with the key unless other headers are given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it has read the whole body
                connection.request(method, path, body, dict(self.authorized if headers is None else headers))
            response = connection.getresponse()
            return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Ask with the key and give the JSON of a good answer."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.json


def until(is_so: Any, what: str) -> Any:
    """Look again and again until something is true; give it."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"not in {DEADLINE_S} s: {what}"
        time.sleep(0.02)
    return found


def start(paths: Paths, **environ: str) -> subprocess.Popen[bytes]:
    """Start a web process on any free port."""
    make_keys(paths)
    return subprocess.Popen(
        [sys.executable, "-m", "weaver.web"], env=environment(paths.home, **{"WEAVER_WEB_PORT": "0", **environ}), cwd=paths.home
    )


@contextmanager
def running(paths: Paths, **environ: str) -> Iterator[WebProcess]:
    """Run a web process until the block ends; it must end well when asked."""
    process = start(paths, **environ)
    try:
        endpoint: Endpoint = until(
            lambda: read_if_there(Endpoint, paths.status / "endpoints" / "web.json"), "the web process took its port"
        )
        yield WebProcess(paths, process, endpoint.port, read_key(paths.tokens / "web"))
        process.terminate()
        assert process.wait(timeout=DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()

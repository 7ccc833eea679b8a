"""A real HTTP receiver of notices on a port of its own: it keeps what it was sent, refuses, drips, or never answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(ThreadingHTTPServer):
    """What was received, in order: bodies (JSON) and headers; status: how it answers, None: never."""

    daemon_threads = True

    def __init__(self, status: int | None = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.bodies: list[dict[str, Any]] = []
        self.heads: list[dict[str, str]] = []
        self.asked = threading.Event()
        self.ended = threading.Event()
        self.drips = False

    @property
    def address(self) -> str:
        """Give host:port."""
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Take one notice."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.set()
        if self.server.status is None:
            while not self.server.ended.wait(0.2):
                if self.server.drips:
                    self.wfile.write(b"H")
            return
        if self.server.status < 300:
            self.server.bodies.append(body)
            self.server.heads.append(dict(self.headers))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def receiving(status: int | None = 200) -> Iterator[Receiver]:
    """Run a receiver while the block runs."""
    receiver = Receiver(status)
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.ended.set()
        receiver.shutdown()
        thread.join()
        receiver.server_close()

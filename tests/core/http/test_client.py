"""The client: what it gives back, and which errors it raises, against a real server on a free port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from core.errors import RemoteRefused, Unavailable, UsageError
from core.http.client import Client
from core.http.ports import take_port


class Echo(msgspec.Struct, frozen=True):
    """What the server saw."""

    key: str
    body: str
    connection: int


class Handler(BaseHTTPRequestHandler):
    """Answers by path; keeps connections alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    connections = 0

    def setup(self) -> None:
        super().setup()
        Handler.connections += 1
        self.number = Handler.connections

    def log_message(self, *words: object) -> None: ...

    def do_GET(self) -> None:
        self.reply(200, msgspec.json.encode(Echo(self.headers.get("Authorization", ""), "", self.number)))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/busy":
            self.reply(503, b'{"error": {"message": "is being loaded", "code": "loading"}}')
        elif self.path == "/full":
            self.reply(429, b'{"error": {"message": "too many"}}')
        elif self.path == "/refused":
            self.reply(404, b'{"error": {"message": "no such model"}}')
        elif self.path == "/odd":
            self.reply(500, b"Internal Server Error")
        elif self.path == "/strange":
            self.reply(200, b'{"key": 1}')
        elif self.path == "/hang-up":
            self.close_connection = True
        elif self.path == "/half":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"{")
            self.close_connection = True
        elif self.path == "/events":
            self.reply(200, b': hello\n\ndata: {"a": 1}\n\ndata: [DONE]\n\n')
        elif self.path == "/last":
            self.reply(200, msgspec.json.encode(Echo("", body, self.number)))
            self.close_connection = True  # without saying so, as a server does that ends or finds the connection idle
        else:
            self.reply(200, msgspec.json.encode(Echo(self.headers.get("Authorization", ""), body, self.number)))

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client("the test server", url, "secret", timeout_s=10) as client:
        yield client


def test_key_and_body_are_sent_and_the_connection_is_kept(client: Client) -> None:
    first = client.post("/x", {"a": [1]}, Echo)
    second = client.get("/x", Echo)
    assert (first.key, first.body) == ("Bearer secret", '{"a":[1]}')
    assert second.connection == first.connection


def test_connection_that_the_server_closed_is_opened_again(client: Client) -> None:
    first = client.post("/last", {}, Echo)
    assert client._connection.sock is not None
    client._connection.sock.recv(1)  # the end of the connection has arrived
    assert client.post("/x", {}, Echo).connection != first.connection


@pytest.mark.parametrize(("path", "detail"), [("/busy", "is being loaded"), ("/full", "too many")])
def test_come_back_later_is_unavailable_with_what_the_server_said(client: Client, path: str, detail: str) -> None:
    with pytest.raises(Unavailable, match=detail):
        client.post(path, {}, Echo)
    assert client.post("/x", {}, Echo).body == "{}"


@pytest.mark.parametrize(
    ("path", "status", "detail"), [("/refused", 404, "no such model"), ("/odd", 500, "Internal Server Error")]
)
def test_refusal_carries_status_and_reason(client: Client, path: str, status: int, detail: str) -> None:
    with pytest.raises(RemoteRefused, match=detail) as caught:
        client.post(path, {}, Echo)
    assert caught.value.facts["status"] == status


def test_answer_of_another_shape_is_refused(client: Client) -> None:
    with pytest.raises(RemoteRefused, match="not what this program expects"):
        client.post("/strange", {}, Echo)


@pytest.mark.parametrize("path", ["/hang-up", "/half"])
def test_broken_connection_is_unavailable(client: Client, path: str) -> None:
    with pytest.raises(Unavailable):
        client.post(path, {}, Echo)
    assert client.post("/x", {}, Echo).body == "{}"


def test_nobody_listening_is_unavailable() -> None:
    free = take_port("127.0.0.1", 0, "test", "NONE")
    port = free.getsockname()[1]
    free.close()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
        Client("the oracle", f"http://127.0.0.1:{port}").get("/", Echo)


def test_server_that_never_answers_is_unavailable_after_the_timeout() -> None:
    with take_port("127.0.0.1", 0, "test", "NONE") as silent, pytest.raises(Unavailable, match="timed out"):
        Client("the oracle", f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.05).get("/", Echo)


def test_stream_gives_the_data_of_each_event(client: Client) -> None:
    assert list(client.stream("/events", {})) == [b'{"a": 1}', b"[DONE]"]
    assert client.post("/x", {}, Echo).body == "{}"


def test_stream_that_is_refused_raises_as_a_call_does(client: Client) -> None:
    with pytest.raises(Unavailable):
        list(client.stream("/busy", {}))


@pytest.mark.parametrize("address", ["https://127.0.0.1", "127.0.0.1:80", "ftp://x", "http://127.0.0.1:0"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError):
        Client("the oracle", address)

"""The doors: what gets through to the application and what is answered before it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from core.http.doors import Doors, Message, Receive, Role, Route, Scope, Send, openai_error, plain_error

READ, ADMIN = "read-key", "admin-key"
ROUTES = (
    Route("GET", "/health", Role.PUBLIC),
    Route("GET", "/things/{id}", Role.READ),
    Route("POST", "/things/{id:path}", Role.READ, max_body=10),
    Route("POST", "/admin", Role.ADMIN),
)
LOCAL = {"host": "127.0.0.1:8765"}


class Recorder:
    """An application that reads its whole body and remembers it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})


class Swallower(Recorder):
    """An application that takes every error for its own and answers 200."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except Exception:  # noqa: BLE001 - this is what it stands for
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"all is well"})


def knock(
    method: str, path: str, headers: dict[str, str], chunks: Iterable[bytes] = (b"",), app: Recorder | None = None, **more: Any
) -> tuple[int, Any, dict[str, str]]:
    """Send one request through doors; give status, body and headers."""
    doors = Doors(app or Recorder(), ROUTES, [(READ, Role.READ), (ADMIN, Role.ADMIN)], **more)
    parts = list(chunks)
    incoming: list[Message] = [
        {"type": "http.request", "body": part, "more_body": at < len(parts) - 1} for at, part in enumerate(parts)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.split("#")[0].encode(), value.encode("latin-1")) for name, value in headers.items()]
    asyncio.run(doors({"type": "http", "method": method, "path": path, "headers": raw}, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    given = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], body if body == b"in" else json.loads(body), given


def bearer(key: str) -> dict[str, str]:
    return {**LOCAL, "authorization": f"Bearer {key}"}


def test_right_key_gets_in_and_admin_may_read() -> None:
    assert knock("GET", "/things/1", bearer(READ))[0] == 200
    assert knock("GET", "/things/1", bearer(ADMIN))[0] == 200
    assert knock("POST", "/admin", bearer(ADMIN))[0] == 200


def test_public_route_needs_no_key() -> None:
    assert knock("GET", "/health", LOCAL)[0] == 200


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {READ}", READ, f"Bearer {READ}x", "Bearer é"]
)
def test_missing_or_wrong_key_is_401(value: str) -> None:
    app = Recorder()
    status, body, headers = knock("GET", "/things/1", {**LOCAL, "authorization": value}, app=app)
    assert (status, body["error"]["code"], headers["www-authenticate"]) == (401, "invalid_api_key", "Bearer")
    assert app.bodies == []


def test_key_sent_twice_is_401() -> None:
    headers = {**LOCAL, "authorization": f"Bearer {READ}", "authorization#2": f"Bearer {READ}"}
    assert knock("GET", "/things/1", headers)[0] == 401


def test_read_key_on_an_admin_route_is_403() -> None:
    status, body, _ = knock("POST", "/admin", bearer(READ))
    assert (status, body["error"]["code"]) == (403, "key_not_allowed")


def test_route_that_is_not_in_the_table_is_refused_whoever_asks() -> None:
    app = Recorder()
    assert knock("GET", "/docs", LOCAL, app=app)[0] == 401
    assert knock("GET", "/docs", bearer(ADMIN), app=app)[0] == 404
    assert knock("GET", "/health/", bearer(ADMIN), app=app)[0] == 404
    assert knock("HEAD", "/health", bearer(ADMIN), app=app)[0] == 405
    assert knock("DELETE", "/things/1", bearer(ADMIN), app=app)[1]["error"]["message"] == "This path answers only to GET, POST."
    assert app.bodies == []


def test_path_parameter_takes_one_segment_unless_it_is_a_path() -> None:
    assert knock("GET", "/things/a/b", bearer(READ))[0] == 405
    assert knock("POST", "/things/a/b", bearer(READ))[0] == 200
    assert knock("POST", "/things/", bearer(READ))[0] == 404


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]:8765", "[::1]", "weaver.lan", "weaver.lan:80"]
)
def test_own_name_with_any_port_is_let_in(host: str) -> None:
    assert knock("GET", "/health", {"host": host}, allowed_hosts=["Weaver.lan"])[0] == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8765", "evil@localhost", "localhost:8765/x",
     "localhost,evil", "127.0.0.2", "[::2]", "localhost:", "::1"],
)  # fmt: skip
def test_foreign_host_is_400_before_anything_else(host: str) -> None:
    app = Recorder()
    status, body, _ = knock("GET", "/things/1", {**bearer(READ), "host": host}, app=app)
    assert (status, body["error"]["code"], app.bodies) == (400, "host_not_allowed", [])


def test_missing_or_double_host_is_400() -> None:
    assert knock("GET", "/health", {})[0] == 400
    assert knock("GET", "/health", {"host": "localhost", "host#2": "localhost"})[0] == 400


@pytest.mark.parametrize(
    ("origin", "host"),
    [("http://127.0.0.1:8765", "127.0.0.1:8765"), ("https://weaver.lan", "weaver.lan"), ("http://localhost:80", "localhost")],
)
def test_own_origin_is_let_in(origin: str, host: str) -> None:
    headers = {**bearer(READ), "host": host, "origin": origin, "sec-fetch-site": "same-origin"}
    assert knock("POST", "/things/1", headers, allowed_hosts=["weaver.lan"])[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://localhost:8765"}, {"origin": "file://"}, {"origin": "http://["}, {"origin": ""},
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "same-origin", "origin": "http://evil.example"},
    ],
)  # fmt: skip
def test_foreign_origin_or_site_is_403(headers: dict[str, str]) -> None:
    app = Recorder()
    status, body, sent = knock("POST", "/things/1", {**bearer(READ), **headers}, app=app)
    assert (status, body["error"]["code"], app.bodies) == (403, "foreign_origin", [])
    assert not [name for name in sent if name.startswith("access-control")]


def test_body_up_to_the_limit_gets_in() -> None:
    app = Recorder()
    assert knock("POST", "/things/1", bearer(READ), [b"12345", b"67890"], app)[0] == 200
    assert app.bodies == [b"1234567890"]


@pytest.mark.parametrize("length", ["11", "999999999999999999999999", "-1", "abc"])
def test_announced_body_over_the_limit_is_413_unread(length: str) -> None:
    app = Recorder()
    status, body, _ = knock("POST", "/things/1", {**bearer(READ), "content-length": length}, [b"x"], app)
    assert (status, body["error"]["code"], app.bodies) == (413, "body_too_large", [])


@pytest.mark.parametrize("app", [Recorder(), Swallower()])
def test_body_over_the_limit_without_a_length_is_413_whatever_the_application_says(app: Recorder) -> None:
    status, body, _ = knock("POST", "/things/1", bearer(READ), [b"12345", b"67890", b"1", b"x" * 100], app)
    assert (status, body["error"]["code"], app.bodies) == (413, "body_too_large", [])


def test_body_that_belies_its_length_is_413() -> None:
    assert knock("POST", "/things/1", {**bearer(READ), "content-length": "3"}, [b"12345", b"678901"])[0] == 413


def test_second_way_in_gives_its_role() -> None:
    def cookie(headers: Any) -> Role | None:
        return Role.ADMIN if headers.get("cookie") == "good" else None

    assert knock("POST", "/admin", {**LOCAL, "cookie": "good"}, identify=cookie)[0] == 200
    assert knock("POST", "/admin", {**LOCAL, "cookie": "bad"}, identify=cookie)[0] == 401


def test_error_shapes() -> None:
    assert knock("GET", "/things/1", LOCAL, error_body=openai_error)[1] == {
        "error": {
            "message": "A key is needed: Authorization: Bearer <key>.", "type": "authentication_error", "param": None,
            "code": "invalid_api_key",
        }
    }  # fmt: skip
    assert set(knock("GET", "/things/1", LOCAL, error_body=plain_error)[1]["error"]) == {"code", "message"}


def test_empty_key_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="a key is empty"):
        Doors(Recorder(), ROUTES, [("", Role.READ)])


def test_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Doors(Recorder(), ROUTES, [(READ, Role.READ)])({"type": "websocket", "path": "/health"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]

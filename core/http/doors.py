"""The doors: a pure ASGI middleware in front of every route of the web process and of the oracle.

Place in the flow: wraps the application; nothing reaches a handler that did not pass Host, Origin, route table, key and body
limit, in this order. Reads and writes no file (the caller brings the keys). Invariants: a route that is not in the table is
refused whoever asks; no CORS header is ever sent; an error is never a 200; a handler never sees more bytes than its route
allows, whatever the request's headers claim. That a GET changes no state is the handlers' part: the table names every one.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_PORTS = {"http": 80, "https": 443}
BODY_LIMIT = 2**20


class Role(IntEnum):
    """What a route asks for and what a key gives; admin may do what read may."""

    PUBLIC = 0
    READ = 1
    ADMIN = 2


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the route table. path: segments, `{name}` for one, `{name:path}` for one or more. max_body: bytes."""

    method: str
    path: str
    role: Role
    max_body: int = BODY_LIMIT

    def matches(self, path: str) -> bool:
        """Say whether a decoded request path is this route's."""
        return _pattern(self.path).fullmatch(path) is not None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not let in."""

    status: HTTPStatus
    code: str
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


ErrorBody = Callable[[Refusal], Mapping[str, Any]]
Identify = Callable[[Mapping[str, str]], Role | None]

_PATTERNS: dict[str, re.Pattern[str]] = {}


def _pattern(path: str) -> re.Pattern[str]:
    if path not in _PATTERNS:
        parts = re.split(r"(\{\w+(?::path)?\})", path)
        pattern = "".join(
            (".+" if part.endswith(":path}") else "[^/]+") if part.startswith("{") else re.escape(part) for part in parts
        )
        _PATTERNS[path] = re.compile(pattern, re.DOTALL)
    return _PATTERNS[path]


def plain_error(refusal: Refusal) -> Mapping[str, Any]:
    """Shape an error as the web process does."""
    return {"error": {"code": refusal.code, "message": refusal.message}}


def openai_error(refusal: Refusal) -> Mapping[str, Any]:
    """Shape an error as the OpenAI API does (CONTRACTS.md section 10)."""
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        kind = "authentication_error"
    elif refusal.status == HTTPStatus.FORBIDDEN:
        kind = "permission_error"
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}}


class Doors:
    """The middleware. keys: (key, what it gives); identify: a second way in, such as a cookie, from the lower-cased headers."""

    def __init__(
        self,
        app: App,
        routes: Iterable[Route],
        keys: Sequence[tuple[str, Role]],
        error_body: ErrorBody = plain_error,
        allowed_hosts: Iterable[str] = (),
        identify: Identify | None = None,
    ) -> None:
        self._app = app
        self._routes = tuple(routes)
        self._keys = tuple((key.encode(), role) for key, role in keys)
        if any(not key for key, _ in self._keys):
            raise ValueError("a key is empty; expected a random text")
        self._error_body = error_body
        self._hosts = LOOPBACK | {name.lower() for name in allowed_hosts}
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one connection in or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:  # a websocket, or whatever comes next: no route of ours
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        refusal = _check_host(headers, self._hosts) or _check_origin(headers)
        if refusal is None:
            route = self._admit(scope, headers)
            if isinstance(route, Refusal):
                refusal = route
            else:
                await _limited(self._app, scope, receive, send, route.max_body, headers, self._error_body)
                return
        await _answer(send, refusal, self._error_body)

    def _admit(self, scope: Scope, headers: Mapping[str, str]) -> Route | Refusal:
        """Find the route and check the key; who may not read is not told which routes exist."""
        fitting = [route for route in self._routes if route.matches(scope["path"])]
        fitting = [route for route in fitting if route.path == scope["path"]] or fitting  # a name goes before a parameter
        route = next((route for route in fitting if route.method == scope["method"]), None)
        if route is not None and route.role == Role.PUBLIC:
            return route
        role = self._role(headers)
        if role is None:
            return Refusal(HTTPStatus.UNAUTHORIZED, "invalid_api_key", "A key is needed: Authorization: Bearer <key>.")
        if route is None and fitting:
            allowed = ", ".join(sorted({other.method for other in fitting}))
            message = f"This path answers only to {allowed}."
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", message, ((b"allow", allowed.encode()),))
        if route is None:
            return Refusal(HTTPStatus.NOT_FOUND, "not_found", "There is no such path here.")
        if role < route.role:
            message = f"This key may {role.name.lower()}; {route.path} needs the {route.role.name.lower()} key."
            return Refusal(HTTPStatus.FORBIDDEN, "key_not_allowed", message)
        return route

    def _role(self, headers: Mapping[str, str]) -> Role | None:
        """Compare with every key, in constant time each, so that the time taken says nothing about any of them."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        candidate = given.strip().encode("utf-8", "replace")
        same = [role for key, role in self._keys if hmac.compare_digest(candidate, key)]
        if same and scheme.lower() == "bearer":
            return max(same)
        return self._identify(headers) if self._identify else None


def _headers(scope: Scope) -> dict[str, str]:
    """Give the headers by lower-case name; a name that comes twice is joined with a comma, which no check accepts."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _split_host(text: str) -> tuple[str, int | None] | None:
    """Split `name`, `name:port` or `[v6]:port`; None when it is neither."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:/@,\s]+))(?::(\d{1,5}))?", text)
    return ((match[1] or match[2]).lower(), int(match[3]) if match[3] else None) if match else None


def _check_host(headers: Mapping[str, str], allowed: frozenset[str]) -> Refusal | None:
    """Refuse every name that is not this machine's own or allowed: a page of another site may have rebound its DNS name."""
    host = _split_host(headers.get("host", ""))
    if host is None or host[0] not in allowed:
        return Refusal(
            HTTPStatus.BAD_REQUEST, "host_not_allowed", "The Host header names none of this server's names (web.allowed_hosts)."
        )
    return None


def _check_origin(headers: Mapping[str, str]) -> Refusal | None:
    """Refuse what a browser sends for the page of another origin. Programs send neither header."""
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if (site is None or site in ("same-origin", "none")) and (origin is None or _is_own(origin, headers["host"])):
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", "Requests from pages of another origin are refused.")


def _is_own(origin: str, host: str) -> bool:
    scheme, _, rest = origin.partition("://")
    theirs = _split_host(rest) if scheme in DEFAULT_PORTS else None
    mine = _split_host(host)
    if theirs is None or mine is None:
        return False
    default = DEFAULT_PORTS[scheme]
    return (theirs[0], theirs[1] or default) == (mine[0], mine[1] or default)


class _BodyTooLarge(Exception):
    """Stops a handler that reads on after the limit."""


async def _limited(
    app: App, scope: Scope, receive: Receive, send: Send, limit: int, headers: Mapping[str, str], error_body: ErrorBody
) -> None:
    """Run the application with its body counted, also when no content-length announces it."""
    refusal = Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", f"The body is larger than the {limit} bytes allowed here."
    )
    announced = headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,18}", announced) or int(announced) > limit:
        await _answer(send, refusal, error_body)
        return
    seen, started, exceeded = 0, False, False

    async def counted() -> Message:
        nonlocal seen, exceeded
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            exceeded = True
            raise _BodyTooLarge
        return message

    async def guarded(message: Message) -> None:
        nonlocal started
        if exceeded and not started:
            return  # whatever the application makes of its cut-off body, the answer is 413
        started = True
        await send(message)

    try:
        await app(scope, counted, guarded)
    except _BodyTooLarge:
        if started:
            raise
    if exceeded and not started:
        await _answer(send, refusal, error_body)


async def _answer(send: Send, refusal: Refusal, error_body: ErrorBody) -> None:
    body = json.dumps(error_body(refusal), ensure_ascii=False).encode()
    headers = [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store"),
        *refusal.headers,
    ]  # fmt: skip
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})

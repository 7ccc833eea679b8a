"""The web application: its routes, their table, and the doors in front of all of them.

Place in the flow: weaver/web/server.py serves it. Invariants: what is not in route_table() is refused whoever asks (a test
compares it with the application's own routes); GET changes nothing; every answer carries the same strict headers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from core.errors import WeaverError
from core.http.doors import App, Doors, Message, Receive, Refusal, Role, Route, Scope, Send, plain_error
from core.jobs.lineage import read_lineage
from core.orders import QUEUE_VERBS
from weaver.web.answers import Health
from weaver.web.context import WebContext
from weaver.web.control_api import ControlApi
from weaver.web.events import Hub
from weaver.web.ledger_api import LedgerApi
from weaver.web.lineage_api import LineageApi
from weaver.web.metrics import CONTENT_TYPE, metrics
from weaver.web.pages import CSP, Pages
from weaver.web.queue_api import QueueApi
from weaver.web.replies import error_reply, refuse, reply
from weaver.web.sessions import Cookies, LoginCodes
from weaver.web.upload import SIDECAR_BYTES, InboxApi

THREADS = 4
_HEADERS = (
    (b"content-security-policy", CSP.encode()), (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"), (b"x-frame-options", b"DENY"), (b"cache-control", b"no-store"),
)  # fmt: skip


def route_table(max_upload_bytes: int) -> list[Route]:
    """Give every route there is and who may use it; there is one key, so whoever has it may do everything."""
    return [
        Route("GET", "/health", Role.PUBLIC),
        Route("GET", "/login", Role.PUBLIC),
        Route("POST", "/login", Role.PUBLIC, max_body=4096),
        Route("POST", "/api/login-code", Role.ADMIN, max_body=4096),
        Route("GET", "/", Role.READ),
        Route("GET", "/static/{name}", Role.READ),
        Route("GET", "/api/status", Role.READ),
        Route("GET", "/api/queue", Role.READ),
        Route("GET", "/api/queue/{job}", Role.READ),
        *(Route("POST", f"/api/queue/{{job}}/{verb}", Role.ADMIN, max_body=4096) for verb in ("promote", "rm", "retry")),
        *(Route("POST", f"/api/queue/{verb}", Role.ADMIN, max_body=4096) for verb in QUEUE_VERBS),
        Route("POST", "/api/inbox", Role.ADMIN, max_body=max_upload_bytes + 2 * SIDECAR_BYTES),
        Route("GET", "/api/inbox/{drop}", Role.READ),
        Route("GET", "/api/orders/{order}", Role.READ),
        Route("GET", "/api/ledger", Role.READ),
        Route("GET", "/api/ledger/summary", Role.READ),
        Route("GET", "/api/ledger/best", Role.READ),
        Route("GET", "/api/ledger/{checkpoint:path}", Role.READ),
        Route("GET", "/api/lineage", Role.READ),
        Route("GET", "/api/events", Role.READ),
        Route("GET", "/metrics", Role.READ),
    ]


class StrictHeaders:
    """Adds the security headers to every answer, those of the doors included; what a route set itself stays."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with the headers added."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", ())}
                added = [pair for pair in _HEADERS if pair[0] not in there]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, with_headers)


@dataclass(frozen=True)
class Web:
    """The application behind its doors, and its stream of events, which the server ends before it stops."""

    app: App
    inner: FastAPI
    hub: Hub


def build(web: WebContext) -> Web:
    """Make the application of one home."""
    cookies = Cookies(web.key, web.paths.home_id, web.clock)
    hub = Hub(web.overview, start_id=int(web.clock.now().timestamp() * 1000))
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=_lifespan, redirect_slashes=False)
    app.add_exception_handler(WeaverError, error_reply)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    _add_routes(app, web, hub, Pages(LoginCodes(web.clock), cookies))

    def identify(headers: Mapping[str, str]) -> Role | None:
        return Role.ADMIN if cookies.is_good(headers) else None

    doors = Doors(
        app, route_table(web.max_upload_bytes), [(web.key, Role.ADMIN)], _error_body, allowed_hosts=web.allowed_hosts,
        identify=identify,
    )  # fmt: skip
    return Web(StrictHeaders(doors), app, hub)


def _error_body(refusal: Refusal) -> Mapping[str, Any]:
    """Shape the refusals of the doors; whoever has no key is told how a browser gets in."""
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        message = "A key is needed: run `weaver open` and follow its link, or send Authorization: Bearer <key>."
        refusal = Refusal(refusal.status, refusal.code, message)
    return plain_error(refusal)


def _add_routes(app: FastAPI, web: WebContext, hub: Hub, pages: Pages) -> None:
    queue, inbox, ledger, control = QueueApi(web.paths), InboxApi(web), LedgerApi(web.paths), ControlApi(web)
    lineage = LineageApi(web.paths)

    def health() -> Response:
        return reply(Health())

    def status() -> Response:
        return reply(web.overview().status)

    def scrape() -> Response:
        return Response(metrics(web.overview(), read_lineage(web.paths)), media_type=CONTENT_TYPE)

    async def events(request: Request) -> Response:
        if hub.is_full:
            return refuse(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too_many_listeners", "Too many listen already; close one."))
        last = request.headers.get("last-event-id", "")
        last_id = int(last) if last.isascii() and last.isdigit() else None
        return StreamingResponse(hub.listen(last_id), media_type="text/event-stream")

    gets: dict[str, Callable[..., Any]] = {
        "/health": health, "/login": pages.login_page, "/": pages.index, "/static/{name}": pages.static,
        "/api/status": status, "/api/queue": queue.jobs, "/api/queue/{job}": queue.job, "/api/inbox/{drop}": inbox.receipt,
        "/api/ledger": ledger.checkpoints, "/api/ledger/summary": ledger.summary, "/api/ledger/best": ledger.best,
        "/api/ledger/{checkpoint:path}": ledger.checkpoint, "/api/events": events, "/api/lineage": lineage.lineage,
        "/api/orders/{order}": control.answer, "/metrics": scrape,
    }  # fmt: skip
    posts: dict[str, Callable[..., Any]] = {
        "/login": pages.login, "/api/login-code": pages.login_code, "/api/inbox": inbox.drop,
        "/api/queue/{job}/promote": control.promote, "/api/queue/{job}/rm": control.remove,
        "/api/queue/{job}/retry": control.retry, **{f"/api/queue/{verb}": control.order(verb) for verb in QUEUE_VERBS},
    }  # fmt: skip
    for method, handlers in (("GET", gets), ("POST", posts)):
        for path, handler in handlers.items():
            app.add_api_route(path, handler, methods=[method], response_model=None)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    detail = "; ".join(f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors())
    return refuse(Refusal(HTTPStatus.BAD_REQUEST, "bad_request", detail))


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refuse(Refusal(HTTPStatus(error.status_code), "refused", str(error.detail)))

"""The pages: / with the whole status, live, and /login, which turns a one-time code into a cookie.

Place in the flow: static/ ships with the package and is served as it is; the page listens to /api/events. Invariants: nothing
is loaded from anywhere else; no inline script or style but the login page's own, named by a nonce; texts from files are set
as text.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from core.errors import NotFound
from core.http.doors import Refusal
from weaver.web.answers import LoggedIn, LoginCode
from weaver.web.replies import refuse, reply
from weaver.web.sessions import CODE_S, Cookies, LoginCodes

STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class LoginRequest(msgspec.Struct, forbid_unknown_fields=True):
    """POST /login."""

    code: str


class Pages:
    """The pages and the way in."""

    def __init__(self, codes: LoginCodes, cookies: Cookies) -> None:
        self._codes, self._cookies = codes, cookies
        self._files = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in _TYPES}

    def index(self) -> Response:
        """Give the page."""
        return self._file("index.html")

    def static(self, name: str) -> Response:
        """Give a script or a style of the page."""
        if name not in self._files:
            raise NotFound(kind="page file", name=name, known=", ".join(sorted(self._files)))
        return self._file(name)

    def _file(self, name: str) -> Response:
        return Response(self._files[name], media_type=_TYPES[Path(name).suffix])

    def login_page(self) -> Response:
        """Give the page that sends the code behind the # of its own address."""
        nonce = secrets.token_urlsafe(16)
        policy = CSP.replace("script-src 'self'", f"script-src 'nonce-{nonce}'").replace("img-src 'self'", "img-src data:")
        html = self._files["login.html"].replace(b"NONCE", nonce.encode())
        return Response(html, media_type="text/html", headers={"content-security-policy": policy})

    async def login(self, request: Request) -> Response:
        """Exchange a one-time code for the session cookie."""
        try:
            code = msgspec.json.decode(await request.body(), type=LoginRequest).code
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return refuse(Refusal(HTTPStatus.BAD_REQUEST, "bad_request", f'Send {{"code": "..."}}: {error}'))
        if not self._codes.take(code):
            message = "The code is unknown, used or too old: run `weaver open` again."
            return refuse(Refusal(HTTPStatus.UNAUTHORIZED, "invalid_code", message))
        return reply(LoggedIn(), headers={"set-cookie": self._cookies.header()})

    def login_code(self) -> Response:
        """Give a one-time code to a program that holds the key."""
        return reply(LoginCode(code=self._codes.give(), expires_s=CODE_S))

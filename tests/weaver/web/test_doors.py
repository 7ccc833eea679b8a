"""Every route of the web process without a key, with a foreign Host and with a foreign Origin; the way in for browsers."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.http.doors import Role, Route
from tests.core.home_files import make_home
from tests.weaver.cli.command import weaver
from tests.weaver.web.web_process import DEADLINE_S, WebProcess, start
from weaver.web.app import build, route_table
from weaver.web.context import WebContext

ROUTES = route_table(2**20)
PUBLIC = [("GET", "/health"), ("GET", "/login"), ("POST", "/login")]


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def address(route: Route) -> str:
    return re.sub(r"\{\w+(:path)?\}", "x", route.path)


def test_table_and_application_have_the_same_routes(tmp_path: Path) -> None:
    context = WebContext(
        paths=make_home(tmp_path / "home"), environ={}, clock=SystemClock(), log=logging.getLogger("test"), key="key",
        allowed_hosts=(), max_upload_bytes=1, floor_bytes=0,
    )  # fmt: skip
    inner = build(context).inner
    there = {(method, route.path) for route in inner.routes for method in route.methods - {"HEAD"}}  # type: ignore[attr-defined]
    assert there == {(route.method, route.path) for route in ROUTES}


def test_only_health_and_the_login_are_public() -> None:
    assert [(route.method, route.path) for route in ROUTES if route.role == Role.PUBLIC] == PUBLIC


@pytest.mark.parametrize("route", [route for route in ROUTES if route.role != Role.PUBLIC], ids=name)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer ", "Basic {key}", "{key}", "Bearer {key}x"])
def test_without_the_key_every_route_is_401(web: WebProcess, route: Route, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.replace("{key}", web.key)}
    answer = web.ask(route.method, address(route), headers)
    assert answer.status == 401
    assert "weaver open" in answer.json["error"]["message"]
    assert web.key.encode() not in answer.body


@pytest.mark.parametrize("route", ROUTES, ids=name)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8888", "127.0.0.1.evil.example", "", "localhost, evil.example"])
def test_foreign_host_is_400_even_with_the_key(web: WebProcess, route: Route, host: str) -> None:
    assert web.ask(route.method, address(route), {**web.authorized, "Host": host}).status == 400


@pytest.mark.parametrize("route", ROUTES, ids=name)
@pytest.mark.parametrize(
    "header",
    [("Origin", "http://evil.example"), ("Origin", "null"), ("Origin", "http://127.0.0.1:1"), ("Sec-Fetch-Site", "cross-site"),
     ("Sec-Fetch-Site", "same-site")],
)  # fmt: skip
def test_foreign_origin_is_403_even_with_the_key(web: WebProcess, route: Route, header: tuple[str, str]) -> None:
    assert web.ask(route.method, address(route), {**web.authorized, header[0]: header[1]}).status == 403


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "POST"], ids=name)
def test_body_over_the_limit_is_413_before_it_is_read(web: WebProcess, route: Route) -> None:
    headers = {**web.authorized, "Content-Length": str(2**40), "Content-Type": "application/json"}
    assert web.ask(route.method, address(route), headers).status == 413


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/api", "/api/status/", "/static/../app.py", "//"])
def test_what_is_not_in_the_table_is_404_with_the_key_and_401_without(web: WebProcess, path: str) -> None:
    assert web.ask("GET", path).status == 404
    assert web.ask("GET", path, {}).status == 401


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_405(web: WebProcess, method: str) -> None:
    answer = web.ask(method, "/api/queue")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("path", ["/health", "/", "/login", "/api/status", "/nowhere"])
def test_every_answer_has_the_strict_headers_and_no_cors(web: WebProcess, path: str) -> None:
    headers = web.ask("GET", path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert not [header for header in headers if header.startswith("access-control")]
    assert "server" not in headers


def test_health_says_only_that_it_is_ok(web: WebProcess) -> None:
    assert web.ask("GET", "/health", {}).json == {"status": "ok"}


def log_in(web: WebProcess, code: str) -> dict[str, str] | None:
    """Send a code as the login page does; give the cookie header, None when it is refused."""
    headers = {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{web.port}", "Sec-Fetch-Site": "same-origin"}
    answer = web.ask("POST", "/login", headers, json.dumps({"code": code}).encode())
    if answer.status != 200:
        assert answer.status == 401
        return None
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    return {"Cookie": cookie.partition(";")[0]}


def test_link_of_weaver_open_logs_in_once(web: WebProcess) -> None:
    done = weaver(web.paths.home, "open")
    assert done.returncode == 0
    url, _, code = done.stdout.strip().partition("#")
    assert url == f"http://127.0.0.1:{web.port}/login"
    cookie = log_in(web, code)
    assert cookie is not None
    assert web.ask("GET", "/api/status", cookie).status == 200
    assert b"/static/page.js" in web.ask("GET", "/", cookie).body
    assert web.ask("GET", "/api/status", {**cookie, "Origin": "http://evil.example"}).status == 403
    assert log_in(web, code) is None


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"code": 5}', b'{"code": "x", "more": 1}', b"\xff"])
def test_login_without_a_code_is_400(web: WebProcess, body: bytes) -> None:
    assert web.ask("POST", "/login", {}, body).status == 400


@pytest.mark.parametrize("value", ["", "9999999999.", "9999999999.0000", ".", "x.y", "-1.z"])
def test_cookie_that_we_did_not_sign_is_401(web: WebProcess, value: str) -> None:
    answer = web.ask("GET", "/api/status", {"Cookie": f"weaver_{web.paths.home_id}={value}"})
    assert answer.status == 401


def test_login_page_runs_only_its_own_script(web: WebProcess) -> None:
    first, second = (web.ask("GET", "/login", {}) for _ in range(2))
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", first.headers["content-security-policy"])
    assert nonce is not None
    assert f'<script nonce="{nonce[1]}">'.encode() in first.body
    assert first.headers["content-security-policy"] != second.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/login", "/static/page.js", "/static/style.css"])
def test_pages_load_nothing_from_elsewhere_and_hold_no_inline_code(web: WebProcess, path: str) -> None:
    body = web.ask("GET", path).body.decode()
    assert not re.search(r"https?://|//cdn|@import|innerHTML|\bon\w+=|style=", body)


def test_key_that_others_can_read_stops_the_process_with_78(tmp_path: Path) -> None:
    paths = make_home(tmp_path / "home")
    (paths.tokens / "web").write_text("key\n")
    (paths.tokens / "web").chmod(0o640)
    assert start(paths).wait(timeout=DEADLINE_S) == 78

"""The answers of the web process: JSON by msgspec, errors in one shape.

Place in the flow: every route answers through here; the doors use the same shape. Reads and writes no file. Invariant: an
error is never a 200, and its text comes from core.errors.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from core.errors import Conflict, DiskLow, InvalidConfig, NotFound, NotRunning, Unavailable, UsageError, WeaverError
from core.http.doors import Refusal, plain_error

_STATUS: tuple[tuple[type[WeaverError], HTTPStatus, str], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND, "not_found"),
    (UsageError, HTTPStatus.BAD_REQUEST, "bad_request"),
    (InvalidConfig, HTTPStatus.SERVICE_UNAVAILABLE, "invalid_config"),
    (Conflict, HTTPStatus.CONFLICT, "conflict"),
    (NotRunning, HTTPStatus.SERVICE_UNAVAILABLE, "not_running"),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    (DiskLow, HTTPStatus.INSUFFICIENT_STORAGE, "disk_low"),
)


def reply(body: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON; body is a record or plain JSON types."""
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def refuse(refusal: Refusal) -> Response:
    """Answer with an error."""
    return reply(plain_error(refusal), refusal.status)


def error_reply(request: Request, error: Exception) -> Response:
    """Answer with one of our own errors."""
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return refuse(Refusal(status, code, str(error)))
    return refuse(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", str(error)))

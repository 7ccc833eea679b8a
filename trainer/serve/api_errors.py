"""Errors as the OpenAI API words them: an HTTP status and {"error": {message, type, param, code}}, never a 200 with a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.errors import InvalidData, LineRefused, NotFound, WeaverError

# More would not help a person, and the list goes into every refusal.
MOST_AVAILABLE = 50


class ApiError(WeaverError):
    """{detail}"""

    status: int
    code: str
    param: str | None
    detail: str

    def __init__(self, status: int, code: str, detail: str, param: str | None = None, **more: object) -> None:
        self.more = more
        super().__init__(status=status, code=code, detail=detail, param=param)

    def body(self) -> dict[str, Any]:
        """Give the JSON body."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.detail, "type": kind, "param": self.param, "code": self.code, **self.more}}


def invalid(param: str, detail: str) -> ApiError:
    """Refuse the value of a parameter."""
    return ApiError(400, "invalid_value", f"{param}: {detail}", param)


def unsupported(param: str) -> ApiError:
    """Refuse a parameter that changes nothing here, so that nobody believes it did."""
    return ApiError(400, "unsupported_parameter", f"The parameter {param!r} is not supported; leave it out.", param)


def too_long(tokens: int, context: int, param: str) -> ApiError:
    """Refuse a prompt that leaves no room for an answer."""
    detail = f"{tokens} tokens were sent; this model takes at most {context}, its answer included. Shorten them."
    return ApiError(400, "context_length_exceeded", detail, param)


def unknown_model(name: str, available: Sequence[str], why: str = "") -> ApiError:
    """Refuse a model that is not there, with the list of what is."""
    shown = list(available[:MOST_AVAILABLE])
    detail = f"There is no model {name!r}{why}. See `available`, or GET /v1/models."
    return ApiError(404, "model_not_found", detail, "model", available=shown, available_total=len(available))


def as_api_error(error: WeaverError) -> ApiError:
    """Give the answer for an error from further in."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, LineRefused):
        return ApiError(400, error.code, f"The prompt cannot be rendered: {error.detail}", "messages")
    if isinstance(error, NotFound):
        return ApiError(404, "not_found", str(error))
    if isinstance(error, InvalidData):
        return ApiError(500, "checkpoint_refused", str(error), "model")
    return ApiError(500, "server_error", str(error))

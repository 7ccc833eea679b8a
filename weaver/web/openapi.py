"""The description of the API in OpenAPI 3.1, made from the route table and the types that the routes answer with.

Place in the flow: continuous integration throws requests at a real web process by it (the server itself never serves it, nor
imports this). Reads and writes no file. Invariant: every route of the table is described, with every status that it may answer
with and the type of every answer; a route without a description is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

from core import __version__
from core.http.doors import Role, Route
from core.jobs.finding import Receipt
from core.jobs.job import Sidecar
from core.jobs.lineage import Lineage
from core.orders import QUEUE_VERBS, Order
from core.paths import STATES
from core.status import StatusReport
from weaver.web import answers
from weaver.web.app import route_table
from weaver.web.control_api import PromoteRequest, RemoveRequest, RetryRequest
from weaver.web.ledger_api import METRICS, MOST_ROWS
from weaver.web.pages import LoginRequest
from weaver.web.queue_api import MOST_JOBS

REF = "#/components/schemas/{name}"
TEXT = {"type": "string"}
JSON = "application/json"

Type = Any  # a struct type, or a union of them
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Described:
    """One route. answer: a type, or the media types of an answer that is text; errors beyond those of every route."""

    summary: str
    answer: Type
    errors: tuple[int, ...] = ()
    status: int = 200
    body: Type = None
    is_optional: bool = True
    query: Mapping[str, Schema] = field(default_factory=dict)


_PAGED = {"limit": {"type": "integer", "minimum": 1, "maximum": MOST_JOBS}}
_MOVED = (404, 409)

ROUTES: dict[str, Described] = {
    "GET /health": Described("Say that there is somebody.", answers.Health),
    "GET /login": Described("The page that logs a browser in.", ("text/html",)),
    "POST /login": Described("Exchange a one-time code for a cookie.", answers.LoggedIn, (401,), 200, LoginRequest, False),
    "POST /api/login-code": Described("Make a one-time code.", answers.LoginCode),
    "GET /": Described("The page.", ("text/html",)),
    "GET /static/{name}": Described(
        "A part of the page.", ("text/html", "text/javascript", "text/css", "image/svg+xml"), (404,)
    ),
    "GET /api/status": Described("What `weaver status --json` prints.", StatusReport, (503,)),
    "GET /api/queue": Described(
        "List jobs, oldest first.", answers.JobPage,
        query={"state": {"enum": ["", *STATES]}, "after": TEXT, "newest": {"type": "boolean"}, **_PAGED},
    ),
    "GET /api/queue/{job}": Described("Show one job.", answers.JobDetail | answers.DamagedJob, (404,)),
    "POST /api/queue/{job}/promote": Described("Change the priority of a job.", answers.JobRow, _MOVED, 200, PromoteRequest),
    "POST /api/queue/{job}/rm": Described("Take a queued job out.", answers.JobRow, _MOVED, 200, RemoveRequest),
    "POST /api/queue/{job}/retry": Described("Queue an ended job again.", answers.JobRow, _MOVED, 200, RetryRequest),
    **{f"POST /api/queue/{verb}": Described(f"Order the trainer to {verb}.", Order, (), 202) for verb in QUEUE_VERBS},
    "POST /api/inbox": Described("Drop a file, with its sidecar if it needs one.", answers.DropTaken, (507,), 202),
    "GET /api/inbox/{drop}": Described("The receipt of a drop.", Receipt, (404,)),
    "GET /api/ledger": Described(
        "List checkpoints by model and step.", answers.LedgerPage, (404,),
        query={"model": TEXT, "limit": {"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
               "after": {"type": "integer", "minimum": 0}},
    ),
    "GET /api/ledger/summary": Described("Say where each model stands.", answers.LedgerSummary),
    "GET /api/ledger/best": Described(
        "Name the best checkpoint of each model.", answers.Best, (404,), query={"metric": {"enum": [*METRICS]}, "model": TEXT}
    ),
    "GET /api/ledger/{checkpoint:path}": Described("Show one checkpoint.", answers.CheckpointDetail, (404,)),
    "GET /api/orders/{order}": Described("An order to the queue; ok and message are there once it is answered.", Order, (404,)),
    "GET /api/lineage": Described("Tallies per generator and validator.", Lineage),
    "GET /api/events": Described("The overview, live: snapshot, then patches.", ("text/event-stream",), (503,)),
    "GET /metrics": Described("The state in the text format of Prometheus.", ("text/plain",), (503,)),
}  # fmt: skip


def describe(max_upload_bytes: int) -> dict[str, Any]:
    """Give the whole description. Raises KeyError for a route that nobody described."""
    table = route_table(max_upload_bytes)
    described = {route: ROUTES[f"{route.method} {route.path}"] for route in table}
    types = {kind for one in described.values() for kind in (one.answer, one.body) if not isinstance(kind, tuple | None)}
    ordered = sorted({*types, Sidecar, answers.ErrorAnswer}, key=str)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=REF)
    schema_of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, Any] = {}
    for route, one in described.items():
        path = route.path.replace(":path}", "}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, one, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Weaver", "version": __version__},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(route: Route, one: Described, schema_of: Mapping[Type, Schema]) -> dict[str, Any]:
    error = {"content": {JSON: {"schema": schema_of[answers.ErrorAnswer]}}}
    is_public = route.role == Role.PUBLIC
    errors = sorted({400, 403, 413, *(() if is_public else (401,)), *one.errors})
    operation: dict[str, Any] = {
        "summary": one.summary,
        "security": [] if is_public else [{"key": []}],
        "parameters": [
            *(_parameter(name, "path", {**TEXT, "minLength": 1}) for name in re.findall(r"\{(\w+)", route.path)),
            *(_parameter(name, "query", schema) for name, schema in one.query.items()),
        ],
        "responses": {
            str(one.status): {"description": one.summary, "content": _content(one.answer, schema_of)},
            **{str(status): {"description": HTTPStatus(status).phrase, **error} for status in errors},
        },
    }
    if route.path == "/api/inbox" and route.method == "POST":
        operation["requestBody"] = _form(schema_of[Sidecar])
    elif one.body is not None:
        operation["requestBody"] = {"required": not one.is_optional, "content": {JSON: {"schema": schema_of[one.body]}}}
    return operation


def _parameter(name: str, place: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": dict(schema)}


def _content(answer: Type, schema_of: Mapping[Type, Schema]) -> dict[str, Any]:
    if isinstance(answer, tuple):
        return {media: {"schema": TEXT} for media in answer}
    return {JSON: {"schema": schema_of[answer]}}


def _form(sidecar: Schema) -> dict[str, Any]:
    """Describe the form of an upload: the file under the name it is to have, and how to read it."""
    form = {
        "type": "object",
        "properties": {"file": {**TEXT, "format": "binary"}, "sidecar": sidecar},
        "required": ["file"],
        "additionalProperties": False,
    }
    encoding = {"sidecar": {"contentType": JSON}}
    return {"required": True, "content": {"multipart/form-data": {"schema": form, "encoding": encoding}}}

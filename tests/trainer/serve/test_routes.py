"""Every route of the oracle: without a key, with a foreign Host, with a foreign Origin; and what the other routes answer."""

from __future__ import annotations

import http.client
import json
import logging
from typing import Any
from urllib.parse import urlsplit

import pytest

from core.checkpoints.ledger import manifest_id
from core.clock import SystemClock
from core.errors import RemoteRefused
from core.http.doors import Role, Route
from core.http.oracle import ModelRequest, Oracle
from core.paths import Paths
from core.text.tokens import encode_plain, encode_prompt, load_tokenizer
from tests.trainer.serve.oracle_home import Running, name_of
from trainer.serve.app import BODY, ROUTES, build
from trainer.serve.loaded import Target, Tokenizers, load
from trainer.serve.score import score_continuations

MODEL = f"tiny/{name_of(10)}"
USER = {"role": "user", "content": "reverse ka lo mi"}
ALL = pytest.mark.parametrize("route", list(ROUTES), ids=lambda route: f"{route.method} {route.path}")


def send(
    running: Running,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: Any = b"{}",
    key: str | None = "oracle-admin",
) -> tuple[int, Any]:
    """Send one raw request; give status and JSON."""
    connection = http.client.HTTPConnection(urlsplit(running.url).netloc, timeout=30)
    given = {"Authorization": f"Bearer {running.key(key)}"} if key else {}
    try:
        connection.request(method, path, body=body if method == "POST" else None, headers={**given, **(headers or {})})
        response = connection.getresponse()
        assert not [name for name, _ in response.getheaders() if name.lower().startswith("access-control")]
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@ALL
def test_route_without_a_key_is_401_unless_it_is_health(running: Running, route: Route) -> None:
    status, body = send(running, route.method, route.path, key=None)
    if route.path == "/health":
        assert (status, body) == (200, {"status": "ok"})
    else:
        assert (status, body["error"]["code"], body["error"]["type"]) == (401, "invalid_api_key", "authentication_error")


@ALL
def test_route_with_a_foreign_host_is_400(running: Running, route: Route) -> None:
    status, body = send(running, route.method, route.path, {"Host": "evil.example"})
    assert (status, body["error"]["code"]) == (400, "host_not_allowed")


@ALL
@pytest.mark.parametrize("header", [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")])
def test_route_with_a_foreign_origin_is_403(running: Running, route: Route, header: tuple[str, str]) -> None:
    status, body = send(running, route.method, route.path, dict([header]))
    assert (status, body["error"]["code"]) == (403, "foreign_origin")


@ALL
def test_route_wants_the_role_that_the_table_says(running: Running, route: Route) -> None:
    status, body = send(running, route.method, route.path, key="oracle-read")
    assert (status == 403) == (route.role == Role.ADMIN), body


@ALL
def test_body_over_the_limit_is_413_with_and_without_a_length(running: Running, route: Route) -> None:
    if route.method == "GET":
        return
    blocks = (b"x" * 2**20 for _ in range(BODY // 2**20 + 1))
    for body in (b"x" * (route.max_body + 1), blocks):  # an iterator is sent chunked
        try:
            status, answer = send(running, "POST", route.path, body=body)
        except (BrokenPipeError, ConnectionResetError):
            continue  # the oracle hung up on the rest of the body
        assert (status, answer["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/openapi.json", "/", "/v1", "/v1/chat/completions/", "/metrics", "/admin"]
)
def test_undeclared_path_is_refused_even_with_the_admin_key(running: Running, path: str) -> None:
    assert send(running, "GET", path)[0] == 404
    assert send(running, "GET", path, key=None)[0] == 401


def test_every_route_of_the_application_is_in_the_table(template: Paths) -> None:
    from fastapi import FastAPI
    from fastapi.routing import APIRoute

    app: Any = build(template, logging.getLogger("test"), SystemClock()).app
    inner = app._app
    assert isinstance(inner, FastAPI)
    found = {(method, route.path) for route in inner.routes if isinstance(route, APIRoute) for method in route.methods}  # type: ignore[union-attr]
    assert found == {(route.method, route.path) for route in ROUTES} and len(inner.routes) == len(ROUTES)


def test_get_changes_no_state(running: Running) -> None:
    before = [row.id for row in running.oracle.pool.loaded.values()]
    for route in ROUTES:
        if route.method == "GET":
            send(running, "GET", route.path)
        else:
            assert send(running, "GET", route.path)[0] == 405
    assert [row.id for row in running.oracle.pool.loaded.values()] == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"model": NaN}', b'{"a": 1, "a": 2}', b"\xff", b"[" * 100_000])
def test_body_that_is_no_json_object_is_400(running: Running, body: bytes) -> None:
    for route in ROUTES:
        if route.method == "POST":
            status, answer = send(running, "POST", route.path, body=body)
            assert (status, answer["error"]["code"]) == (400, "invalid_json"), route


def test_batch_answers_as_chat_does_with_an_error_of_its_own_for_a_bad_item(running: Running) -> None:
    client = running.client("oracle-read")
    conversations: list[Any] = [[USER], [], [{"role": "user", "content": "a" * 1100}], [{"role": "user", "content": "join ka"}]]
    found = client.answer(MODEL, conversations, 12)
    text = running.openai().chat.completions.create(model=MODEL, messages=[USER], temperature=0, max_tokens=12)  # type: ignore[list-item]
    assert found.answers[0].text == text.choices[0].message.content
    assert [answer.error is None for answer in found.answers] == [True, False, False, True]
    assert [answer.text is None for answer in found.answers] == [False, True, True, False]
    assert "1024" in str(found.answers[2].error)
    assert {(answer.model, answer.system_fingerprint) for answer in found.answers} == {(MODEL, found.system_fingerprint)}
    first = found.answers[0]
    assert first.tokens == 12 and first.ms is not None and first.ms > 0 and first.logprob is not None and first.logprob < 0


def test_whole_batch_is_refused_for_an_unknown_model_or_too_many(running: Running) -> None:
    client = running.client("oracle-read")
    with pytest.raises(RemoteRefused, match="no model 'tiny@99'"):
        client.answer("tiny@99", [[USER]], 5)
    for conversations in ([], [[USER]] * 513):
        with pytest.raises(RemoteRefused, match="1 to 512"):
            client.answer(MODEL, conversations, 5)
    with pytest.raises(RemoteRefused, match="at least 1"):
        client.answer(MODEL, [[USER]], 0)


def test_scores_of_ids_are_the_fingerprints_numbers(running: Running) -> None:
    loaded = load(running.paths, Target("tiny", name_of(10)), Tokenizers(), "cpu")
    pairs = [([5, 6, 7], [8, 9]), ([9], [10]), ([20] * 30, [5] * 8)]
    found = running.client("oracle-read").score(MODEL, pairs)
    assert [answer.logprobs for answer in found.scores] == score_continuations(loaded.net, pairs, loaded.pad_id)
    assert [answer.tokens for answer in found.scores] == [[8, 9], [10], [5] * 8]
    assert found.scores[0].sum == sum(found.scores[0].logprobs)
    assert (found.model, found.system_fingerprint) == (MODEL, loaded.weights_id)


def test_scores_of_texts_are_those_of_their_ids(running: Running) -> None:
    tokenizer = load_tokenizer(running.paths.model("tiny").checkpoint(name_of(10)))
    completion = encode_plain(tokenizer, "mi lo ka")
    for prompt, ids in (
        ({"messages": [USER]}, encode_prompt(tokenizer, [USER])),
        ({"prompt": "reverse ka"}, encode_plain(tokenizer, "reverse ka")),
    ):
        body = json.dumps({"model": MODEL, "completion": "mi lo ka", **prompt})
        status, answer = send(running, "POST", "/v1/score", body=body, key="oracle-read")
        expected = running.client("oracle-read").score(MODEL, [(ids, completion)]).scores[0]
        assert status == 200 and answer["tokens"] == completion
        assert answer["logprobs"] == expected.logprobs and answer["sum"] == expected.sum


@pytest.mark.parametrize(
    "body",
    [
        {}, {"prompt": "x"}, {"completion": "x"}, {"prompt": "x", "messages": [USER], "completion": "y"},
        {"prompt": "x", "completion": ""}, {"prompt_ids": [[1]]}, {"prompt_ids": [[1]], "completion_ids": []},
        {"prompt_ids": [[]], "completion_ids": [[1]]}, {"prompt_ids": [[1]], "completion_ids": [[320]]},
        {"prompt_ids": [[-1]], "completion_ids": [[1]]}, {"prompt_ids": [[1]], "completion_ids": [[1]], "prompt": "x"},
        {"prompt_ids": [["a"]], "completion_ids": [[1]]}, {"prompt": "x", "completion": "y", "temperature": 1},
        {"prompt_ids": [[1] * 1000], "completion_ids": [[1] * 100]},
    ],
)  # fmt: skip
def test_bad_score_request_is_400(running: Running, body: dict[str, Any]) -> None:
    status, answer = send(running, "POST", "/v1/score", body=json.dumps({"model": MODEL, **body}), key="oracle-read")
    assert status == 400, answer


def test_load_unload_and_alias(running: Running) -> None:
    client = running.client()
    served = client.load("tiny@20")
    assert served.model == f"tiny/{name_of(20)}"
    assert served.system_fingerprint == manifest_id(running.paths.model("tiny").checkpoint(name_of(20)))
    assert {row.id: row.weaver.loaded for row in client.models()}[served.model]
    client.unload(served.model)
    assert not {row.id: row.weaver.loaded for row in client.models()}[served.model]
    assert {row.id: row.weaver.held for row in client.models()}[served.model]
    named = client.alias("other/champion", "other@7")
    assert (named.alias, named.model) == ("other/champion", f"other/{name_of(7)}")
    assert client.answer("other/champion", [[USER]], 3).model == f"other/{name_of(7)}"
    assert next(row for row in client.models() if row.id == "other/champion").weaver.checkpoint == f"other/{name_of(7)}"
    with pytest.raises(RemoteRefused, match="it stays"):
        client.unload(f"other/{name_of(7)}")


@pytest.mark.parametrize(
    ("alias", "model"), [("champion", "other@7"), ("best", "tiny@10"), ("tiny/best", "tiny@10"), ("../champion", "tiny@10")]
)
def test_alias_that_is_none_is_refused(running: Running, alias: str, model: str) -> None:
    with pytest.raises(RemoteRefused, match="alias"):
        running.client().alias(alias, model)


@pytest.mark.parametrize(
    "model", ["/etc", "tiny/../../etc", "models/tiny", "tiny/checkpoint-10-20261120-2130/../x", "file:///etc"]
)
def test_paths_are_no_ids(running: Running, model: str) -> None:
    with pytest.raises(RemoteRefused, match="There is no model") as caught:
        running.client().client.post("/admin/load", ModelRequest(model=model), dict)
    assert caught.value.facts["status"] == 404


def test_corrupt_checkpoint_is_refused_with_the_file_and_never_served(running: Running) -> None:
    weights = running.paths.model("tiny").checkpoint(name_of(30)) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    client: Oracle = running.client()
    for call in (client.load, lambda model: client.alias("champion", model), lambda model: client.answer(model, [[USER]], 3)):
        with pytest.raises(RemoteRefused, match=r"model.safetensors hashes to .*The checkpoint is not used") as caught:
            call(f"tiny/{name_of(30)}")
        assert caught.value.facts["status"] == 500
    assert not {row.id: row.weaver.held for row in client.models()}[f"tiny/{name_of(30)}"]

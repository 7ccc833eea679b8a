"""The oracle's bounds: too many waiting, slow loads, clients that go away, a model that breaks."""

from __future__ import annotations

import http.client
import json
import math
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import torch

from core.errors import RemoteRefused, Unavailable
from core.paths import Paths
from tests.fakes import wait_for
from tests.trainer.serve.oracle_home import Running, name_of, serving
from trainer.serve.generate import CANCELLED
from trainer.serve.worker import MOST_WAITING_ROWS

MODEL = f"tiny/{name_of(10)}"
USER: Any = {"role": "user", "content": "reverse ka lo mi"}


@pytest.fixture
def blocked(running: Running) -> Iterator[threading.Event]:
    """Keep the worker busy until the event is set."""
    free, busy = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        free.wait(30)

    running.oracle.worker.task(hold)
    assert busy.wait(10)
    yield free
    free.set()


def leave_after_asking(running: Running, body: dict[str, Any]) -> None:
    """Send a chat request, hang up once it is in the queue, and wait until the oracle has noticed."""
    before = running.oracle.worker.waiting_rows
    connection = http.client.HTTPConnection(urlsplit(running.url).netloc)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {running.key()}"})
    wait_for("the request to arrive", lambda: running.oracle.worker.waiting_rows > before)
    connection.close()
    wait_for("the request to be given up", lambda: running.oracle.worker.waiting_rows == before)


def test_more_than_the_queue_holds_is_429_and_what_waits_is_answered(running: Running, blocked: threading.Event) -> None:
    batches = (MOST_WAITING_ROWS - 1) // 512
    results: list[int] = []

    def ask() -> None:
        results.append(len(running.client().answer(MODEL, [[USER]] * 512, 1).answers))

    threads = [threading.Thread(target=ask) for _ in range(batches)]
    for thread in threads:
        thread.start()
    wait_for("the queue to fill", lambda: running.oracle.worker.waiting_rows >= batches * 512)
    with pytest.raises(Unavailable, match="answers are waiting; at most"):
        running.client().answer(MODEL, [[USER]] * 512, 1)
    with pytest.raises(openai.RateLimitError) as caught:
        running.openai().completions.create(model=MODEL, prompt=["x"] * 512, max_tokens=1)
    assert caught.value.response.headers["retry-after"] == "1" and caught.value.code == "queue_full"
    blocked.set()
    for thread in threads:
        thread.join()
    assert results == [512] * batches
    wait_for("the queue to empty", lambda: running.oracle.worker.waiting_rows == 0)


def test_client_that_went_away_is_not_worked_for(running: Running, blocked: threading.Event) -> None:
    answered = running.oracle.worker.answered
    for stream in (False, True):
        leave_after_asking(running, {"model": MODEL, "messages": [USER], "max_tokens": 900, "stream": stream})
    blocked.set()
    assert running.client().answer(MODEL, [[USER]], 3).answers[0].tokens == 3
    assert running.oracle.worker.answered == answered + 1


def test_client_that_leaves_a_running_stream_frees_its_row(running: Running) -> None:
    with running.openai() as client:
        stream = client.chat.completions.create(model=MODEL, messages=[USER], max_tokens=900, temperature=0, stream=True)
        assert next(chunk for chunk in stream if chunk.choices[0].delta.content)
        row = running.oracle.pool.loaded[MODEL].batch.rows[0]
        stream.close()
    wait_for("the row to leave", lambda: running.oracle.worker.waiting_rows == 0, 10)
    assert row.error == CANCELLED and len(row.choices) < 900


def test_long_answer_does_not_hold_up_a_short_one(running: Running) -> None:
    with running.openai() as client:
        stream = client.chat.completions.create(model=MODEL, messages=[USER], max_tokens=900, temperature=0, stream=True)
        next(iter(stream))
        assert running.client().answer(MODEL, [[USER]], 3).answers[0].tokens == 3
        assert running.client().answer("tiny@20", [[USER]], 3).answers[0].tokens == 3
        assert running.oracle.worker.waiting_rows == 1  # the long one still runs
        stream.close()


def test_request_for_a_checkpoint_that_takes_long_to_load_is_503(template: Paths) -> None:
    with serving(template, load_wait_s=0.05) as running:
        free = threading.Event()
        running.oracle.worker.task(lambda: free.wait(30))
        with pytest.raises(openai.InternalServerError) as caught:
            running.openai().chat.completions.create(model=MODEL, messages=[USER], max_tokens=1)
        assert (caught.value.status_code, caught.value.code) == (503, "loading")
        with pytest.raises(Unavailable, match="is being loaded"):
            running.client().answer(MODEL, [[USER]], 1)
        free.set()
        assert running.client().load(MODEL).model == MODEL
        assert running.client().answer(MODEL, [[USER]], 1).model == MODEL


def test_model_whose_numbers_break_is_an_error_and_the_others_go_on(running: Running) -> None:
    client = running.client()
    client.load("tiny@40")
    with torch.no_grad():
        next(running.oracle.pool.loaded[f"tiny/{name_of(40)}"].net.parameters())[:, 0] = math.nan
    with pytest.raises(openai.InternalServerError, match="not finite") as caught:
        running.openai().chat.completions.create(model="tiny@40", messages=[USER], max_tokens=5)
    assert caught.value.code == "model_failed"
    answers = client.answer("tiny@40", [[USER]], 5).answers
    assert answers[0].text is None and "not finite" in str(answers[0].error)
    with pytest.raises(RemoteRefused, match="not finite"):
        client.score("tiny@40", [([5], [6])])
    assert client.answer(MODEL, [[USER]], 3).answers[0].tokens == 3


def test_model_that_raises_fails_its_requests_alone(running: Running) -> None:
    client = running.client()
    client.load("tiny@20")
    loaded = running.oracle.pool.loaded[f"tiny/{name_of(20)}"]
    weight = loaded.net.model.layers[1].mlp.up_proj.weight
    good, weight.data = weight.data, torch.zeros(3, 3)  # any forward raises RuntimeError
    answers = client.answer("tiny@20", [[USER]] * 3, 5).answers
    assert ["the model failed" in str(answer.error) for answer in answers] == [True] * 3
    assert client.answer(MODEL, [[USER]], 3).answers[0].tokens == 3
    assert running.oracle.worker.waiting_rows == 0
    with running.openai() as openai_client:  # now it breaks in the middle of an answer
        weight.data = good
        stream = openai_client.chat.completions.create(model="tiny@20", messages=[USER], max_tokens=900, stream=True)
        next(iter(stream))
        weight.data = torch.zeros(3, 3)
        with pytest.raises(openai.APIError, match="the model failed"):
            list(stream)
    weight.data = good
    assert client.answer("tiny@20", [[USER]] * 3, 5).answers[2].tokens == 5

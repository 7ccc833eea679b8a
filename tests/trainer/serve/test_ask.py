"""Asking a suite through the real oracle: replies are the answers of exactly the checkpoint asked for, or errors."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import pytest

from core.checkpoints.ledger import manifest_id
from core.errors import RemoteRefused, Unavailable
from core.evals.ask import ask, connect
from core.files import replace_quick
from core.hosts import Endpoint
from core.http.oracle import BatchAnswer, BatchAnswers, Oracle
from core.http.ports import take_port
from core.records import encode
from tests.core.home_files import beat
from tests.trainer.serve.oracle_home import Running, name_of

MODEL = f"tiny/{name_of(10)}"


@dataclass(frozen=True)
class Question:
    """One question."""

    id: str
    prompt: str


QUESTIONS = [Question(f"q-{number}", f"join {number}") for number in range(100)]


def weights_of(running: Running, step: int = 10) -> str:
    return manifest_id(running.paths.model("tiny").checkpoint(name_of(step)))


def test_suite_of_a_hundred_is_answered_in_one_go(running: Running) -> None:
    """Well under a second on two free cores; the bound here leaves room for a machine that others use."""
    oracle, seen = running.client("oracle-read"), list[int]()
    ask(oracle, MODEL, weights_of(running), QUESTIONS[:2], 16)
    started = time.perf_counter()
    replies = ask(oracle, MODEL, weights_of(running), QUESTIONS, 16, seen.append)
    took = time.perf_counter() - started
    print(f"100 questions in {took:.2f} s")
    assert took < 5 and seen == [100]
    assert list(replies) == [question.id for question in QUESTIONS]
    assert all(reply.error is None and reply.answer is not None and reply.tokens for reply in replies.values())
    single = ask(oracle, MODEL, weights_of(running), QUESTIONS[42:43], 16)["q-42"]
    assert single.answer == replies["q-42"].answer
    assert single.logprob == pytest.approx(replies["q-42"].logprob, abs=1e-3)


def test_more_questions_than_one_request_takes_are_asked_in_several(running: Running) -> None:
    seen: list[int] = []
    many = [Question(str(number), "join ka") for number in range(300)]
    replies = ask(running.client("oracle-read"), MODEL, weights_of(running), many, 2, seen.append)
    assert len(replies) == 300 and seen == [128, 256, 300]


def test_connection_is_found_where_the_oracle_answers(running: Running) -> None:
    port = int(running.url.rpartition(":")[2])
    endpoint = Endpoint(service="inference", host="local", address="127.0.0.1", port=port, pid=os.getpid())
    replace_quick(running.paths.status / "endpoints" / "inference.json", encode(endpoint))
    with pytest.raises(Unavailable, match="no process of this home"):  # whoever has the port now gets no key
        connect(running.paths, {"WEAVER_HOST": "local"})
    beat(running.paths, "oracle")
    assert len(connect(running.paths, {"WEAVER_HOST": "local"}).models()) >= 6
    with pytest.raises(RemoteRefused, match="needs the admin key"):
        connect(running.paths, {"WEAVER_HOST": "local"}).load(MODEL)
    assert connect(running.paths, {"WEAVER_HOST": "local"}, "oracle-admin").load(MODEL).model == MODEL


def test_answers_of_other_weights_are_errors(running: Running) -> None:
    replies = ask(running.client("oracle-read"), MODEL, weights_of(running, 20), QUESTIONS[:3], 4)
    assert all(reply.answer is None and "expected" in str(reply.error) for reply in replies.values())
    running.client().alias("champion", "tiny@20")
    replies = ask(running.client("oracle-read"), "champion", weights_of(running, 20), QUESTIONS[:1], 4)
    assert "answered by tiny/checkpoint-20" in str(replies["q-0"].error)


def test_unknown_checkpoint_is_refused(running: Running) -> None:
    with pytest.raises(RemoteRefused, match="no model"):
        ask(running.client("oracle-read"), "tiny/checkpoint-9-20261120-2130", "x", QUESTIONS, 4)


def test_oracle_that_is_away_is_unavailable_and_nobody_is_graded() -> None:
    free = take_port("127.0.0.1", 0, "test", "NONE")
    url = f"http://127.0.0.1:{free.getsockname()[1]}"
    free.close()
    with pytest.raises(Unavailable):
        ask(Oracle(url, "key"), MODEL, "w", QUESTIONS * 2, 4)


class Flaky(Oracle):
    """An oracle that loses its second request and sends one answer too few in the third."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "key")
        self.calls = 0

    def answer(self, model: str, conversations: Any, max_tokens: int) -> BatchAnswers:
        self.calls += 1
        if self.calls == 2:
            raise Unavailable(service="the oracle", url="x", detail="connection reset")
        one = BatchAnswer(
            model=model, system_fingerprint="w", text="x", finish_reason="stop", logprob=-1.0, tokens=1, ms=1.0, error=None
        )
        return BatchAnswers(model=model, system_fingerprint="w", answers=[one] * (len(conversations) - (self.calls == 3)))


def test_lost_request_costs_its_own_questions_and_no_wrong_answers() -> None:
    many = [Question(str(number), "x") for number in range(384)]
    replies = ask(Flaky(), "m/c", "w", many, 4)
    errors = {id_: reply for id_, reply in replies.items() if reply.error is not None}
    assert list(errors) == [*map(str, range(128, 256)), "383"]
    assert all(reply.answer is None for reply in errors.values())
    assert all("connection reset" in str(errors[str(n)].error) for n in range(128, 256))

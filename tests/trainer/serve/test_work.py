"""Requests in the worker: what is made of the rows of a checkpoint, with and without an end token."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from core.paths import Paths
from core.text.tokens import decode_ids
from tests.trainer.serve.oracle_home import name_of
from trainer.serve.loaded import Loaded, Target, Tokenizers, load
from trainer.serve.openai_requests import Wish
from trainer.serve.work import Answered, Batch, Began, Completion, Piece, encode_messages, encode_text

MESSAGES: Any = [{"role": "user", "content": "reverse ka lo mi"}]
TARGET = Target("tiny", name_of(10))


@pytest.fixture(scope="module")
def loaded(template: Paths) -> Loaded:
    return load(template, TARGET, Tokenizers(), "cpu")


def run(loaded: Loaded, work: Completion | Batch) -> Any:
    rows, over = work.begin(loaded), []
    if rows:
        over = loaded.batch.add(rows)
    while len(over) < len(rows):
        over += loaded.batch.step()
    return work.finish(loaded)


def greedy_ids(loaded: Loaded, count: int) -> list[int]:
    """Give the ids of a greedy answer that nothing ends."""
    endless = dataclasses.replace(loaded, ends=frozenset())
    work = Completion(TARGET, [MESSAGES], encode_messages, Wish(max_tokens=count, temperature=0.0))
    rows = work.begin(endless)
    over = endless.batch.add(rows)
    while not over:
        over = endless.batch.step()
    return [choice.id for choice in rows[0].choices]


def test_end_token_counts_but_does_not_show(loaded: Loaded) -> None:
    ids = greedy_ids(loaded, 8)
    at = next(at for at in range(2, 8) if ids[at] not in ids[:at])
    ending = dataclasses.replace(loaded, ends=frozenset({ids[at]}))
    wish = Wish(max_tokens=20, temperature=0.0, logprobs=True)
    answered: Answered = run(ending, Completion(TARGET, [MESSAGES], encode_messages, wish))
    answer = answered.answers[0]
    assert (answer.finish, answer.tokens) == ("stop", at + 1)
    assert answer.text == decode_ids(loaded.tokenizer, ids[:at])
    assert [token.text for token in answer.shown] == [decode_ids(loaded.tokenizer, [id_]) for id_ in ids[:at]]
    heard: list[Began | Piece] = []
    streamed = Completion(TARGET, [MESSAGES], encode_messages, wish)
    streamed.emit = heard.append
    run(ending, streamed)
    pieces = [event for event in heard if isinstance(event, Piece)]
    assert isinstance(heard[0], Began) and "".join(piece.text for piece in pieces) == answer.text
    assert [token for piece in pieces for token in piece.shown] == list(answer.shown)
    one = run(ending, Batch(TARGET, [MESSAGES], 20)).answers[0]
    assert (one.text, one.finish_reason, one.tokens) == (answer.text, "stop", at + 1)
    assert one.logprob == pytest.approx(answer.logprob, abs=1e-4)


def test_answer_that_ends_at_once_is_the_empty_text(loaded: Loaded) -> None:
    ending = dataclasses.replace(loaded, ends=frozenset({greedy_ids(loaded, 1)[0]}))
    answer = run(ending, Completion(TARGET, [MESSAGES], encode_messages, Wish(temperature=0.0))).answers[0]
    assert (answer.text, answer.finish, answer.tokens, answer.shown) == ("", "stop", 1, ())
    one = run(ending, Batch(TARGET, [MESSAGES], 20)).answers[0]
    assert (one.text, one.error) == ("", None)


def test_batch_of_nothing_but_errors_has_no_rows(loaded: Loaded) -> None:
    work = Batch(TARGET, [[], [{"role": "user", "content": "\ud800"}]], 5)
    assert work.begin(loaded) == []
    assert [answer.error is not None and answer.text is None for answer in work.finish(loaded).answers] == [True, True]


def test_prompt_of_an_answers_length_is_bounded_by_the_context(loaded: Loaded) -> None:
    ids = [5] * (loaded.context - 1)
    answer = run(loaded, Completion(TARGET, [ids], encode_text, Wish(temperature=0.0))).answers[0]
    assert answer.prompt_tokens + answer.tokens == loaded.context

"""Swapping under load: every answer is that of the checkpoint it names, whatever the alias does meanwhile."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from core.checkpoints.fingerprint import Mismatch, Proved, prove
from core.errors import Unavailable
from core.paths import Paths
from tests.trainer.serve.oracle_home import Running, name_of
from trainer.fingerprint import make_fingerprint

QUESTIONS = [f"join {word}" for word in ("ka", "lo", "mi", "tu", "be", "so", "ra", "ne")]


def alone(running: Running, step: int) -> dict[str, Any]:
    """Give what a checkpoint answers to each question while nothing else is asked: its text and log-probability."""
    conversations = [[{"role": "user", "content": question}] for question in QUESTIONS]
    answers = running.client().answer(f"tiny/{name_of(step)}", conversations, 10).answers
    return {question: (answer.text, answer.logprob) for question, answer in zip(QUESTIONS, answers, strict=True)}


def test_answers_under_a_flipping_alias_are_those_of_the_checkpoint_they_name(running: Running) -> None:
    """200 requests of 8 threads; the alias flips between three checkpoints, and others push them out of memory."""
    steps = (0, 10, 20)
    truth = {f"tiny/{name_of(step)}": alone(running, step) for step in steps}
    admin = running.client()
    admin.alias("champion", "tiny@0")
    done = threading.Event()
    flips = 0

    def flip() -> None:
        nonlocal flips
        while not done.is_set():
            with suppress(Unavailable):  # all three places are busy: nothing is evicted then
                admin.alias("champion", f"tiny@{steps[flips % 3]}")
                flips += 1
                admin.load(f"tiny@{(30, 40)[flips % 2]}")

    def ask(number: int) -> tuple[str, str, Any, float]:
        question = QUESTIONS[number % len(QUESTIONS)]
        answer = client.chat.completions.create(
            model="champion", messages=[{"role": "user", "content": question}], temperature=0, max_tokens=10, logprobs=True
        )
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None and logprobs.content is not None
        return answer.model, question, answer.choices[0].message.content, sum(token.logprob for token in logprobs.content)

    flipper = threading.Thread(target=flip)
    with running.openai().with_options(max_retries=5) as client, ThreadPoolExecutor(8) as pool:
        flipper.start()
        try:
            found = list(pool.map(ask, range(200)))
        finally:
            done.set()
            flipper.join()
    by_model = Counter(model for model, *_ in found)
    print(f"{flips} flips, answers by checkpoint: {by_model}")
    assert set(by_model) == set(truth) and flips > 10
    wrong = [(model, question) for model, question, text, _ in found if text != truth[model][question][0]]
    assert wrong == []
    assert all(abs(logprob - truth[model][question][1]) < 1e-3 for model, question, _, logprob in found)


def test_proof_tells_the_checkpoints_apart_over_the_wire(running: Running) -> None:
    paths: Paths = running.paths
    prints = {
        step: make_fingerprint(paths.model("tiny").checkpoint(name_of(step)), name_of(step), [([5, 6], [7, 8])])
        for step in (0, 10, 20)
    }
    pairs = [(prompted.prompt_ids, prompted.continuation_ids) for prompted in prints[10].prompts]
    others = [prints[0], prints[20]]
    right = prove(prints[10], others, [one.logprobs for one in running.client().score("tiny@10", pairs).scores])
    assert isinstance(right, Proved) and right.proof.max_diff == 0.0 and right.proof.prompts == 17
    assert right.proof.margin is not None and right.proof.margin > 0.01 and right.alike == ()
    wrong = prove(prints[10], others, [one.logprobs for one in running.client().score("tiny@20", pairs).scores])
    assert isinstance(wrong, Mismatch) and wrong.nearest == name_of(20)

"""Generation: an answer does not depend on who shares the batch, when it joined, or who left."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from core.paths import Paths
from tests.trainer.serve.oracle_home import name_of
from trainer.serve import generate
from trainer.serve.generate import Batch, Choice, Row
from trainer.serve.loaded import Loaded, Target, Tokenizers, load


@pytest.fixture(scope="module")
def loaded(template: Paths) -> Loaded:
    return load(template, Target("tiny", name_of(10)), Tokenizers(), "cpu")


def prompts(count: int, shortest: int = 3, longest: int = 60) -> list[list[int]]:
    """Give prompts of very different lengths (seed 5)."""
    rng = random.Random(5)
    return [[rng.randrange(4, 320) for _ in range(rng.randint(shortest, longest))] for _ in range(count)]


def row(prompt: list[int], limit: int = 12, **more: Any) -> Row:
    return Row(prompt=prompt, limit=limit, ends=frozenset(more.pop("ends", ())), **more)


def run(net: Any, rows: list[Row], join_at_once: int = 64) -> list[Row]:
    """Let rows join a few at a time, a step between each, until all are over."""
    batch, waiting, over = Batch(net, 0), list(rows), []
    while waiting or batch.rows:
        count = min(join_at_once, batch.room_for(waiting))
        if count:
            over += batch.add(waiting[:count])
            waiting = waiting[count:]
        over += batch.step()
    assert len(over) == len(rows) and set(over) == set(rows)
    return rows


def alone(net: Any, rows: list[Row]) -> list[Row]:
    for one in rows:
        run(net, [one])
    return rows


def greedy_by_hand(net: Any, prompt: list[int], limit: int) -> tuple[list[int], list[float]]:
    """Decode without a cache, a mask or a batch: the whole sequence through the model for each token."""
    ids, logprobs = list(prompt), []
    with torch.inference_mode():
        for _ in range(limit):
            scores = net(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            ids.append(int(scores.argmax()))
            logprobs.append(float(scores.max()))
    return ids[len(prompt) :], logprobs


def test_greedy_answer_is_the_models_own_argmax(loaded: Loaded) -> None:
    for prompt in prompts(4):
        found = run(loaded.net, [row(prompt)])[0]
        ids, logprobs = greedy_by_hand(loaded.net, prompt, 12)
        assert [choice.id for choice in found.choices] == ids
        assert [choice.logprob for choice in found.choices] == pytest.approx(logprobs, abs=1e-4)
        assert found.finish == "length"


@pytest.mark.parametrize("join_at_once", [64, 5, 1])
def test_batched_answers_equal_those_alone(loaded: Loaded, join_at_once: int) -> None:
    limits = random.Random(6)
    some = prompts(40)
    lengths = [limits.randint(1, 20) for _ in some]
    together = run(loaded.net, [row(p, n, top=3) for p, n in zip(some, lengths, strict=True)], join_at_once)
    for one, single in zip(
        together, alone(loaded.net, [row(p, n, top=3) for p, n in zip(some, lengths, strict=True)]), strict=True
    ):
        assert [choice.id for choice in one.choices] == [choice.id for choice in single.choices]
        for mine, its in zip(one.choices, single.choices, strict=True):
            assert mine.logprob == pytest.approx(its.logprob, abs=1e-4)
            assert [lp for _, lp in mine.top] == pytest.approx([lp for _, lp in its.top], abs=1e-4)


def test_sampled_answers_follow_their_seed_alone_or_together(loaded: Loaded) -> None:
    def rows() -> list[Row]:
        return [row(p, temperature=1.3, top_p=0.9, seed=at) for at, p in enumerate(prompts(16))]

    together, single = run(loaded.net, rows(), 3), alone(loaded.net, rows())
    assert [[c.id for c in one.choices] for one in together] == [[c.id for c in one.choices] for one in single]
    one_prompt = prompts(1)[0]
    different = run(loaded.net, [row(one_prompt, temperature=1.3, seed=seed) for seed in range(8)])
    assert len({tuple(c.id for c in one.choices) for one in different}) == 8


def test_row_without_a_seed_differs_from_call_to_call(loaded: Loaded) -> None:
    prompt = prompts(1)[0]
    found = {tuple(c.id for c in run(loaded.net, [row(prompt, temperature=2.0)])[0].choices) for _ in range(3)}
    assert len(found) == 3


def test_sampling_draws_with_the_models_probabilities() -> None:
    """10,000 draws from known probabilities (seeds 0 to 9,999): each share within 0.02; top_p keeps the nucleus only."""
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().repeat(10_000, 1)

    def shares(temperature: float, top_p: float) -> list[float]:
        rows = [row([1], temperature=temperature, top_p=top_p, seed=seed) for seed in range(10_000)]
        for one in rows:
            one.start()
        return (generate._sample(logits, rows).bincount(minlength=4) / 10_000).tolist()

    assert shares(1.0, 1.0) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.02)
    assert shares(1.0, 0.6) == pytest.approx([0.625, 0.375, 0, 0], abs=0.02)
    assert shares(1.0, 0.0) == [1, 0, 0, 0]
    assert shares(0.5, 1.0) == pytest.approx([x / 0.365 for x in (0.25, 0.09, 0.0225, 0.0025)], abs=0.02)


def test_row_stops_at_an_end_and_leaves_the_others_alone(loaded: Loaded) -> None:
    some = prompts(6)
    free = alone(loaded.net, [row(p, 20) for p in some])
    end = free[2].choices[4].id
    bounded = run(loaded.net, [row(p, 20, ends=[end] if at == 2 else []) for at, p in enumerate(some)])
    first = [c.id for c in free[2].choices].index(end)
    assert [c.id for c in bounded[2].choices] == [c.id for c in free[2].choices][: first + 1]
    assert bounded[2].finish == "stop"
    for at in (0, 1, 3, 4, 5):
        assert [c.id for c in bounded[at].choices] == [c.id for c in free[at].choices]


def test_watch_sees_every_token_and_may_stop(loaded: Loaded) -> None:
    seen: list[int] = []

    def watch(choice: Choice) -> bool:
        seen.append(choice.id)
        return len(seen) == 3

    found = run(loaded.net, [row(prompts(1)[0], 20, watch=watch)])[0]
    assert seen == [c.id for c in found.choices] and len(seen) == 3 and found.finish == "stop"


def test_cancelled_rows_leave_and_others_go_on(loaded: Loaded) -> None:
    some = prompts(3)
    rows = [row(p, 10) for p in some]
    rows[0].cancelled = True  # before it joins
    batch = Batch(loaded.net, 0)
    over = batch.add(rows)
    assert over == [rows[0]] and rows[0].choices == []
    rows[1].cancelled = True
    assert batch.step() == [rows[1]]
    while batch.rows:
        batch.step()
    assert rows[2].finish == "length"
    assert [c.id for c in rows[2].choices] == [c.id for c in run(loaded.net, [row(some[2], 10)])[0].choices]


def test_logits_that_are_no_numbers_end_the_row_with_an_error(template: Paths) -> None:
    broken = load(template, Target("tiny", name_of(20)), Tokenizers(), "cpu")
    with torch.no_grad():
        next(broken.net.parameters())[7, 0] = math.nan
    found = run(broken.net, [row([7, 8, 9])])[0]
    assert (found.finish, found.choices) == (None, [])
    assert found.error == "the model's logits are not finite numbers"


def test_only_so_many_rows_and_positions_join(loaded: Loaded) -> None:
    batch = Batch(loaded.net, 0)
    assert batch.room_for([row([1] * 3) for _ in range(200)]) == generate.MOST_ROWS
    large = [row([1] * 900, 2100) for _ in range(64)]
    assert batch.room_for(large) == generate.BATCH_POSITIONS // 3000
    assert batch.room_for([row([1], generate.BATCH_POSITIONS * 2)]) == 1  # a row that is too large for company goes alone
    batch.add([row([1, 2], 5) for _ in range(60)])
    assert batch.room_for([row([1, 2], 5) for _ in range(10)]) == 4


def test_prefill_of_long_and_short_prompts_is_bounded(loaded: Loaded, tmp_path: Path) -> None:
    lengths = [900, 3, 900, 5, 900, *[4] * 50]
    groups = generate._groups(sorted((row([1] * n) for n in lengths), key=lambda one: len(one.prompt)))
    assert sum(map(len, groups)) == len(lengths)
    assert all(len(group) == 1 or len(group) * len(group[-1].prompt) <= generate.PREFILL_POSITIONS for group in groups)

"""Scoring: the numbers that proofs and fingerprints are made of."""

from __future__ import annotations

import math
import random

import pytest
import torch

from core.errors import InvalidData
from core.paths import Paths
from tests.trainer.serve.oracle_home import name_of
from trainer.serve import score
from trainer.serve.loaded import Loaded, Target, Tokenizers, load
from trainer.serve.score import score_continuations


@pytest.fixture(scope="module")
def loaded(template: Paths) -> Loaded:
    return load(template, Target("tiny", name_of(10)), Tokenizers(), "cpu")


def pairs(count: int) -> list[tuple[list[int], list[int]]]:
    """Give pairs of different lengths (seed 8)."""
    rng = random.Random(8)

    def ids(most: int) -> list[int]:
        return [rng.randrange(4, 320) for _ in range(rng.randint(1, most))]

    return [(ids(50), ids(20)) for _ in range(count)]


def by_hand(loaded: Loaded, prompt: list[int], continuation: list[int]) -> list[float]:
    with torch.inference_mode():
        logprobs = loaded.net(input_ids=torch.tensor([[*prompt, *continuation]])).logits[0].log_softmax(-1)
    return [float(logprobs[len(prompt) - 1 + at, id_]) for at, id_ in enumerate(continuation)]


def test_scores_are_the_models_log_probabilities_in_the_order_given(loaded: Loaded) -> None:
    some = pairs(24)
    for found, (prompt, continuation) in zip(score_continuations(loaded.net, some, 0), some, strict=True):
        assert found == pytest.approx(by_hand(loaded, prompt, continuation), abs=1e-4)


def test_scores_do_not_depend_on_the_padding(loaded: Loaded) -> None:
    some = pairs(6)
    assert score_continuations(loaded.net, some, 0) == score_continuations(loaded.net, some, 300)


def test_same_pairs_give_the_same_numbers_again(loaded: Loaded) -> None:
    assert score_continuations(loaded.net, pairs(24), 0) == score_continuations(loaded.net, pairs(24), 0)


def test_large_requests_are_split(loaded: Loaded) -> None:
    some = [([1] * 200, [2] * 56) for _ in range(65)]  # one row more than MOST_POSITIONS holds
    assert not score._fits(some, 320) and score._fits(some[:-1], 320)
    assert len(score_continuations(loaded.net, some, 0)) == 65


@pytest.mark.parametrize("pair", [([], [1]), ([1], [])])
def test_empty_prompt_or_continuation_is_refused(loaded: Loaded, pair: tuple[list[int], list[int]]) -> None:
    with pytest.raises(InvalidData, match="no tokens"):
        score_continuations(loaded.net, [pair], 0)


def test_numbers_that_are_not_finite_are_refused(template: Paths) -> None:
    broken = load(template, Target("tiny", name_of(20)), Tokenizers(), "cpu")
    with torch.no_grad():
        next(broken.net.parameters())[7, 0] = math.nan
    with pytest.raises(InvalidData, match="not finite"):
        score_continuations(broken.net, [([7], [8])], 0)

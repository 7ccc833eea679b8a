"""The proof: what is served is the chosen checkpoint, is another one, or cannot be told apart."""

from __future__ import annotations

import math

import pytest

from core.checkpoints.checkpoint import Fingerprint, Prompted
from core.checkpoints.fingerprint import Mismatch, Proved, distance, prove
from core.errors import InvalidData

FIXED = [[1, 2], [3]]


def fingerprint(
    name: str, numbers: list[list[float]], prompts: list[list[int]] | None = None, dtype: str = "float32"
) -> Fingerprint:
    """Give a fingerprint with these log-probabilities on the fixed prompts, or on others."""
    return Fingerprint(
        checkpoint=name,
        dtype=dtype,
        prompts=[
            Prompted(prompt_ids=prompt, continuation_ids=list(range(len(row))), logprobs=row)
            for prompt, row in zip(prompts or FIXED, numbers, strict=True)
        ],
    )


A = fingerprint("a", [[-1.0, -2.0], [-3.0]])
B = fingerprint("b", [[-1.5, -2.0], [-3.0]])
TWIN = fingerprint("twin", [[-1.0, -2.00001], [-3.0]])


def test_distance_is_the_largest_difference_of_any_token() -> None:
    assert distance(A, [[-1.25, -2.0], [-3.125]]) == 0.25


@pytest.mark.parametrize("served", [[[-1.0, -2.0]], [[-1.0], [-3.0]], [[-1.0, -2.0], [-3.0, 0.0]], []])
def test_served_numbers_of_another_shape_are_refused(served: list[list[float]]) -> None:
    with pytest.raises(InvalidData, match="do not fit"):
        distance(A, served)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_served_numbers_that_are_not_finite_are_refused(number: float) -> None:
    with pytest.raises(InvalidData, match="finite"):
        prove(A, [], [[-1.0, number], [-3.0]])


def test_same_weights_are_proved_with_their_margin() -> None:
    found = prove(A, [B], [[-1.00005, -2.0], [-3.0]])
    assert isinstance(found, Proved) and found.alike == ()
    assert found.proof.prompts == 2 and found.proof.tolerance == 1e-4
    assert found.proof.max_diff == pytest.approx(5e-5) and found.proof.margin == pytest.approx(0.49995)


def test_without_others_there_is_no_margin() -> None:
    found = prove(A, [], [[-1.0, -2.0], [-3.0]])
    assert isinstance(found, Proved) and found.proof.margin is None


def test_weights_of_another_held_checkpoint_are_named() -> None:
    found = prove(A, [TWIN, B], [[-1.5, -2.0], [-3.0]])
    assert isinstance(found, Mismatch) and found.nearest == "b" and found.max_diff == 0.5
    assert "they are those of b" in found.reason


def test_unknown_weights_are_a_mismatch_without_a_name() -> None:
    found = prove(A, [B], [[-9.0, -2.0], [-3.0]])
    assert isinstance(found, Mismatch) and found.nearest is None


def test_within_tolerance_but_nearer_to_another_is_a_mismatch() -> None:
    near = fingerprint("near", [[-1.00015, -2.0], [-3.0]])
    found = prove(A, [near], [[-1.00009, -2.0], [-3.0]])
    assert isinstance(found, Mismatch) and found.nearest == "near"


def test_checkpoint_that_cannot_be_told_apart_is_said_so() -> None:
    found = prove(A, [TWIN, B], [[-1.0, -2.0], [-3.0]])
    assert isinstance(found, Proved) and found.alike == ("twin",)
    assert found.reason == "proved on 2 prompts: largest difference 0 nats; cannot be told apart from twin"
    assert found.proof.margin == pytest.approx(0.5)


def test_others_are_compared_on_shared_prompts_only() -> None:
    other_job = fingerprint("other", [[-1.5, -2.0], [-9.0]], prompts=[[1, 2], [77]])
    stranger = fingerprint("stranger", [[-1.0, -2.0]], prompts=[[55]])
    found = prove(A, [other_job, stranger], [[-1.0, -2.0], [-3.0]])
    assert isinstance(found, Proved) and found.alike == ("stranger",) and found.proof.margin == 0.5


def test_half_precision_has_its_own_tolerance() -> None:
    half = fingerprint("half", [[-1.0, -2.0], [-3.0]], dtype="bfloat16")
    served = [[-1.015, -2.0], [-3.0]]
    assert isinstance(prove(half, [], served), Proved)
    assert isinstance(prove(A, [], served), Mismatch)


def test_unknown_dtype_and_empty_fingerprint_are_refused() -> None:
    with pytest.raises(InvalidData, match="float16"):
        prove(fingerprint("odd", [[-1.0], [-1.0]], dtype="float16"), [], [[-1.0], [-1.0]])
    with pytest.raises(InvalidData, match="no prompts"):
        prove(Fingerprint(checkpoint="none", dtype="float32", prompts=[]), [], [])

"""Two proofs, on the job's own first batch, that packing keeps examples apart.

Place in the flow: before the first step of a packed run, through the very functions that the training step calls. No files.
Source: DESIGN.md section 7. (1) no leak: replace the tokens of some examples; the logits of all others are equal, exactly.
(2) same loss: the loss summed over the packed rows and over the examples one by one agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from core.errors import PackingRefused
from trainer.data.collator import Batch, Collate
from trainer.data.dataset import Feature

# batch -> (loss summed over trained tokens, logits (1, tokens, vocabulary)): the forward pass of the training step.
Forward = Callable[[Batch], tuple[torch.Tensor, torch.Tensor]]

LOSS_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-3, torch.float16: 5e-3}


@dataclass(frozen=True)
class PackingProof:
    """What was proved: examples compared, and the relative difference of the two losses."""

    examples: int
    loss_difference: float


@torch.no_grad()
def prove_packing(features: Sequence[Feature], collate: Collate, forward: Forward) -> PackingProof:
    """Prove that the examples of packed features do not see each other. Raises PackingRefused."""
    features = [_whole(feature) for feature in features]
    examples = [example for feature in features for example in _examples(feature)]
    if len(examples) < 2:
        return PackingProof(examples=len(examples), loss_difference=0.0)
    loss, logits = forward(collate(features))
    _prove_no_leak(features, logits, forward(collate([_disturbed(feature) for feature in features]))[1])
    singly = sum(float(forward(collate([example]))[0]) for example in examples)
    difference = abs(float(loss) - singly) / max(abs(singly), 1e-12)
    tolerance = LOSS_TOLERANCE[logits.dtype]
    if not difference <= tolerance:
        raise PackingRefused(
            detail=f"the packed loss is {float(loss):.6f} and one by one it is {singly:.6f}, "
            f"a relative difference of {difference:.1e}; at most {tolerance:.0e} was expected"
        )
    return PackingProof(examples=len(examples), loss_difference=difference)


def _whole(feature: Feature) -> Feature:
    lengths, tokens = feature.get("seq_lengths", []), len(feature["input_ids"])
    if sum(lengths) != tokens:
        raise PackingRefused(detail=f"seq_lengths {lengths[:8]} do not add up to the {tokens} tokens of their row")
    return feature


def _bounds(feature: Feature) -> list[tuple[int, int]]:
    return list(pairwise(accumulate(feature["seq_lengths"], initial=0)))


def _examples(feature: Feature) -> list[Feature]:
    return [
        {
            "input_ids": feature["input_ids"][start:end],
            "labels": feature["labels"][start:end],
            "seq_lengths": [end - start],
        }
        for start, end in _bounds(feature)
    ]


def _disturbed(feature: Feature) -> Feature:
    """Replace every token of every other example, the first included, by another one of the row's range of ids."""
    ids, top = list(feature["input_ids"]), max(1, *feature["input_ids"])
    for start, end in _bounds(feature)[::2]:
        ids[start:end] = [at + 1 if at < top else at - 1 for at in ids[start:end]]
    return {**feature, "input_ids": ids}


def _prove_no_leak(features: Sequence[Feature], before: torch.Tensor, after: torch.Tensor) -> None:
    """Compare the logits of the examples that were left alone: bit for bit, no tolerance."""
    offset = 0
    for feature in features:
        for start, end in _bounds(feature)[1::2]:
            place = slice(offset + start, offset + end)
            worst = float((before[0, place] - after[0, place]).abs().max())
            if worst != 0.0:
                raise PackingRefused(
                    detail=f"replacing one example moved the logits of its neighbour by {worst:.3g}; exactly 0 was expected"
                )
        offset += len(feature["input_ids"])

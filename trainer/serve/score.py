"""Log-probabilities of given continuations: what fingerprints, proofs and golden-answer losses are made of.

Place in the flow: trainer/fingerprint.py scores a staged checkpoint with it, the oracle answers /v1/score with it; being one
function, both give the same numbers for the same weights. Reads and writes no file. Invariant: right-padded rows under causal
attention, so that no row ever sees padding or another row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from core.errors import InvalidData

# What one forward may hold: rows times positions, and logits (rows times kept positions times vocabulary).
MOST_POSITIONS = 16384
MOST_LOGITS = 1 << 26

Pair = tuple[Sequence[int], Sequence[int]]


class NotFinite(InvalidData):
    """{where}: the model's logits are not finite numbers; its weights have diverged."""


def score_continuations(model: Any, pairs: Sequence[Pair], pad_id: int) -> list[list[float]]:
    """Give, for each (prompt_ids, continuation_ids), the log-probability of every continuation token, in nats.

    Each token is scored after the prompt and the continuation before it. The model must be in evaluation mode. Raises
    InvalidData for an empty prompt or continuation, NotFinite for numbers that are not finite.
    """
    for prompt, continuation in pairs:
        if not prompt or not continuation:
            raise InvalidData(where="score", detail="a prompt or a continuation has no tokens; expected at least one of each")
    order = sorted(range(len(pairs)), key=lambda at: len(pairs[at][0]) + len(pairs[at][1]))
    scores: list[list[float]] = [[] for _ in pairs]
    vocabulary = int(model.config.get_text_config().vocab_size)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and _fits([pairs[at] for at in order[start : stop + 1]], vocabulary):
            stop += 1
        group = order[start:stop]
        for at, row in zip(group, _forward(model, [pairs[at] for at in group], pad_id), strict=True):
            scores[at] = row
        start = stop
    return scores


def _fits(pairs: Sequence[Pair], vocabulary: int) -> bool:
    longest = max(len(prompt) + len(continuation) for prompt, continuation in pairs)
    kept = longest - min(len(prompt) for prompt, _ in pairs) + 1
    return len(pairs) * longest <= MOST_POSITIONS and len(pairs) * kept * vocabulary <= MOST_LOGITS


@torch.inference_mode()
def _forward(model: Any, pairs: Sequence[Pair], pad_id: int) -> list[list[float]]:
    rows = [[*prompt, *continuation] for prompt, continuation in pairs]
    longest = max(map(len, rows))
    # The logits of position p score the token at p + 1; the first that is needed follows the shortest prompt.
    first = min(len(prompt) for prompt, _ in pairs) - 1
    ids = torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows], device=next(model.parameters()).device)
    out = model(input_ids=ids, use_cache=False, logits_to_keep=longest - first)
    logits = out.logits.float()
    total = logits.logsumexp(-1)
    chosen = logits[:, :-1].gather(2, ids[:, first + 1 :, None])[:, :, 0] - total[:, :-1]
    if not bool(total.isfinite().all()):
        raise NotFinite(where="score")
    return [
        values[len(prompt) - 1 - first : len(prompt) - 1 - first + len(continuation)]
        for values, (prompt, continuation) in zip(chosen.tolist(), pairs, strict=True)
    ]

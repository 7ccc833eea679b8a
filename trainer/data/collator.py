"""Features -> the tensors of one step: packed rows flattened with positions, or short rows padded on the right.

Place in the flow: the last thing before the model. Invariant: neither form carries an attention mask. In a packed row a mask
would switch the isolation of examples off; behind a causal model's real tokens right padding can change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from core.errors import PackingRefused
from core.text.labels import IGNORED
from trainer.data.dataset import Feature

Batch = dict[str, Any]
Collate = Callable[[Sequence[Feature]], Batch]


def padded_collator(pad_id: int) -> Collate:
    """Give the collator of unpacked rows: input_ids and labels (batch, longest), int64."""

    def collate(features: Sequence[Feature]) -> Batch:
        longest = max(len(feature["input_ids"]) for feature in features)
        return {
            "input_ids": torch.tensor([_padded(feature["input_ids"], longest, pad_id) for feature in features]),
            "labels": torch.tensor([_padded(feature["labels"], longest, IGNORED) for feature in features]),
        }

    return collate


def _padded(values: list[int], length: int, filling: int) -> list[int]:
    return values + [filling] * (length - len(values))


def packed_collator(pad_id: int) -> Collate:
    """Give the collator of packed rows: input_ids, labels, position_ids (1, all tokens) and the sequence bounds.

    It raises PackingRefused for a row without seq_lengths: then the examples in it would read each other.
    """
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    flatten = DataCollatorForLanguageModeling(pad_token_id=pad_id, padding_free=True)

    def collate(features: Sequence[Feature]) -> Batch:
        if not all("seq_lengths" in feature for feature in features):
            raise PackingRefused(detail="a packed row has no seq_lengths; set remove_unused_columns=False")
        return dict(flatten(list(features)))

    return collate

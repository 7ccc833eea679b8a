"""Collation: packed rows carry positions and no mask; padding behind a row changes nothing that it says."""

from __future__ import annotations

import pytest
import torch

from core.errors import PackingRefused
from core.text.labels import IGNORED
from tests.trainer.data.job_lines import PAD, TOKENIZER, binary_lines, rows_of, talk
from trainer.data.collator import packed_collator, padded_collator
from trainer.data.packing import pack
from trainer.tiny.model import tiny_model


def test_padded_batch_has_ids_and_labels_and_no_mask() -> None:
    features = [row.feature() for row in rows_of([talk("1 or 0", "1"), *binary_lines(1)])]
    batch = padded_collator(PAD)(features)
    assert set(batch) == {"input_ids", "labels"}
    short = len(features[0]["input_ids"])
    assert batch["input_ids"].shape == batch["labels"].shape == (2, 25)
    assert batch["input_ids"].dtype == torch.int64
    assert batch["input_ids"][0].tolist() == features[0]["input_ids"] + [PAD] * (25 - short)
    assert batch["labels"][0].tolist() == features[0]["labels"] + [IGNORED] * (25 - short)


def test_padding_behind_a_row_changes_none_of_its_logits() -> None:
    rows = rows_of([talk("1 or 0", "1"), talk("1010 xor 0110", "1100"), talk("x" * 40, "y")])
    model = tiny_model(TOKENIZER, 0).eval()  # type: ignore[no-untyped-call]
    collate = padded_collator(PAD)
    with torch.no_grad():
        together = model(input_ids=collate([row.feature() for row in rows])["input_ids"], use_cache=False).logits
        for at, row in enumerate(rows):
            alone = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0]
            assert torch.allclose(together[at, : len(row.ids)], alone, atol=1e-5)


def test_packed_batch_has_positions_that_begin_anew_and_no_mask() -> None:
    features = pack(rows_of([talk("1 or 0", "1"), *binary_lines(3)]), 64)
    batch = packed_collator(PAD)(features)
    assert "attention_mask" not in batch
    lengths = [length for feature in features for length in feature["seq_lengths"]]
    assert len(features) == 2 and batch["input_ids"].shape == (1, sum(lengths))
    assert batch["position_ids"][0].tolist() == [place for length in lengths for place in range(length)]
    assert batch["labels"][0].tolist() == [label for feature in features for label in feature["labels"]]


def test_packed_row_without_its_bounds_is_refused() -> None:
    (feature,) = pack(rows_of(binary_lines(2)), 64)
    del feature["seq_lengths"]
    with pytest.raises(PackingRefused, match="remove_unused_columns=False"):
        packed_collator(PAD)([feature])

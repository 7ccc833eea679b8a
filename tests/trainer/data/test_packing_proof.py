"""The two packing proofs through a Trainer's own loss function: honest packing passes, every known way to leak aborts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from core.errors import PackingRefused
from tests.trainer.data.job_lines import PAD, TOKENIZER, binary_lines, mixed_lines, rows_of
from trainer.data.collator import Batch, Collate, packed_collator
from trainer.data.dataset import Feature
from trainer.data.packing import pack
from trainer.data.packing_proof import Forward, PackingProof, prove_packing
from trainer.tiny.model import tiny_model

MODEL = tiny_model(TOKENIZER, 0).eval()  # type: ignore[no-untyped-call]
Spoil = Callable[[Batch], Batch]


def trainer_of(folder: Path, collate: Any, **options: Any) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=8, use_cpu=True, report_to=[], save_strategy="no", **options
    )
    return Trainer(model=MODEL, args=arguments, data_collator=collate, train_dataset=features())


def features(lines: int = 8) -> list[Feature]:
    return pack(rows_of(binary_lines(lines)), 128)


def forward_of(spoil: Spoil = dict) -> Forward:
    def forward(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = {"use_cache": False, **spoil(batch)}
        output = MODEL(**inputs, num_items_in_batch=1)
        return output.loss, output.logits

    return forward


def prove(spoil: Spoil = dict, collate: Collate | None = None) -> PackingProof:
    return prove_packing(features(), collate or packed_collator(PAD), forward_of(spoil))


def test_honest_packing_is_proved_with_the_same_loss() -> None:
    proof = prove()
    assert proof.examples == 8
    assert proof.loss_difference <= 1e-5


def test_rows_of_every_shape_are_proved() -> None:
    rows = rows_of(mixed_lines())
    assert prove_packing(pack(rows, 256), packed_collator(PAD), forward_of()).examples == len(rows)


def test_single_example_has_nothing_to_leak() -> None:
    assert prove_packing(features(1), packed_collator(PAD), forward_of()).examples == 1


def test_dropped_positions_abort() -> None:
    with pytest.raises(PackingRefused, match="exactly 0 was expected"):
        prove(lambda batch: {name: value for name, value in batch.items() if name != "position_ids"})


def test_positions_that_run_on_abort() -> None:
    with pytest.raises(PackingRefused, match="exactly 0 was expected"):
        prove(lambda batch: {**batch, "position_ids": torch.arange(batch["input_ids"].shape[1])[None]})


def test_added_attention_mask_aborts() -> None:
    with pytest.raises(PackingRefused, match="exactly 0 was expected"):
        prove(lambda batch: {**batch, "attention_mask": torch.ones_like(batch["input_ids"])})


def test_cache_left_on_aborts() -> None:
    with pytest.raises(PackingRefused, match="exactly 0 was expected"):
        prove(lambda batch: {**batch, "use_cache": True})


def test_collation_that_lost_the_bounds_aborts() -> None:
    bare = DataCollatorForLanguageModeling(pad_token_id=PAD, padding_free=True)

    def collate(batch: Any) -> Batch:
        return dict(bare([{"input_ids": feature["input_ids"], "labels": feature["labels"]} for feature in batch]))

    with pytest.raises(PackingRefused, match="exactly 0 was expected"):
        prove(collate=collate)


def test_loss_that_counts_other_tokens_aborts() -> None:
    def first_label_is_lost(batch: Batch) -> Batch:
        labels = batch["labels"].clone()
        if labels.shape[1] > 30:
            labels[0, (labels[0] != -100).nonzero()[0]] = -100
        return {**batch, "labels": labels}

    with pytest.raises(PackingRefused, match="a relative difference of"):
        prove(first_label_is_lost)


def test_not_a_number_aborts() -> None:
    def forward(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        loss, logits = forward_of()(batch)
        return loss * float("nan"), logits

    with pytest.raises(PackingRefused, match="is nan"):
        prove_packing(features(), packed_collator(PAD), forward)


def test_bounds_that_do_not_fill_the_row_abort() -> None:
    rows = features()
    rows[0]["seq_lengths"][0] += 1
    with pytest.raises(PackingRefused, match="do not add up"):
        prove_packing(rows, packed_collator(PAD), forward_of())


def first_batch(trainer: Trainer) -> Batch:
    return dict(next(iter(trainer.get_train_dataloader())))


def test_trainer_with_kept_columns_collates_isolated_rows(tmp_path: Path) -> None:
    batch = first_batch(trainer_of(tmp_path, packed_collator(PAD), remove_unused_columns=False))
    starts = int((batch["position_ids"] == 0).sum())
    assert starts == 8


def test_trainer_that_removes_unused_columns_aborts_at_the_first_batch(tmp_path: Path) -> None:
    with pytest.raises(PackingRefused, match="remove_unused_columns=False"):
        first_batch(trainer_of(tmp_path, packed_collator(PAD)))

"""Rows -> what one step takes: packed rows on a GPU, length-grouped batches of short rows on a CPU.

Place in the flow: between `dataset` and `collator`; the trainer writes the plan that comes out into plan.json. No files.
Invariant: every row is taken exactly once an epoch, whole, with its labels and line numbers beside it; the same seed and epoch
give the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from core.errors import PackingRefused
from trainer.data.dataset import Feature, Row, refuse_over_length

WINDOW_BATCHES = 8


@dataclass(frozen=True)
class PackingChoice:
    """Whether rows are packed, and why: printed and recorded by the trainer."""

    packed: bool
    reason: str


def choose_packing(setting: Literal["auto", "on", "off"], device: str) -> PackingChoice:
    """Decide for a device ("cpu", "cuda:0"). Source: DESIGN.md section 11, a padded step is the fastest on a CPU."""
    if setting != "auto":
        return PackingChoice(packed=setting == "on", reason=f"packing: {setting} in the configuration")
    if device.startswith("cuda"):
        return PackingChoice(packed=True, reason=f"packing: auto, {device} is a GPU")
    return PackingChoice(packed=False, reason=f"packing: auto, short rows are faster unpacked on {device}")


def pack(rows: Sequence[Row], row_tokens: int) -> list[Feature]:
    """Pack rows, best fit decreasing, into rows of at most row_tokens; `seq_lengths` says where examples end.

    Raises LineRefused (over_length) for a row that does not fit, PackingRefused if a token got lost.
    """
    refuse_over_length(rows, row_tokens)
    import datasets
    from trl.data_utils import pack_dataset

    columns: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "line": []}
    for row in rows:
        for name, values in row.feature().items():
            columns[name].append(values)
    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        packed = pack_dataset(datasets.Dataset.from_dict(columns), seq_length=row_tokens, strategy="bfd").to_list()
    finally:
        if not shown:
            datasets.enable_progress_bars()
    before, after = sum(len(row.ids) for row in rows), sum(len(feature["input_ids"]) for feature in packed)
    if before != after:
        raise PackingRefused(detail=f"{before} tokens went in and {after} came out")
    return [{name: list(values) for name, values in feature.items()} for feature in packed]


def line_numbers(feature: Feature) -> list[int]:
    """Give the numbers of the lines in a row, each once, sorted."""
    return sorted(set(feature["line"]))


def batch_plan(lengths: Sequence[int], seed: int, epoch: int, batch_rows: int, batch_tokens: int) -> list[list[int]]:
    """Give the batches of one epoch as indexes of rows: at most batch_rows rows and batch_tokens tokens with padding.

    Rows are shuffled, grouped by length inside windows of WINDOW_BATCHES batches, and the batches of a window shuffled. Batches
    of a window differ by at most one row, so that no step rests on a handful; a row longer than batch_tokens is a batch.
    """
    chance = random.Random(f"batch plan {seed} {epoch}")
    order = list(range(len(lengths)))
    chance.shuffle(order)
    plan = []
    for window in _even_parts(order, WINDOW_BATCHES * batch_rows):
        window.sort(key=lambda row: lengths[row])
        batches = [small for batch in _even_parts(window, batch_rows) for small in _fitting(batch, lengths, batch_tokens)]
        chance.shuffle(batches)
        plan += batches
    return plan


def _even_parts(items: list[int], most: int) -> list[list[int]]:
    """Cut items into the fewest parts of at most `most`, as equal as can be."""
    count = -(-len(items) // most)
    cuts = [len(items) * part // count for part in range(count + 1)] if count else [0]
    return [items[start:end] for start, end in pairwise(cuts)]


def _fitting(batch: list[int], lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Halve a batch, sorted by length, until its rows times its longest row fit; a single row always does."""
    if len(batch) == 1 or len(batch) * lengths[batch[-1]] <= most_tokens:
        return [batch]
    middle = len(batch) // 2
    return _fitting(batch[:middle], lengths, most_tokens) + _fitting(batch[middle:], lengths, most_tokens)

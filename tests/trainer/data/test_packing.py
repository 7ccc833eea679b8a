"""Packing and batches lose no row, no token and no label, and say what was chosen."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import LineRefused
from tests.trainer.data.job_lines import binary_lines, mixed_lines, rows_of, talk
from trainer.data.packing import batch_plan, choose_packing, line_numbers, pack


def test_packed_rows_hold_every_example_whole_with_labels_and_line_numbers() -> None:
    rows = rows_of(mixed_lines())
    packed = pack(rows, 256)
    assert max(len(feature["input_ids"]) for feature in packed) <= 256
    assert len(packed) < len(rows)
    found = []
    for feature in packed:
        assert set(feature) == {"input_ids", "labels", "line", "seq_lengths"}
        assert sum(feature["seq_lengths"]) == len(feature["input_ids"]) == len(feature["line"])
        for start, end in pairwise(accumulate(feature["seq_lengths"], initial=0)):
            (line,) = set(feature["line"][start:end])
            found.append((line, feature["input_ids"][start:end], feature["labels"][start:end]))
    assert sorted(found) == sorted((row.line, row.ids, row.labels) for row in rows)
    assert sorted(number for feature in packed for number in line_numbers(feature)) == [row.line for row in rows]


def test_packing_twice_gives_the_same_rows() -> None:
    rows = rows_of(binary_lines(50))
    assert pack(rows, 128) == pack(rows, 128)


def test_over_long_row_is_refused_before_packing_would_cut_it() -> None:
    rows = rows_of([talk("a", "b"), talk("a" * 100, "b" * 50)])
    with pytest.raises(LineRefused, match=r"1 rows are longer than 64 tokens.*lines 2"):
        pack(rows, 64)


def test_packing_leaves_the_progress_bars_as_they_were() -> None:
    import datasets

    shown = datasets.are_progress_bars_disabled()
    pack(rows_of(binary_lines(2)), 64)
    assert datasets.are_progress_bars_disabled() == shown


@pytest.mark.parametrize(
    ("setting", "device", "packed"),
    [("auto", "cpu", False), ("auto", "cuda:0", True), ("on", "cpu", True), ("off", "cuda:0", False)],
)
def test_packing_choice_is_made_by_device_and_setting_and_says_why(setting: str, device: str, packed: bool) -> None:
    choice = choose_packing(setting, device)  # type: ignore[arg-type]
    assert choice.packed is packed
    assert choice.reason.startswith(f"packing: {setting}")


LENGTHS = st.lists(st.integers(1, 200), max_size=300)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(LENGTHS, st.integers(0, 3), st.integers(0, 3), st.integers(1, 64), st.integers(1, 2000))
def test_plan_takes_every_row_once_within_its_bounds(
    lengths: list[int], seed: int, epoch: int, batch_rows: int, batch_tokens: int
) -> None:
    plan = batch_plan(lengths, seed, epoch, batch_rows, batch_tokens)
    assert sorted(row for batch in plan for row in batch) == list(range(len(lengths)))
    for batch in plan:
        assert 1 <= len(batch) <= batch_rows
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= batch_tokens
    assert plan == batch_plan(lengths, seed, epoch, batch_rows, batch_tokens)


def test_plan_differs_by_epoch_and_seed() -> None:
    lengths = [20 + at % 17 for at in range(512)]
    plans = [batch_plan(lengths, seed, epoch, 64, 8192) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(a != b for a, b in ((plans[0], plans[1]), (plans[0], plans[2]), (plans[1], plans[2])))


def test_plan_has_no_tiny_last_batch() -> None:
    sizes = [len(batch) for batch in batch_plan([25] * 513, 0, 0, 64, 8192)]
    assert sum(sizes) == 513
    assert min(sizes) >= 32


def test_plan_groups_rows_by_length_so_that_little_is_padding() -> None:
    lengths = [20 + (at * 37) % 60 for at in range(512)]
    plan = batch_plan(lengths, 0, 0, 64, 8192)
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in plan)
    assert padded < 1.1 * sum(lengths)
    assert [max(lengths[row] for row in batch) for batch in plan] != sorted(
        max(lengths[row] for row in batch) for batch in plan
    ), "batches of a window come shuffled, not from short to long"

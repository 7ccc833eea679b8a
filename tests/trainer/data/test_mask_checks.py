"""The five mask checks: honest rows of every shape pass; each check catches its own mutant by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from core.errors import MaskCheckFailed
from core.jobs.job import Line
from core.text.labels import IGNORED
from tests.trainer.data.job_lines import PAD, TOKENIZER, binary_lines, mixed_lines, rows_of, talk
from trainer.data.collator import Batch, Collate, packed_collator, padded_collator
from trainer.data.dataset import Feature
from trainer.data.mask_checks import MaskChecks, MaskReport
from trainer.data.packing import pack

PADDED = padded_collator(PAD)


def features_of(lines: list[Line]) -> list[Feature]:
    return [{name: list(values) for name, values in row.feature().items()} for row in rows_of(lines)]


def checked(lines: list[Line], features: list[Feature], collate: Collate = PADDED) -> MaskReport:
    return MaskChecks(lines, rows_of(lines), TOKENIZER).run(features, collate, seed=0)


def test_honest_rows_of_every_shape_pass_unpacked_and_packed() -> None:
    lines = mixed_lines()
    report = checked(lines, features_of(lines))
    assert (report.rows, report.examples) == (len(lines), len(lines))
    packed = checked(lines, pack(rows_of(lines), 256), packed_collator(PAD))
    assert packed.examples == len(lines)
    assert packed.trained_ratio == pytest.approx(report.trained_ratio)


@pytest.mark.parametrize(
    ("line", "low", "high"),
    [
        (talk("repeat: ka lo mi", "repeat: ka lo mi"), 0.3, 0.7),
        (talk("1 or 0", "1"), 0.0, 0.2),
        (talk("a long story " * 16, "7"), 0.0, 0.05),
        (talk("b", "no " * 100), 0.9, 1.0),
    ],
)
def test_copy_tasks_short_answers_and_any_ratio_pass(line: Line, low: float, high: float) -> None:
    assert low < checked([line], features_of([line])).trained_ratio < high


def failing(check: int, lines: list[Line], mutate: Callable[[list[Feature]], None], collate: Collate = PADDED) -> str:
    """Mutate the features, run all checks and give the message of the check that must have failed."""
    features = features_of(lines)
    mutate(features)
    with pytest.raises(MaskCheckFailed) as caught:
        checked(lines, features, collate)
    assert caught.value.check == check
    return str(caught.value)


def test_row_without_a_trained_token_fails_check_1() -> None:
    def mutate(features: list[Feature]) -> None:
        features[1]["labels"] = [IGNORED] * len(features[1]["labels"])

    message = failing(1, binary_lines(3), mutate)
    assert "line 2" in message and "0 of 25 tokens are trained" in message


def test_row_with_every_token_trained_fails_check_1() -> None:
    def mutate(features: list[Feature]) -> None:
        features[0]["labels"] = list(features[0]["input_ids"])

    assert "25 of 25 tokens are trained" in failing(1, binary_lines(3), mutate)


def test_turn_of_weight_zero_that_is_trained_fails_check_2() -> None:
    lines = [talk("a", "b", "c", "d", weights=(1, 0))]
    trained = features_of([talk("a", "b", "c", "d")])[0]["labels"]

    def mutate(features: list[Feature]) -> None:
        features[0]["labels"] = list(trained)

    message = failing(2, lines, mutate)
    assert "2 trained regions; expected 1" in message
    assert "[[b<|im_end|>]]" in message and "[[d<|im_end|>]]" in message


def test_turn_that_is_not_trained_fails_check_2() -> None:
    first_only = features_of([talk("a", "b", "c", "d", weights=(1, 0))])[0]["labels"]

    def mutate(features: list[Feature]) -> None:
        features[0]["labels"] = list(first_only)

    assert "1 trained regions; expected 2" in failing(2, [talk("a", "b", "c", "d")], mutate)


def test_rows_made_from_other_weights_than_the_line_fail_check_2() -> None:
    lines, other = [talk("a", "b", "c", "d", weights=(0, 1))], [talk("a", "b", "c", "d", weights=(1, 0))]
    with pytest.raises(MaskCheckFailed, match=r"messages \[1\] of the line are trained; expected \[3\]") as caught:
        MaskChecks(lines, rows_of(other), TOKENIZER).run(features_of(other), PADDED, seed=0)
    assert caught.value.check == 2


def test_labels_shifted_by_one_fail_check_3() -> None:
    def mutate(features: list[Feature]) -> None:
        features[2]["labels"] = [IGNORED, *features[2]["labels"][:-1]]

    assert "line 3" in failing(3, binary_lines(3), mutate)


def test_labels_of_other_tokens_fail_check_3() -> None:
    def mutate(features: list[Feature]) -> None:
        place = features[0]["labels"].index(features[0]["input_ids"][19])
        features[0]["labels"][place] += 1

    assert "are trained and read" in failing(3, binary_lines(1), mutate)


def test_end_token_that_is_not_trained_fails_check_3() -> None:
    def mutate(features: list[Feature]) -> None:
        last = max(at for at, label in enumerate(features[0]["labels"]) if label != IGNORED)
        features[0]["labels"][last] = IGNORED

    assert "expected 19 to 24" in failing(3, binary_lines(1), mutate)


def packed_failing(check: int, mutate: Callable[[Feature], None]) -> str:
    lines = binary_lines(6)
    (feature,) = pack(rows_of(lines), 256)
    mutate(feature)
    with pytest.raises(MaskCheckFailed) as caught:
        checked(lines, [feature], packed_collator(PAD))
    assert caught.value.check == check
    return str(caught.value)


def test_boundary_moved_into_an_answer_fails_check_4() -> None:
    def mutate(feature: Feature) -> None:
        feature["seq_lengths"][0] -= 2
        feature["seq_lengths"][1] += 2

    assert "begins an example and is trained" in packed_failing(4, mutate)


def test_boundary_moved_by_one_untrained_token_fails_check_4() -> None:
    def mutate(feature: Feature) -> None:
        feature["seq_lengths"][0] -= 1
        feature["seq_lengths"][1] += 1

    assert "holds several lines" in packed_failing(4, mutate)


def test_lost_boundary_fails_check_4() -> None:
    def mutate(feature: Feature) -> None:
        first, second, *rest = feature["seq_lengths"]
        feature["seq_lengths"] = [first + second, *rest]

    assert "holds several lines" in packed_failing(4, mutate)


def test_examples_that_do_not_fill_the_row_fail_check_4() -> None:
    def mutate(feature: Feature) -> None:
        feature["seq_lengths"].pop()

    assert "examples of" in packed_failing(4, mutate)


def test_changed_input_token_fails_check_4() -> None:
    def mutate(feature: Feature) -> None:
        feature["input_ids"][3] += 1

    assert "are no example of line" in packed_failing(4, mutate)


def test_trained_padding_fails_check_5() -> None:
    def pads_labels_with_the_pad_token(features: list[Feature]) -> Batch:
        longest = max(len(feature["labels"]) for feature in features)
        return {"labels": torch.tensor([f["labels"] + [PAD] * (longest - len(f["labels"])) for f in features])}

    lines = [talk("1 or 0", "1"), *binary_lines(1)]
    message = failing(5, lines, lambda features: None, pads_labels_with_the_pad_token)  # type: ignore[arg-type]
    assert "after collation other tokens are trained" in message and "line 1" in message


def test_collation_that_drops_labels_fails_check_5() -> None:
    def forgets(features: list[Feature]) -> Batch:
        batch = PADDED(features)
        batch["labels"][0] = IGNORED
        return batch

    assert "line 1" in failing(5, binary_lines(2), lambda features: None, forgets)  # type: ignore[arg-type]


def test_label_before_the_first_turn_fails_check_5() -> None:
    def mutate(features: list[Feature]) -> None:
        features[0]["labels"][3] = features[0]["input_ids"][3]

    message = failing(5, binary_lines(1), mutate)
    assert "token 3 is trained; the first turn begins at 19" in message
    assert "user\n[[" in message


def test_fault_far_behind_the_first_rows_is_found_in_the_sample() -> None:
    def mutate(features: list[Feature]) -> None:
        features[790]["labels"] = [IGNORED] * len(features[790]["labels"])

    assert "line 791" in failing(1, binary_lines(800), mutate)


def test_checking_a_job_of_512_lines_takes_under_300_ms() -> None:
    lines = binary_lines(512)
    rows, features = rows_of(lines), features_of(lines)
    start = time.process_time()
    MaskChecks(lines, rows, TOKENIZER).run(features, PADDED, seed=0)
    assert time.process_time() - start < 0.3

"""Five exact checks of what is about to be trained, on the first rows and a sample of the others.

Place in the flow: after rows are made, packed or not, and before the first step. No files. Invariant checked (FEATURES.md T7):
1 every row has a trained and an untrained token; 2 the trained regions are the assistant turns that carry weight, example by
example; 3 a trained region lies where its turn lies and decodes to exactly the turn's text; 4 no region crosses from one packed
example into the next; 5 nothing before the first turn is trained, and no padding after collation.

The checks compare exactly and know no ratio: copy tasks, one-token answers and rows that are nearly all prompt pass.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NoReturn

from core.errors import MaskCheckFailed
from core.jobs.job import Line
from core.text.labels import IGNORED, marked_text, trained_messages, trained_regions
from core.text.tokens import decode_ids
from trainer.data.collator import Collate
from trainer.data.dataset import Feature, Row

FIRST_ROWS = 64
SAMPLE_LINES = 1000
SHOWN_CHARACTERS = 600


@dataclass(frozen=True)
class MaskReport:
    """What was checked, and the share of tokens that are trained: reported, never a limit."""

    rows: int
    examples: int
    trained_ratio: float


@dataclass(frozen=True, slots=True)
class _Placed:
    """One example inside a feature, with the row that it was made from."""

    ids: list[int]
    labels: list[int]
    row: Row


class MaskChecks:
    """The checks of one job: its lines (from 1), the rows made from them, and its tokenizer."""

    def __init__(self, lines: Sequence[Line], rows: Sequence[Row], tokenizer: Any) -> None:
        self._lines = lines
        self._tokenizer = tokenizer
        self._rows: dict[int, list[Row]] = {}
        for row in rows:
            self._rows.setdefault(row.line, []).append(row)

    def run(self, features: Sequence[Feature], collate: Collate, seed: int) -> MaskReport:
        """Check the first features and a sample of the others, up to SAMPLE_LINES examples. Raises MaskCheckFailed."""
        examples = tokens = trained = 0
        sample = _sample(features, seed)
        for feature in sample:
            self.row_has_both(feature)
            self.no_region_crosses(feature)
            placed = self._placed(feature)
            for example in placed:
                self.nothing_before_the_first_turn(example)
                self.regions_are_turns(example)
                self.regions_read_as_turns(example)
            examples += len(placed)
            tokens += len(feature["labels"])
            trained += sum(label != IGNORED for label in feature["labels"])
        for start in range(0, len(sample), FIRST_ROWS):
            self.no_padding_is_trained(sample[start : start + FIRST_ROWS], collate)
        return MaskReport(rows=len(sample), examples=examples, trained_ratio=trained / tokens if tokens else 0.0)

    def row_has_both(self, feature: Feature) -> None:
        """Check 1: at least one trained and one untrained token."""
        trained = sum(label != IGNORED for label in feature["labels"])
        if not 0 < trained < len(feature["labels"]):
            self._fail(1, feature, f"{trained} of {len(feature['labels'])} tokens are trained; expected some, not all")

    def regions_are_turns(self, example: _Placed) -> None:
        """Check 2: as many trained regions as turns, and the turns of the line are its assistant messages with weight."""
        regions, row = trained_regions(example.labels), example.row
        if len(regions) != len(row.turns):
            detail = f"{len(regions)} trained regions; expected {len(row.turns)}, one an assistant turn that carries weight"
            self._fail(2, _feature(example), detail)
        claimed = [turn.message for part in self._rows[row.line] for turn in part.turns]
        expected = trained_messages(self._lines[row.line - 1].messages)
        if claimed != expected:
            self._fail(2, _feature(example), f"messages {claimed} of the line are trained; expected {expected}")

    def regions_read_as_turns(self, example: _Placed) -> None:
        """Check 3: each region stands at its turn's place and decodes to its text."""
        for (start, end), turn in zip(trained_regions(example.labels), example.row.turns, strict=False):
            text = decode_ids(self._tokenizer, example.labels[start:end])
            if (start, end, text) != (turn.start, turn.end, turn.text):
                detail = f"tokens {start} to {end} are trained and read {text!r}"
                detail += f"; expected {turn.start} to {turn.end} and {turn.text!r}"
                self._fail(3, _feature(example), detail)

    def no_region_crosses(self, feature: Feature) -> None:
        """Check 4: every packed example begins untrained and holds one line, and the examples fill the row."""
        lengths = feature.get("seq_lengths", [len(feature["input_ids"])])
        if sum(lengths) != len(feature["input_ids"]):
            self._fail(4, feature, f"examples of {lengths} tokens in a row of {len(feature['input_ids'])}")
        for start, end in pairwise(accumulate(lengths, initial=0)):
            if feature["labels"][start] != IGNORED:
                self._fail(4, feature, f"token {start} begins an example and is trained: a region crosses the boundary")
            if len(set(feature["line"][start:end])) != 1:
                self._fail(4, feature, f"the example at tokens {start} to {end} holds several lines")

    def nothing_before_the_first_turn(self, example: _Placed) -> None:
        """Check 5, in the example: no label before the first turn."""
        first = example.row.turns[0].start
        early = next((at for at in range(first) if example.labels[at] != IGNORED), None)
        if early is not None:
            self._fail(5, _feature(example), f"token {early} is trained; the first turn begins at {first}")

    def no_padding_is_trained(self, features: Sequence[Feature], collate: Collate) -> None:
        """Check 5, in the batch: collation keeps every label in its place and adds none."""
        found = collate(features)["labels"].tolist()
        width = len(found[0])
        if len(found) == len(features):
            expected = [feature["labels"] + [IGNORED] * (width - len(feature["labels"])) for feature in features]
        else:
            expected = [[label for feature in features for label in feature["labels"]]]
        if found != expected:
            worst = next((at for at, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), 0)
            self._fail(5, features[worst], "after collation other tokens are trained than before: padding or shifted labels")

    def _placed(self, feature: Feature) -> list[_Placed]:
        """Find the row of every example in a feature, by its line number and tokens."""
        placed = []
        lengths = feature.get("seq_lengths", [len(feature["input_ids"])])
        for start, end in pairwise(accumulate(lengths, initial=0)):
            ids, number = feature["input_ids"][start:end], feature["line"][start]
            row = next((row for row in self._rows.get(number, []) if row.ids == ids), None)
            if row is None:
                self._fail(4, feature, f"tokens {start} to {end} are no example of line {number}")
            placed.append(_Placed(ids, feature["labels"][start:end], row))
        return placed

    def _fail(self, check: int, feature: Feature, detail: str) -> NoReturn:
        """Raise MaskCheckFailed with the row's text, its trained tokens in double brackets."""
        view = marked_text(self._tokenizer, feature["input_ids"], feature["labels"])
        raise MaskCheckFailed(check=check, line=feature["line"][0], detail=detail, view=view[:SHOWN_CHARACTERS])


def _feature(example: _Placed) -> Feature:
    return {"input_ids": example.ids, "labels": example.labels, "line": [example.row.line]}


def _sample(features: Sequence[Feature], seed: int) -> list[Feature]:
    """Give the first features and randomly chosen others, about SAMPLE_LINES examples in all, in order."""
    rest = list(range(FIRST_ROWS, len(features)))
    random.Random(f"mask checks {seed}").shuffle(rest)
    chosen, examples = [], 0
    for at in [*range(min(FIRST_ROWS, len(features))), *rest]:
        if examples >= SAMPLE_LINES and at >= FIRST_ROWS:
            break
        chosen.append(at)
        examples += len(features[at].get("seq_lengths", [0]))
    return [features[at] for at in sorted(chosen)]

"""From the canonical lines of a job to rows: ids, labels and the line number of every token.

Place in the flow: the trainer reads data.jsonl of its job and makes rows; packing and collation take it from there. Files read:
data.jsonl. Invariant: every line gives at least one row, in the order of the lines; none is cut, none is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from core.errors import CorruptRecord, LineRefused
from core.jobs.job import Line
from core.text.batch import Conversation, encode_conversations
from core.text.labels import Turn

Feature = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Row:
    """One example: ids and labels (time,), the number of its line (from 1) and its trained turns."""

    ids: list[int]
    labels: list[int]
    line: int
    turns: tuple[Turn, ...]

    def feature(self) -> Feature:
        """Give the columns that collation takes; all are lists a token long, or packing would refuse them."""
        return {"input_ids": self.ids, "labels": self.labels, "line": [self.line] * len(self.ids)}


def read_lines(path: Path) -> list[Line]:
    """Read data.jsonl; line n is at index n - 1. Raises CorruptRecord naming the line."""
    decoder = msgspec.json.Decoder(Line)
    lines = []
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            try:
                lines.append(decoder.decode(data))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise CorruptRecord(where=f"{path}:{number}", schema="canonical line", detail=str(error)) from error
    return lines


def make_rows(tokenizer: Any, lines: Sequence[Line], max_length: int, first: int = 1) -> list[Row]:
    """Tokenise lines into rows; `first` is the number of lines[0]. Raises LineRefused naming the line."""
    rows = []
    conversations = [Conversation(line.messages, line.tools, is_raw(line)) for line in lines]
    for number, examples in enumerate(encode_conversations(tokenizer, conversations), first):
        if isinstance(examples, LineRefused):
            raise LineRefused(code=examples.code, detail=f"line {number}: {examples.detail}")
        rows += [Row(example.ids, example.labels, number, example.turns) for example in examples]
    refuse_over_length(rows, max_length)
    return rows


def is_raw(line: Line) -> bool:
    """Say whether a line is trained as it stands, without the chat template."""
    return line.meta.get("raw") is True


def refuse_over_length(rows: Iterable[Row], limit: int) -> None:
    """Refuse rows of more than limit tokens: packing would cut them without a word. Raises LineRefused (over_length)."""
    longer = [row for row in rows if len(row.ids) > limit]
    if longer:
        numbers = ", ".join(str(row.line) for row in longer[:5])
        raise LineRefused(
            code="over_length",
            detail=f"{len(longer)} rows are longer than {limit} tokens, the longest {max(len(row.ids) for row in longer)}; "
            f"lines {numbers}{' ...' if len(longer) > 5 else ''}",
        )

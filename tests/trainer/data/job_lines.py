"""Lines of many shapes, and the rows of them, for the tests of this folder."""

from __future__ import annotations

import random
from typing import Any

from core.jobs.job import Line
from trainer.data.dataset import Row, make_rows
from trainer.tiny.tokenizer import build_tokenizer

TOKENIZER = build_tokenizer()
PAD = int(TOKENIZER.pad_token_id)


def talk(*contents: str, weights: tuple[int, ...] = (), raw: bool = False) -> Line:
    """Alternate user and assistant messages; weights are those of the assistant messages in order."""
    messages: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(contents)
    ]
    for at, weight in enumerate(weights):
        messages[2 * at + 1]["weight"] = weight
    return Line(messages=messages, meta={"raw": True} if raw else {})


def binary_lines(count: int, seed: int = 0) -> list[Line]:
    chance = random.Random(seed)
    lines = []
    for _ in range(count):
        a, b = chance.randrange(16), chance.randrange(16)
        lines.append(talk(f"{a:04b} xor {b:04b}", f"{a ^ b:04b}"))
    return lines


def mixed_lines() -> list[Line]:
    """Every shape that must pass: copies, one token, mostly prompt, several turns, weights, raw text and completion."""
    return [
        *binary_lines(6),
        talk("repeat: ka lo mi", "repeat: ka lo mi"),
        talk("<|im_start|>assistant\n1<|im_end|>", "<|im_start|>assistant\n1<|im_end|>"),
        talk("1 or 0", "1"),
        talk("a long story " * 16, "7"),
        talk("a", "b", "c", "d", "e", "f", weights=(1, 0, 1)),
        talk("a", "a", "a", "a"),
        talk("ab", "cd", raw=True),
        Line(messages=[{"role": "assistant", "content": "only text é"}], meta={"raw": True}),
    ]


def rows_of(lines: list[Line], max_length: int = 1024) -> list[Row]:
    return make_rows(TOKENIZER, lines, max_length)

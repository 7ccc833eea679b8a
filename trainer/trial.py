"""Trying lines without training on them: forward and backward, and the bisection that finds which of many are bad.

Place in the flow: trainer/poison.py decides with it. No files. Invariant: the weights, the optimizer and the random state are
as before afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from core.text.labels import IGNORED
from core.text.tokens import encode_plain, encode_prompt
from trainer import rng
from trainer.data.collator import padded_collator
from trainer.data.dataset import Feature
from trainer.fingerprint import FIXED

CONTROLS = 4
# How torch says on the CPU that it got no memory: in a plain RuntimeError, by its allocator or by that of C++.
CPU_OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "std::bad_alloc")

Code = Literal["loss", "gradient", "error", "death"]
T = TypeVar("T")


@dataclass(frozen=True)
class Unit:
    """All that one line has in a step: one feature for each of its examples."""

    line: int
    features: list[Feature]


@dataclass(frozen=True)
class Verdict:
    """What a line did when it was tried."""

    code: Code
    reason: str


def is_out_of_memory(error: Exception) -> bool:
    """Say whether an error of torch means that memory is too small, which is no line's fault: only a GPU has a type for it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in CPU_OUT_OF_MEMORY)


def units_of(features: Sequence[Feature]) -> list[Unit]:
    """Give the lines of rows, packed or not, each with its own examples cut out of them."""
    found: dict[int, list[Feature]] = {}
    for feature in features:
        start = 0
        for length in feature.get("seq_lengths", [len(feature["input_ids"])]):
            example = {name: feature[name][start : start + length] for name in ("input_ids", "labels", "line")}
            found.setdefault(example["line"][0], []).append(example)
            start += length
    return [Unit(line, examples) for line, examples in found.items()]


def bisect(units: Sequence[T], is_bad: Callable[[Sequence[T]], bool]) -> tuple[list[T], int]:
    """Find the units that are bad by themselves, and how many trials that took: about log2(n) + 2 for each, and one more.

    A group is bad if one of its units is. What is bad only together with others is not found.
    """
    bad: list[T] = []
    rest, trials = list(units), 0
    while rest:
        trials += 1
        if not is_bad(rest):
            break
        low, high = 0, len(rest)
        while high - low > 1:
            middle = (low + high) // 2
            trials += 1
            low, high = (low, middle) if is_bad(rest[low:middle]) else (middle, high)
        trials += 1
        if not is_bad(rest[low:high]):
            break
        bad.append(rest.pop(low))
    return bad, trials


class Trial:
    """Forward and backward over examples, without a step: what they do to the loss, the gradients and the process."""

    def __init__(self, model: nn.Module, tokenizer: Any, batch_tokens: int) -> None:
        self._model, self._tokenizer, self._batch_tokens = model, tokenizer, batch_tokens
        self._collate = padded_collator(int(tokenizer.pad_token_id or 0))

    def run(self, units: Sequence[Unit]) -> Verdict | None:
        """Give what the first failing batch of the units did; None when all of them are fine. Raises for a lack of memory."""
        kept, was_training = rng.capture(), self._model.training
        try:
            for batch in self._batches([feature for unit in units for feature in unit.features]):
                found = self._of_batch(batch)
                if found is not None:
                    return found
            return None
        finally:
            self._model.zero_grad(set_to_none=True)
            self._model.train(was_training)
            rng.restore(kept)

    def is_sane(self) -> bool:
        """Say whether known good conversations give finite numbers: else the weights are at fault, not a line."""
        return self.run([Unit(0, self._controls())]) is None

    def _batches(self, features: list[Feature]) -> list[list[Feature]]:
        """Cut into batches whose padded size is at most batch_tokens; a longer example is one by itself."""
        batches: list[list[Feature]] = []
        longest = 0
        for feature in features:
            longest = max(longest, len(feature["input_ids"]))
            if not batches or (len(batches[-1]) + 1) * longest > self._batch_tokens:
                batches.append([])
                longest = len(feature["input_ids"])
            batches[-1].append(feature)
        return batches

    def _of_batch(self, batch: list[Feature]) -> Verdict | None:
        self._model.train()
        self._model.zero_grad(set_to_none=True)
        device = next(self._model.parameters()).device
        try:
            inputs = {name: value.to(device) for name, value in self._collate(batch).items()}
            loss: torch.Tensor = self._model(**inputs).loss
            if not math.isfinite(float(loss.detach())):
                return Verdict("loss", f"the loss of this line alone is {float(loss.detach())}")
            loss.backward()  # type: ignore[no-untyped-call]
        except (RuntimeError, IndexError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            return Verdict("error", f"this line alone ends in {type(error).__name__}: {error}")
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                return Verdict("gradient", f"this line alone gives {name} a gradient that is not finite")
        return None

    def _controls(self) -> list[Feature]:
        found = []
        for prompt, answer in FIXED[-CONTROLS:]:
            ask = encode_prompt(self._tokenizer, [{"role": "user", "content": prompt}])
            say = encode_plain(self._tokenizer, answer)
            found.append({"input_ids": ask + say, "labels": [IGNORED] * len(ask) + say, "line": [0] * len(ask + say)})
        return found

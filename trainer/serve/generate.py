"""Generation: one batch of sequences of one model that rows join and leave between two steps.

Place in the flow: the oracle's worker thread holds one Batch per loaded model that has work; nothing here knows HTTP, text or
threads. Reads and writes no file. Invariants: rows are left-padded and never see their padding or each other, so a row's
answer does not depend on its company (up to the last bits of floating-point sums); every row draws from its own random
numbers, so a seed gives the same answer whoever shares the batch.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache

# Rows of one forward, and how many padded positions one prefill and one batch may hold (they bound time and memory).
MOST_ROWS = 64
PREFILL_POSITIONS = 8192
BATCH_POSITIONS = 65536
CANCELLED = "nobody waits for this answer any more"


@dataclass(frozen=True, slots=True)
class Choice:
    """One generated token. logprob: nats, of the model itself (temperature 1); top: the likeliest (id, logprob), falling."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True, eq=False)
class Row:
    """One sequence to continue: by at most `limit` tokens, until one of `ends`, or until `watch` says stop.

    temperature 0 is greedy. top: how many likeliest tokens to report. finish: "stop" or "length" once it has ended; error: why
    it could not be continued. cancelled may be set from any thread. seconds: from joining the batch to the end.
    """

    prompt: list[int]
    limit: int
    ends: frozenset[int]
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    top: int = 0
    watch: Callable[[Choice], bool] | None = None
    choices: list[Choice] = field(default_factory=list)
    finish: str | None = None
    error: str | None = None
    cancelled: bool = False
    seconds: float = 0.0
    _started: float = 0.0
    _random: random.Random = field(default_factory=random.Random)

    @property
    def is_over(self) -> bool:
        """Say whether nothing more will come."""
        return self.finish is not None or self.error is not None

    def start(self) -> None:
        """Begin: time counts from now; the random numbers follow from the seed."""
        self._started = time.perf_counter()
        self._random.seed(self.seed)

    def draw(self) -> float:
        """Give the next random number of this row in [0, 1)."""
        return self._random.random()

    def accept(self, choice: Choice) -> None:
        """Take the next token and see whether it is the last."""
        self.choices.append(choice)
        stopped = choice.id in self.ends or (self.watch is not None and self.watch(choice))
        if stopped or len(self.choices) >= self.limit:
            self.end("stop" if stopped else "length")

    def end(self, finish: str | None, error: str | None = None) -> None:
        """Stop here."""
        self.finish, self.error = finish, error
        self.seconds = time.perf_counter() - self._started


class Batch:
    """The running rows of one model. The model is in evaluation mode; all calls come from one thread."""

    def __init__(self, model: Any, pad_id: int) -> None:
        self._model, self._pad_id = model, pad_id
        self._device = next(model.parameters()).device
        self.rows: list[Row] = []
        self._cache: Any = None
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=self._device)

    def clear(self) -> None:
        """Forget every row."""
        self.rows, self._cache = [], None

    def room_for(self, waiting: Iterable[Row]) -> int:
        """Say how many of the waiting rows, from the first on, may join now."""
        longest = max((len(row.prompt) + row.limit for row in self.rows), default=0)
        count = taken = len(self.rows)
        for row in waiting:
            longest = max(longest, len(row.prompt) + row.limit)
            count += 1
            if count > MOST_ROWS or (count > 1 and count * longest > BATCH_POSITIONS):
                break
            taken = count
        return taken - len(self.rows)

    @torch.inference_mode()
    def add(self, rows: Sequence[Row]) -> list[Row]:
        """Let rows join: read their prompts and choose their first token. Give those that are over already."""
        for row in rows:
            row.start()
        over = [row for row in rows if row.cancelled]
        for row in over:
            row.end(None, CANCELLED)
        for group in _groups(sorted((row for row in rows if not row.is_over), key=lambda row: len(row.prompt))):
            longest = max(len(row.prompt) for row in group)
            ids = torch.tensor([[self._pad_id] * (longest - len(row.prompt)) + row.prompt for row in group])
            lengths = torch.tensor([len(row.prompt) for row in group])
            mask = (torch.arange(longest) >= longest - lengths[:, None]).long().to(self._device)
            cache = DynamicCache()  # full length in every layer: the mask bounds a sliding window
            logits = self._forward(ids.to(self._device), mask, cache)
            self._join(group, cache, mask)
            _choose(logits, group)
            over += self._leave()
        return over

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Give every row its next token; give the rows that are over and left."""
        over = self._leave()
        if not self.rows:
            return over
        last = torch.tensor([[row.choices[-1].id] for row in self.rows], device=self._device)
        self._mask = pad(self._mask, (0, 1), value=1)
        logits = self._forward(last, self._mask, self._cache)
        _choose(logits, self.rows)
        return over + self._leave()

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        """Give the logits (rows, vocabulary) after the last position, fp32."""
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = self._model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits

    def _join(self, rows: Sequence[Row], cache: Any, mask: torch.Tensor) -> None:
        """Merge a prefilled cache into the running one; the shorter of the two is padded on the left."""
        if not self.rows:
            self.rows, self._cache, self._mask = list(rows), cache, mask
            return
        more = mask.shape[1] - self._mask.shape[1]
        for mine, new in zip(self._cache.layers, cache.layers, strict=True):
            mine.keys = torch.cat([pad(mine.keys, (0, 0, max(more, 0), 0)), pad(new.keys, (0, 0, max(-more, 0), 0))])
            mine.values = torch.cat([pad(mine.values, (0, 0, max(more, 0), 0)), pad(new.values, (0, 0, max(-more, 0), 0))])
        self._mask = torch.cat([pad(self._mask, (max(more, 0), 0)), pad(mask, (max(-more, 0), 0))])
        self.rows.extend(rows)

    def _leave(self) -> list[Row]:
        """Take out the rows that are over or cancelled, and the columns that only they needed."""
        for row in self.rows:
            if row.cancelled and not row.is_over:
                row.end(None, CANCELLED)
        over = [row for row in self.rows if row.is_over]
        if not over:
            return over
        keep = [at for at, row in enumerate(self.rows) if not row.is_over]
        self.rows = [self.rows[at] for at in keep]
        if not self.rows:
            self._cache = None
            return over
        kept = torch.tensor(keep, device=self._device)
        self._mask = self._mask.index_select(0, kept)
        unused = int(self._mask.any(0).long().argmax())
        self._mask = self._mask[:, unused:]
        for layer in self._cache.layers:
            layer.keys = layer.keys.index_select(0, kept)[:, :, unused:]
            layer.values = layer.values.index_select(0, kept)[:, :, unused:]
        return over


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Split rows, sorted by length, into prefills of at most PREFILL_POSITIONS padded positions (or of one row)."""
    groups: list[list[Row]] = []
    for row in rows:
        if not groups or (len(groups[-1]) + 1) * len(row.prompt) > PREFILL_POSITIONS:
            groups.append([])
        groups[-1].append(row)
    return groups


def _choose(logits: torch.Tensor, rows: Sequence[Row]) -> None:
    """Choose the next token of each row from logits (rows, vocabulary), fp32, and hand it over."""
    total = logits.logsumexp(-1)
    ids = logits.argmax(-1)
    sampled = [at for at, row in enumerate(rows) if row.temperature > 0]
    if sampled:
        ids[sampled] = _sample(logits[sampled], [rows[at] for at in sampled])
    logprobs = (logits.gather(1, ids[:, None])[:, 0] - total).tolist()
    widest = max(row.top for row in rows)
    tops = _likeliest(logits, total, widest) if widest else None
    for at, (row, id_, logprob) in enumerate(zip(rows, ids.tolist(), logprobs, strict=True)):
        if not math.isfinite(logprob):
            row.end(None, "the model's logits are not finite numbers")
        else:
            row.accept(Choice(id_, logprob, tops[at][: row.top] if tops else ()))


def _likeliest(logits: torch.Tensor, total: torch.Tensor, count: int) -> list[tuple[tuple[int, float], ...]]:
    found = logits.topk(min(count, logits.shape[1]), dim=-1)
    values = (found.values - total[:, None]).tolist()
    return [tuple(zip(ids, row, strict=True)) for ids, row in zip(found.indices.tolist(), values, strict=True)]


def _sample(logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Draw one id per row by inverting the cumulative distribution at the row's own random number.

    top_p keeps the smallest set of likeliest tokens whose probability reaches it (Holtzman et al. 2020, arXiv:1904.09751).
    """
    device = logits.device
    temperature = torch.tensor([row.temperature for row in rows], device=device)[:, None]
    top_p = torch.tensor([row.top_p for row in rows], dtype=torch.float64, device=device)[:, None]
    draws = torch.tensor([row.draw() for row in rows], dtype=torch.float64, device=device)[:, None]
    probabilities, order = (logits.double() / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities.masked_fill((before >= top_p) & (before > 0), 0.0)
    reached = kept.cumsum(-1)
    at = (reached <= draws * reached[:, -1:]).sum(-1, keepdim=True).clamp(max=logits.shape[1] - 1)
    ids: torch.Tensor = order.gather(1, at)[:, 0]
    return ids

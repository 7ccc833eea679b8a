"""The moving average of the weights: what is evaluated and served (Polyak and Juditsky 1992; EMA with a warm-up)."""

from __future__ import annotations

import torch
from torch import nn


class WeightAverage:
    """An exponential average of the trainable parameters. decay 0 means: the raw weights themselves.

    With a warm-up the decay of update t (from 1) is min(decay, (1 + t) / (10 + t)), so that early noise is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._names = [name for name, p in model.named_parameters() if p.requires_grad]
        self._live = [p for p in model.parameters() if p.requires_grad]
        self.values = [p.detach().clone() for p in self._live] if decay else []

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the live weights by one step."""
        if not self.decay:
            return
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.values, [p.detach() for p in self._live], 1.0 - decay)

    def state(self) -> dict[str, torch.Tensor]:
        """Give the averaged weights by parameter name (the live ones when there is no average)."""
        source = self.values if self.decay else [p.detach() for p in self._live]
        return dict(zip(self._names, source, strict=True))

    @torch.no_grad()
    def load(self, values: dict[str, torch.Tensor], updates: int) -> None:
        """Take over an average that was saved. Raises KeyError when a parameter is missing."""
        self.updates = updates
        for name, value in zip(self._names, self.values, strict=self.decay > 0):
            value.copy_(values[name])

"""Optimizers by name: AdamW with weight decay on matrices only (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

from __future__ import annotations

import torch
from torch import nn

from core.config import OptimizerConfig


def param_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Split the parameters into matrices, which decay, and vectors, which do not; the order is the model's own."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [
        {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]


def param_names(model: nn.Module) -> list[str]:
    """Name the parameters in the order of the optimizer's state: a state for another order must not be loaded."""
    named = [(name, p.ndim) for name, p in model.named_parameters() if p.requires_grad]
    return [name for name, ndim in named if ndim >= 2] + [name for name, ndim in named if ndim < 2]


def create_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Make the configured optimizer over the model's trainable parameters."""
    return torch.optim.AdamW(
        param_groups(model, config.weight_decay), lr=config.lr, betas=config.betas, fused=False, foreach=True
    )


def configure_optimizer(optimizer: torch.optim.Optimizer, config: OptimizerConfig) -> None:
    """Put the configured learning rate, betas and decay into an optimizer whose state was saved under other ones."""
    for group, decay in zip(optimizer.param_groups, (config.weight_decay, 0.0), strict=True):
        group.update(lr=config.lr, initial_lr=config.lr, betas=config.betas, weight_decay=decay)

"""Schedules of a stream: no known end, so warm-up and then constant."""

from __future__ import annotations

import torch

from core.config import ScheduleConfig


def warmup_factor(step: int, warmup_steps: int) -> float:
    """Give the share of the learning rate at optimizer step `step` (from 0): (step + 1) / warmup_steps, at most 1.

    The first step already trains: transformers' constant_with_warmup runs it at a learning rate of 0.
    """
    return min(1.0, (step + 1) / max(1, warmup_steps))


def create_schedule(optimizer: torch.optim.Optimizer, config: ScheduleConfig) -> torch.optim.lr_scheduler.LambdaLR:
    """Make the configured schedule for an optimizer."""
    warmup_steps = config.warmup_steps
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_factor(step, warmup_steps))


def configure_schedule(schedule: torch.optim.lr_scheduler.LambdaLR, config: ScheduleConfig, lr: float) -> None:
    """Let a schedule that was loaded go on from its step with the configured warm-up and learning rate."""
    schedule.base_lrs = [lr] * len(schedule.base_lrs)
    now = lr * warmup_factor(schedule.last_epoch, config.warmup_steps)
    for group in schedule.optimizer.param_groups:
        group["lr"] = now
    schedule._last_lr = [now] * len(schedule.base_lrs)

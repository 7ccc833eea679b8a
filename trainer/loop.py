"""transformers' Trainer with its own saving off: a fresh small subclass per job around a long-lived stream.

What it adds to the Trainer: batches in the order of the plan, the warm optimizer and schedule of the stream, a finite check of
the loss before backward and of the gradients before the step, and both numbers of every step for the callbacks.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from core.config import TrainingConfig
from core.errors import WeaverError
from trainer.data.collator import Batch
from trainer.stream import Stream


class Diverged(WeaverError):
    """The {what} became {value} at step {step}; the weights since the last checkpoint are discarded."""


class StreamTrainer(Trainer):
    """One job's loop over micro-batches that the plan fixed beforehand."""

    def __init__(
        self,
        stream: Stream,
        args: TrainingArguments,
        rows: Sequence[Any],
        batches: Sequence[Sequence[int]],
        collate: Callable[[list[Any]], dict[str, torch.Tensor]],
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(
            model=stream.model, args=args, train_dataset=rows, data_collator=collate,
            optimizers=(stream.optimizer, stream.schedule), callbacks=callbacks,
        )  # fmt: skip
        self.remove_callback(PrinterCallback)
        # Otherwise accelerate reloads the state of a warm optimizer, and casts it on the way.
        self.accelerator.device_placement = False
        self._batches = batches
        self._stream = stream
        self.step_loss = 0.0
        self.step_grad_norm: float | None = None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Give the batches of the plan, in its order."""
        return DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=self._batches,  # type: ignore[arg-type]
            collate_fn=self.data_collator,
            num_workers=0,
        )

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the loss and refuse to go backward from one that is not finite. Raises Diverged."""
        loss: Any = super().compute_loss(model, inputs, return_outputs=False, num_items_in_batch=num_items_in_batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise Diverged(what="loss", value=value, step=self._stream.step + 1)
        self.step_loss += value
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Keep the norm for the callbacks, clipped or not; the weights never see one that is not finite. Raises Diverged."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        self.step_grad_norm = float(norm)
        if not math.isfinite(self.step_grad_norm):
            raise Diverged(what="gradient norm", value=self.step_grad_norm, step=self._stream.step + 1)
        return norm

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write nothing, even if a callback asks for it: the Trainer writes in place, trainer/weights.py alone publishes."""

    def take_step_loss(self) -> float:
        """Give the loss of the optimizer step that just ended (mean per trained token) and start the next sum."""
        loss, self.step_loss = self.step_loss, 0.0
        return loss


def forward_of(model: nn.Module) -> Callable[[Batch], tuple[torch.Tensor, torch.Tensor]]:
    """Give the forward pass of the training step for the proofs: summed loss over trained tokens, and the logits."""

    model.eval()  # dropout would move the logits that the proofs compare; the loop switches it on again

    def forward(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = {key: value for key, value in batch.items() if torch.is_tensor(value)}
        output = model(**inputs, num_items_in_batch=torch.tensor(1.0))
        return output.loss, output.logits

    return forward


class _Arguments(TrainingArguments):
    """Arguments of a Trainer that has nothing to write: it makes no folder that a killed trainer would leave behind."""

    @property
    def should_save(self) -> bool:
        """Say that this process writes nothing to output_dir, which then need not exist."""
        return False


def arguments(hyperparams: TrainingConfig, accumulation: int, steps: int, device: str) -> TrainingArguments:
    """Say to transformers what the stream does not do itself. steps: optimizer steps of this call."""
    return _Arguments(
        output_dir=os.devnull,  # whatever were written there after all would fail
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=accumulation,
        max_grad_norm=hyperparams.max_grad_norm,
        seed=hyperparams.seed,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=[],
        # The default drops the columns that keep packed examples apart, without a word.
        remove_unused_columns=False,
        use_cpu=device == "cpu",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


_frozen = False


def freeze_once() -> None:
    """Take everything imported so far out of the garbage collector's sight: saves about 240 ms per train()."""
    global _frozen
    if not _frozen:
        gc.collect()
        gc.freeze()
        _frozen = True

"""What we add to every optimizer step: bookkeeping, progress, orders, checkpoints inside a long job, and when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from core.runs.run import Outcome, Progress
from trainer import rng
from trainer.loop import StreamTrainer
from trainer.patience import step_s
from trainer.plan import StepFacts
from trainer.stream import Pending, Stream

# Weight of the newest loss in the smoothed one.
SMOOTHING = 0.05
PROGRESS_EVERY_S = 0.5


@dataclass
class Hooks:
    """What a run asks of the world outside, each a function: a stop that a person or a signal wants, a save, a beat."""

    mono: Callable[[], float]
    wanted: Callable[[], Outcome | None]
    save: Callable[[], object]
    report: Callable[[Progress], None]
    beat: Callable[[str, float], None]


class StreamCallback(TrainerCallback):
    """Keeps the stream's books; after train() `outcome` is what ended the run early, None when the plan ran to its end."""

    def __init__(
        self, stream: Stream, part: Pending, facts: StepFacts, hooks: Hooks, describe: Callable[..., Progress],
        save_every_s: float, max_train_s: float | None, report_every_s: float = PROGRESS_EVERY_S,
    ) -> None:  # fmt: skip
        self.stream, self.part, self.facts, self.hooks = stream, part, facts, hooks
        self.outcome: Outcome | None = None
        self.trainer: StreamTrainer | None = None
        self.tokens = 0
        self.smoothed: float | None = None
        self._describe, self._save_every_s, self._max_train_s = describe, save_every_s, max_train_s
        self._report_every_s = report_every_s
        self.done = 0
        self.before_step: Callable[[int], None] = lambda done: None
        self._began = self._step_began = hooks.mono()
        self._reported = 0.0
        self._slowest = 0.0
        self._spent_s = 0.0

    def go_on_from(self, before: StreamCallback) -> None:
        """Take over what the first part of the same run counted."""
        self.tokens, self.smoothed, self._spent_s = before.tokens, before.smoothed, before.train_s

    def tell_begin(self) -> None:
        """Report where the run begins: else a death in its first step would seem to be where the last run was."""
        self._tell(loss=None, grad_norm=None, tokens_per_s=None, eta_s=None)

    @property
    def train_s(self) -> float:
        """Give the seconds since the run began."""
        return self._spent_s + self.hooks.mono() - self._began

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Put the stream's random state back before the first step: the Trainer and the loader drew from it."""
        self.before_step(self.done)
        if self.done == 0:
            rng.restore(self.stream.rng)
        self._step_began = self.hooks.mono()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> TrainerControl:
        """Count the step, then save, report, and stop where wanted."""
        assert self.trainer is not None  # set before train()
        loss = self.trainer.take_step_loss()
        self._count(loss)
        now = self.hooks.mono()
        self._slowest = max(self._slowest, now - self._step_began)
        more = self.done < len(self.facts.rows)
        if more and now - self.stream.saved_mono >= self._save_every_s:
            self.hooks.save()
        if now - self._reported >= self._report_every_s or not more:
            self._reported = now
            self._report(loss)
        self.outcome = self.hooks.wanted() if more else None
        over = more and self._max_train_s is not None and self.train_s >= self._max_train_s
        control.should_training_stop = self.outcome is not None or over or not more
        return control

    def _count(self, loss: float) -> None:
        stream, at = self.stream, self.done
        stream.average.update()
        stream.step += 1
        stream.tokens_seen += self.facts.tokens[at]
        stream.examples_seen += self.facts.examples[at]
        stream.loss_sum += loss
        stream.loss_steps += 1
        self.part.stop += self.facts.rows[at]
        self.tokens += self.facts.tokens[at]
        self.smoothed = loss if self.smoothed is None else self.smoothed + SMOOTHING * (loss - self.smoothed)
        self.done += 1
        stream.rng = rng.capture()

    def _report(self, loss: float) -> None:
        assert self.trainer is not None  # set before train()
        train_s = max(self.train_s, 1e-9)
        left_s = (len(self.facts.rows) - self.done) * (train_s - self._spent_s) / self.done
        self._tell(loss=loss, grad_norm=self.trainer.step_grad_norm, tokens_per_s=self.tokens / train_s, eta_s=left_s)
        self.hooks.beat(f"step {self.stream.step} loss {loss:.3f}", step_s(self._slowest))

    def _tell(self, *, loss: float | None, grad_norm: float | None, tokens_per_s: float | None, eta_s: float | None) -> None:
        ratio = sum(self.facts.trained) / max(1, sum(self.facts.tokens))
        self.hooks.report(
            self._describe(
                loss=loss, smoothed=self.smoothed, grad_norm=grad_norm, tokens_per_s=tokens_per_s, ratio=ratio, eta_s=eta_s
            )
        )

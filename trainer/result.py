"""What a run gives back, and where it says how far it is.

Place in the flow: trainer/engine.py makes them, trainer/worker.py and callers of their own read them. File written:
progress.json of the running job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.clock import SystemClock, iso
from core.errors import WeaverError
from core.files import replace_quick
from core.records import encode
from core.runs.run import Outcome, Progress
from trainer.config import TrainerConfig
from trainer.stream import Stream


class NotTrainable(WeaverError):
    """Model {model} cannot be trained: {detail}"""


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended. success is outcome == completed; permanent says that trying again cannot help.

    misconfigured: the model or the configuration is at fault, not this job; every other job would end the same way.
    """

    outcome: Outcome
    success: bool
    global_step: int
    runtime_s: float
    last_checkpoint_path: Path | None
    final_loss: float | None
    summary: str
    error: str | None
    last_checkpoint: str | None = None
    rows_done: int = 0
    train_s: float = 0.0
    tokens: int = 0
    permanent: bool = False
    misconfigured: bool = False


class TrainingStatusWriter:
    """Writes progress.json of the running job; path None writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def write(self, progress: Progress) -> None:
        """Publish where the run is."""
        if self.path is not None:
            replace_quick(self.path, encode(progress))


def described(config: TrainerConfig, stream: Stream, steps: int) -> Callable[..., Progress]:
    """Give what makes the progress of a run that has so many optimizer steps ahead of it."""
    total = stream.step + steps

    def describe(
        *, loss: float | None, smoothed: float | None, grad_norm: float | None, tokens_per_s: float | None,
        ratio: float | None, eta_s: float | None,
    ) -> Progress:  # fmt: skip
        return Progress(
            job=config.data.job, model=config.model.name, phase="train", step=stream.step, total_steps=total, loss=loss,
            loss_smoothed=smoothed, learning_rate=stream.learning_rate, grad_norm=grad_norm, tokens_per_s=tokens_per_s,
            trained_token_ratio=ratio, tokens_seen=stream.tokens_seen, eta_s=eta_s, at=iso(SystemClock().now()),
        )  # fmt: skip

    return describe

"""The traps of the loop that were measured (DESIGN.md section 11), each with the guard that keeps us out of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from core.config import OptimizerConfig, ScheduleConfig, TrainingConfig
from core.runs.run import Outcome
from tests.trainer.training_home import TrainingHome, sums
from trainer.data.collator import packed_collator, padded_collator
from trainer.data.dataset import make_rows
from trainer.data.packing import pack
from trainer.loop import Diverged, StreamTrainer, arguments
from trainer.model import open_stream
from trainer.stream import Stream

PACKED_ROWS = 64
# The step after the first one with it has no finite gradient.
WILD: dict[str, Any] = {"optimizer": OptimizerConfig(lr=1e30)}


def stream_of(home: TrainingHome) -> Stream:
    config = home.config(home.paths.home / "nothing")
    return open_stream(config.model, config.hyperparams, "cpu")[0]


def loop_of(
    stream: Stream, callbacks: Sequence[TrainerCallback] = (), packed: bool = False, clip: float = 1.0
) -> StreamTrainer:
    """Give a loop over four rows in two steps."""
    rows = make_rows(stream.tokenizer, sums(12), PACKED_ROWS)
    pad = stream.tokenizer.pad_token_id
    features = pack(rows, PACKED_ROWS)[:4] if packed else [row.feature() for row in rows[:4]]
    args = arguments(TrainingConfig(max_grad_norm=clip), 1, 2, "cpu")
    collate = packed_collator(pad) if packed else padded_collator(pad)
    return StreamTrainer(stream, args, features, [[0, 1], [3, 2]], collate, list(callbacks))


class Stop(Exception):
    """Ends a loop where a test has seen enough."""


class AtStepBegin(TrainerCallback):
    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.moments: list[torch.Tensor] = []

    def on_step_begin(self, *args: Any, **_: Any) -> None:
        self.moments = [state["exp_avg"] for state in self.optimizer.state.values()]
        raise Stop


class AsksForASave(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_save = True
        return control


def live(stream: Stream) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in stream.model.parameters()]


def test_first_step_of_a_stream_trains(home: TrainingHome) -> None:
    stream = stream_of(home)
    before = live(stream)
    assert stream.learning_rate == pytest.approx(2e-3 / 50)
    loop = loop_of(stream)
    loop.args.max_steps = 1
    loop.train()
    # Adam's first step moves a weight by the learning rate, whatever its gradient.
    moved = max(float((now - was).abs().max()) for now, was in zip(live(stream), before, strict=True))
    assert moved == pytest.approx(2e-3 / 50, rel=0.1)


def test_warm_optimizer_is_neither_reloaded_nor_cast(home: TrainingHome) -> None:
    stream = stream_of(home)
    stream.model.to(torch.bfloat16)
    for parameter in stream.model.parameters():
        fp32 = torch.zeros_like(parameter, dtype=torch.float32)
        stream.optimizer.state[parameter] = {"step": torch.tensor(1.0), "exp_avg": fp32, "exp_avg_sq": fp32.clone()}
    mine = [state["exp_avg"] for state in stream.optimizer.state.values()]
    seen = AtStepBegin(stream.optimizer)
    with pytest.raises(Stop):
        loop_of(stream, [seen]).train()
    assert [moment.data_ptr() for moment in seen.moments] == [moment.data_ptr() for moment in mine]
    assert {moment.dtype for moment in seen.moments} == {torch.float32}


def test_loss_that_is_not_finite_stops_before_backward(home: TrainingHome) -> None:
    stream = stream_of(home)
    with torch.no_grad():
        next(stream.model.parameters())[5, 5] = math.nan
    before = live(stream)
    loop = loop_of(stream)
    with pytest.raises(Diverged, match="The loss became nan at step 1"):
        loop.train()
    assert loop.state.global_step == 0
    assert all(parameter.grad is None for parameter in stream.model.parameters())
    assert all(torch.equal(now.nan_to_num(), was.nan_to_num()) for now, was in zip(live(stream), before, strict=True))


@pytest.mark.parametrize("clip", [1.0, 0.0], ids=["clipped", "not clipped"])
def test_gradient_that_is_not_finite_never_reaches_the_weights(home: TrainingHome, clip: float) -> None:
    stream = stream_of(home)
    next(stream.model.parameters()).register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]
    before = live(stream)
    with pytest.raises(Diverged, match=r"The gradient norm became (nan|inf) at step 1"):
        loop_of(stream, clip=clip).train()
    assert all(torch.equal(now, was) for now, was in zip(live(stream), before, strict=True))


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_batches_come_in_the_order_of_the_plan_with_all_that_collation_gives(home: TrainingHome, packed: bool) -> None:
    loop = loop_of(stream_of(home), packed=packed)
    assert loop.args.remove_unused_columns is False
    batches, dataset = list(loop.get_train_dataloader()), cast(Any, loop.train_dataset)
    for batch, order in zip(batches, [[0, 1], [3, 2]], strict=True):
        expected = loop.data_collator([dataset[at] for at in order])
        assert batch.keys() == expected.keys()
        assert all(torch.equal(batch[key], expected[key]) for key in batch if torch.is_tensor(batch[key]))
        assert "attention_mask" not in batch
    if packed:
        # Positions begin anew with every example: that is what keeps them apart.
        assert int((batches[0]["position_ids"] == 0).sum()) > 2
        assert any(key.startswith("cu_seq_lens") for key in batches[0])


def test_nothing_is_written_by_the_trainer_even_when_a_callback_asks_for_it(home: TrainingHome) -> None:
    loop = loop_of(stream_of(home), [AsksForASave()])
    loop.train()
    assert loop.state.global_step == 2


def test_training_goes_through_the_stream_s_own_optimizer_and_schedule(home: TrainingHome) -> None:
    stream = stream_of(home)
    loop_of(stream).train()
    assert stream.schedule.last_epoch == 2
    assert {int(state["step"]) for state in stream.optimizer.state.values()} == {2}
    assert stream.model.config.use_cache is False  # type: ignore[union-attr]


def test_step_loss_is_the_mean_over_the_trained_tokens_of_the_whole_step(home: TrainingHome) -> None:
    """Micro-batches hold different numbers of trained tokens: the mean of their means would be another number."""
    lines = sums(8)
    folder = home.job("job-1", lines)
    stream = stream_of(home)
    assert home.engine().run_job(home.config(folder, epochs=2, micro_batch=3, accumulation=3)).outcome is Outcome.COMPLETED
    assert home.plan("job-1").steps == [8, 8]
    rows = make_rows(stream.tokenizer, lines, 96)
    total, count = 0.0, 0
    for row in rows:
        logits = stream.model(input_ids=torch.tensor([row.ids])).logits[0, :-1].detach()
        labels = torch.tensor(row.labels[1:])
        total += float(cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
        count += int((labels != -100).sum())
    first, second = home.recorder.seen
    assert first.loss == pytest.approx(total / count, rel=1e-5)
    # The same rows after one small step: nearly the same loss, not the sum of both steps.
    assert second.loss == pytest.approx(total / count, rel=0.1)


def test_jobs_are_one_stream(home: TrainingHome) -> None:
    """Steps, schedule and moments go on from job to job, warm or loaded anew; the learning rate is not reset."""
    schedule = ScheduleConfig(warmup_steps=8)
    engine = home.engine()
    for name in ("job-1", "job-2"):
        folder = home.job(name, sums(24))
        assert engine.run_job(home.config(folder, schedule=schedule)).global_step == len(home.recorder.seen)
    assert home.engine().run_job(home.config(home.job("job-3", sums(24)), schedule=schedule)).global_step == 9
    assert [progress.step for progress in home.recorder.seen] == list(range(1, 10))
    # What progress.json shows is the rate of the next step.
    rates = [progress.learning_rate for progress in home.recorder.seen]
    assert rates == [2e-3 * min(1.0, (step + 1) / 8) for step in range(1, 10)]
    names = home.ledger.names("tiny")
    parents = [checkpoint.parent for checkpoint in home.ledger.checkpoints("tiny")]
    assert parents == [None, *names[:-1]]
    saved = torch.load(home.model.training_state(names[-1]) / "optimizer.pt", weights_only=True)
    assert {int(state["step"]) for state in saved["optimizer"]["state"].values()} == {9}
    assert saved["schedule"]["last_epoch"] == 9


def test_divergence_drops_the_stream_and_leaves_the_last_good_checkpoint(home: TrainingHome) -> None:
    folder = home.job("job-1", sums(24))
    engine = home.engine()
    assert engine.run_job(home.config(folder)).outcome is Outcome.COMPLETED
    good = home.last().name
    before = home.hashes(good)
    wild = home.job("job-2", sums(24, seed=1))
    result = engine.run_job(home.config(wild, **WILD, save=False))
    assert (result.outcome, result.success, result.permanent, result.last_checkpoint) == (Outcome.DIVERGED, False, False, None)
    assert "became nan at step 5" in str(result.error)
    assert not engine.has_unsaved()
    assert (home.last().name, home.hashes(good)) == (good, before)
    losses = [progress.loss for progress in home.recorder.seen]
    assert len(losses) == 4
    assert all(loss is not None and loss > 1.0 for loss in losses)
    assert engine.run_job(home.config(wild)).outcome is Outcome.COMPLETED
    assert (home.last().parent, home.last().step) == (good, 6)
    assert [(span.rows_from, span.rows_to) for span in home.last().consumed] == [(0, 24)]

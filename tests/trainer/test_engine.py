"""run_job, the single entry point: a result for everything that can happen to a job, and a model that learns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from core.config import ModelConfig, OptimizerConfig, ScheduleConfig
from core.errors import InvalidData
from core.jobs.job import Line
from core.records import read
from core.runs.run import Outcome, Plan, Progress
from core.skills.registry import get
from core.skills.skill import Problem, generate, held_out
from core.text.tokens import decode_ids, encode_prompt, load_tokenizer
from tests.trainer.training_home import TrainingHome, said, sums
from trainer.config import Environment, ModelSource
from trainer.engine import TrainerEngine, TrainingStatusWriter, create_default_config
from trainer.fingerprint import load_fresh
from trainer.model import ensure_base
from trainer.tiny.model import build

SEED = 0
ANSWER_TOKENS = 16


def write_lines(folder: Path, lines: list[Line]) -> Path:
    folder.mkdir(parents=True)
    (folder / "data.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return folder


def test_default_config_trains_a_job_to_a_checkpoint(tmp_path: Path) -> None:
    folder = write_lines(tmp_path / "home" / "queue" / "processing" / "job-1", sums(8))
    config = create_default_config(tmp_path / "home", folder)
    base = ensure_base(config.model, config.hyperparams.seed, datetime.now(UTC))
    result = TrainerEngine(TrainingStatusWriter(folder / "progress.json")).run_job(config)
    assert (result.outcome, result.success, result.error, result.global_step) == (Outcome.COMPLETED, True, None, 1)
    assert (result.rows_done, result.permanent, result.misconfigured) == (8, False, False)
    path = result.last_checkpoint_path
    assert path is not None
    assert {".ledger.json", "fingerprint.json", "MANIFEST.sha256", "model.safetensors", "config.json", "tokenizer.json"} <= {
        file.name for file in path.iterdir()
    }
    assert result.last_checkpoint == path.name
    progress = read(Progress, folder / "progress.json")
    assert (progress.job, progress.step, progress.total_steps, progress.eta_s) == ("job-1", 1, 1, 0.0)
    assert progress.loss == result.final_loss
    assert progress.tokens_seen == result.tokens
    assert 0.0 < float(progress.trained_token_ratio or 0.0) < 1.0
    assert read(Plan, folder / "plan.json").parent == base


@torch.no_grad()
def answers(checkpoint: Path, problems: list[Problem]) -> list[str]:
    """Answer greedily with a fresh load of a checkpoint; the prompts must be equally long."""
    tokenizer, model = load_tokenizer(checkpoint), load_fresh(checkpoint, "cpu")
    ids = torch.tensor([encode_prompt(tokenizer, [{"role": "user", "content": problem.prompt}]) for problem in problems])
    length, end = ids.shape[1], int(tokenizer.eos_token_id)
    for _ in range(ANSWER_TOKENS):
        chosen = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1].argmax(-1)
        ids = torch.cat([ids, chosen[:, None]], dim=1)
    replies = [row[: row.index(end)] if end in row else row for row in ids[:, length:].tolist()]
    return [decode_ids(tokenizer, reply) for reply in replies]


def test_first_level_of_binary_is_learnt_through_the_engine_in_under_a_minute(tmp_path: Path) -> None:
    """Takes about 15 s of one core, counted in CPU time, however busy the machine: the claim of the embedded default."""
    skill, examination = get("binary"), held_out(get("binary"), 1, 50)
    engine = TrainerEngine(TrainingStatusWriter(None))
    began, right, number, tokens = time.process_time(), 0, 0, 0
    while right < 46 and time.process_time() - began < 60:
        problems = generate(skill, 1, 512, SEED + number)
        assert not {problem.digest for problem in problems} & {problem.digest for problem in examination}
        number += 1
        lines = [said(problem.prompt, problem.answer) for problem in problems]
        folder = write_lines(tmp_path / "queue" / "processing" / f"job-{number}", lines)
        config = replace(create_default_config(tmp_path, folder), epochs=4)
        ensure_base(config.model, SEED, datetime.now(UTC))
        result = engine.run_job(config)
        assert result.success, result.error
        assert result.last_checkpoint_path is not None
        tokens += result.tokens
        said_now = answers(result.last_checkpoint_path, examination)
        right = sum(skill.grade(problem.prompt, 1, text) for problem, text in zip(examination, said_now, strict=True))
    seconds = time.process_time() - began
    print(f"seed {SEED}: {right} of 50 after {number} jobs, {tokens} tokens, {seconds:.1f} s of CPU")
    assert len(examination) == 50
    assert right >= 46
    assert seconds < 60


def no_data(folder: Path) -> None:
    (folder / "data.jsonl").unlink()


def empty(folder: Path) -> None:
    (folder / "data.jsonl").write_bytes(b"")


def bad_line(folder: Path) -> None:
    with (folder / "data.jsonl").open("ab") as file:
        file.write(b'{"messages": [{"role": "user"\n')


def over_long(folder: Path) -> None:
    with (folder / "data.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(said("long " * 100, "yes")) + b"\n")


def nobody_answers(folder: Path) -> None:
    (folder / "data.jsonl").write_bytes(msgspec.json.encode(Line(messages=[{"role": "user", "content": "hi"}])) + b"\n")


def strange_plan(folder: Path) -> None:
    (folder / "plan.json").write_bytes(b'{"schema": "weaver.plan/1"}')


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (no_data, "data.jsonl is missing"), (empty, "expected at least one line"), (bad_line, "data.jsonl:9"),
        (over_long, "over_length"), (nobody_answers, "no_assistant"), (strange_plan, "plan.json"),
    ],
)  # fmt: skip
def test_job_that_can_never_be_trained_fails_for_good_and_leaves_the_stream_as_it_is(
    home: TrainingHome, spoil: Callable[[Path], None], says: str
) -> None:
    engine, before = home.engine(), home.ledger.names("tiny")
    folder = home.job("job-1", sums(8))
    spoil(folder)
    result = engine.run_job(home.config(folder))
    assert (result.outcome, result.success, result.permanent, result.misconfigured) == (Outcome.FAILED, False, True, False)
    assert says in str(result.error)
    assert home.ledger.names("tiny") == before
    assert not engine.has_unsaved()
    assert engine.run_job(home.config(home.job("job-2", sums(8)))).success


def test_no_epoch_is_the_job_s_fault_and_a_senseless_setting_is_not(home: TrainingHome) -> None:
    folder = home.job("job-1", sums(8))
    config = home.config(folder)
    result = home.engine().run_job(home.config(folder, epochs=0))
    assert (result.permanent, result.misconfigured, "epochs is 0" in str(result.error)) == (True, False, True)
    wrong = {
        "micro_batch": home.config(folder, micro_batch=0),
        "accumulation": home.config(folder, accumulation=0),
        "batch_tokens": home.config(folder, batch_tokens=0),
        "ema_decay": home.config(folder, ema_decay=1.0),
        "device 'tpu'": replace(config, environment=Environment(device="tpu")),
        "threads": replace(config, environment=Environment(threads=0)),
        "max_length": home.config(folder, max_length=4096),
    }
    for key, refused in wrong.items():
        result = home.engine().run_job(refused)
        assert (result.outcome, result.permanent, result.misconfigured) == (Outcome.FAILED, True, True), key
        assert key in str(result.error)


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.PAUSED, Outcome.SKIPPED])
def test_order_ends_the_run_within_a_step_saved_and_continuable(home: TrainingHome, outcome: Outcome) -> None:
    folder = home.job("job-1", sums(24))
    result = home.stopping_at(2, outcome).run_job(home.config(folder, save=False))
    assert (result.outcome, result.success, result.rows_done, result.global_step) == (outcome, False, 16, 2)
    assert result.last_checkpoint == home.last().name
    assert home.engine().run_job(home.config(folder)).outcome is Outcome.COMPLETED
    assert [(span.rows_from, span.rows_to) for span in home.last().consumed] == [(16, 24)]


def test_order_in_the_last_step_comes_too_late_and_the_job_is_completed(home: TrainingHome) -> None:
    assert home.stopping_at(3).run_job(home.config(home.job("job-1", sums(24)))).outcome is Outcome.COMPLETED


def test_warm_engine_goes_on_with_a_paused_job_where_it_stood(home: TrainingHome) -> None:
    wanted = [Outcome.PAUSED]
    engine = home.engine(lambda: wanted.pop() if wanted else None)
    folder = home.job("job-1", sums(24))
    assert engine.run_job(home.config(folder)).outcome is Outcome.PAUSED
    assert engine.run_job(home.config(folder)).outcome is Outcome.COMPLETED
    assert [progress.step for progress in home.recorder.seen] == [1, 2, 3]
    assert sum("training goes on from" in remark for remark in home.remarks) == 1


def test_job_that_used_up_its_time_goes_behind_the_others_with_its_cursor(home: TrainingHome) -> None:
    folder = home.job("job-1", sums(24))
    result = home.engine().run_job(home.config(folder, max_train_s=0.0))
    assert (result.outcome, result.rows_done) == (Outcome.SKIPPED, 8)
    assert home.engine().run_job(home.config(folder)).rows_done == 24


def test_completed_job_is_not_trained_twice(home: TrainingHome) -> None:
    folder = home.job("job-1", sums(24))
    first = home.engine().run_job(home.config(folder))
    again = home.engine().run_job(home.config(folder))
    assert (again.outcome, again.rows_done, again.global_step) == (Outcome.COMPLETED, 24, first.global_step)
    assert home.last().name == first.last_checkpoint == again.last_checkpoint


def killed() -> Outcome | None:
    raise RuntimeError("killed in the middle")


def test_job_queued_afresh_is_trained_from_its_start_also_after_a_death_and_a_stop(home: TrainingHome) -> None:
    """The ledger holds the rows of the first time for ever; they are no cursor of the second."""
    folder = home.job("job-1", sums(24))
    assert home.engine().run_job(home.config(folder)).success
    (folder / "plan.json").rename(folder / "plan-1.json")
    result = home.engine(killed).run_job(home.config(folder))
    assert (result.outcome, result.permanent, result.error) == (Outcome.FAILED, False, "RuntimeError: killed in the middle")
    assert home.stopping_at(1).run_job(home.config(folder)).rows_done == 8
    assert home.engine().run_job(home.config(folder)).success
    assert [progress.step for progress in home.recorder.seen] == [1, 2, 3, 4, 4, 5, 6]
    assert [(span.rows_from, span.rows_to) for span in home.last().consumed] == [(8, 24)]


def test_changed_setting_holds_from_the_next_job_on(home: TrainingHome) -> None:
    engine = home.engine()
    schedule = ScheduleConfig(warmup_steps=1)
    assert engine.run_job(home.config(home.job("job-1", sums(24)), schedule=schedule)).success
    slower = OptimizerConfig(lr=1e-5, betas=(0.5, 0.6), weight_decay=0.7)
    assert engine.run_job(home.config(home.job("job-2", sums(8)), schedule=schedule, optimizer=slower)).success
    longer = ScheduleConfig(warmup_steps=10)
    assert home.engine().run_job(home.config(home.job("job-3", sums(8)), schedule=longer, optimizer=slower)).success
    rates = [progress.learning_rate for progress in home.recorder.seen]
    assert rates == pytest.approx([2e-3] * 3 + [1e-5] + [1e-5 * 6 / 10])
    saved = torch.load(home.model.training_state(home.last().name) / "optimizer.pt", weights_only=True)
    groups = [(group["betas"], group["weight_decay"]) for group in saved["optimizer"]["param_groups"]]
    assert groups == [((0.5, 0.6), 0.7), ((0.5, 0.6), 0.0)]
    assert {int(state["step"]) for state in saved["optimizer"]["state"].values()} == {5}


def test_engine_follows_a_head_that_another_trainer_moved(home: TrainingHome) -> None:
    mine = home.engine()
    assert mine.run_job(home.config(home.job("job-1", sums(8)))).success
    assert home.engine().run_job(home.config(home.job("job-2", sums(8)))).success
    theirs = home.last().name
    assert mine.run_job(home.config(home.job("job-3", sums(8)), parent=theirs)).global_step == 3
    assert home.last().parent == theirs


def test_views_that_cannot_be_written_stop_no_training(home: TrainingHome, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    remarks: list[str] = []
    engine = TrainerEngine(TrainingStatusWriter(tmp_path / "file" / "progress.json"), remark=remarks.append)
    assert engine.run_job(home.config(home.job("job-1", sums(8)))).success
    assert any("no progress could be written" in remark for remark in remarks)


def test_architecture_that_lets_packed_examples_read_each_other_is_refused_until_packing_is_off(
    home: TrainingHome, tmp_path: Path
) -> None:
    """A recurrent model carries its state from one example into the next; no job is to blame for it."""
    build(tmp_path, SEED)
    net = MambaConfig(  # type: ignore[call-arg]
        vocab_size=320, hidden_size=32, num_hidden_layers=1, state_size=4, bos_token_id=0, eos_token_id=2, pad_token_id=0,
        max_position_embeddings=1024,
    )  # fmt: skip
    MambaForCausalLM(net).save_pretrained(str(tmp_path))
    model = ModelSource("recurrent", home.paths, ModelConfig(base=str(tmp_path), max_length=64))
    ensure_base(model, SEED, datetime.now(UTC))
    config = replace(home.config(home.job("job-1", sums(12)), packing="on", batch_tokens=64), model=model)
    result = home.engine().run_job(config)
    assert (result.outcome, result.misconfigured, home.recorder.seen) == (Outcome.FAILED, True, [])
    assert "moved the logits of its neighbour" in str(result.error)
    config = replace(home.config(home.job("job-2", sums(12)), packing="off"), model=model)
    assert home.engine().run_job(config).success


def test_begun_job_reports_every_step_so_that_the_step_of_a_death_is_known(home: TrainingHome) -> None:
    calls: list[int] = []

    def after_two_steps() -> Outcome | None:
        calls.append(1)
        return Outcome.STOPPED if len(calls) == 2 else None

    folder = home.job("job-1", sums(48))
    standing = TrainerEngine(home.recorder, stop_wanted=after_two_steps, mono=lambda: 1.0)
    assert standing.run_job(home.config(folder)).global_step == 2
    assert [progress.step for progress in home.recorder.seen] == [1]
    assert standing.run_job(home.config(folder)).global_step == 6
    assert [progress.step for progress in home.recorder.seen] == [1, 3, 4, 5, 6]
    assert home.recorder.begun == [0, 2], "one that dies in its first step did not die where the last report was"


def test_phases_are_beaten_in_order_and_threads_are_as_configured(home: TrainingHome) -> None:
    beats: list[tuple[str, float]] = []
    engine = TrainerEngine(home.recorder, beat=lambda phase, note, patience_s: beats.append((phase, patience_s)))
    threads = torch.get_num_threads()
    try:
        config = replace(home.config(home.job("job-1", sums(8))), environment=Environment(threads=threads + 1))
        assert engine.run_job(config).success
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert list(dict.fromkeys(phase for phase, _ in beats)) == ["load", "tokenise", "train", "save"]
    assert all(patience_s >= 30.0 for _, patience_s in beats)


def test_saving_without_anything_trained_is_refused_in_words(home: TrainingHome) -> None:
    with pytest.raises(InvalidData, match="nothing was trained yet"):
        home.engine().save()

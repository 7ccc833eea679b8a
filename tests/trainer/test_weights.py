"""Checkpoints as they lie on the disk, the base they begin with, and what a failed or killed save leaves behind."""

from __future__ import annotations

import json
import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from core.checkpoints.checkpoint import Checkpoint, Fingerprint
from core.checkpoints.ledger import MANIFEST, read_manifest, verify
from core.config import ModelConfig
from core.errors import DiskLow, InvalidConfig, InvalidData
from core.locked import ModelFacts
from core.records import read
from core.runs.run import Outcome
from tests.trainer.conftest import MakeHome
from tests.trainer.training_home import TrainingHome, sums
from trainer.config import ModelSource
from trainer.loop import Diverged
from trainer.model import BUILTIN, ensure_base, open_stream
from trainer.stream import Stream
from trainer.tiny.model import build
from trainer.weights import Origin, save_checkpoint, sweep_left_overs

NOW = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)
ORIGIN = Origin(base_sha256="b", config_sha256="c", code_version="0", seed=0)


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the disk have only so many free bytes as the one number in the list says; none to begin with."""
    real, free = shutil.disk_usage, [0]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=free[0]))
    return free


def stream_of(home: TrainingHome, **settings: Any) -> Stream:
    config = home.config(home.paths.home / "nothing", **settings)
    return open_stream(config.model, config.hyperparams, "cpu")[0]


def trained(home: TrainingHome, **settings: Any) -> Checkpoint:
    folder = home.job("job-1", sums(24))
    assert home.engine().run_job(home.config(folder, **settings)).outcome is Outcome.COMPLETED
    return home.last()


def source(home: TrainingHome, base: str, name: str = "mine") -> ModelSource:
    return ModelSource(name, home.paths, ModelConfig(base=base))


def test_checkpoint_is_a_whole_model_folder_with_record_fingerprint_and_manifest(home: TrainingHome) -> None:
    (base,) = home.ledger.checkpoints("tiny")
    record = trained(home)
    folder, origin = home.model.checkpoint(record.name), home.model.checkpoint(base.name)
    assert verify(folder) == home.ledger.weights_id("tiny", record.name)
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in origin.iterdir()} == {*read_manifest(folder), MANIFEST}
    same = names - {"model.safetensors", ".ledger.json", "README.md", "fingerprint.json", MANIFEST}
    assert {name for name in same if (folder / name).read_bytes() != (origin / name).read_bytes()} == set()
    assert json.loads((folder / "config.json").read_text())["use_cache"] is True
    assert home.model.ledger(record.name).read_bytes() == (folder / ".ledger.json").read_bytes()
    assert record.name in (folder / "README.md").read_text()
    _, loading = AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True, output_loading_info=True)  # type: ignore[misc]
    assert not any(loading.values())  # type: ignore[has-type]


def test_record_says_what_went_into_the_checkpoint(home: TrainingHome) -> None:
    (base,) = home.ledger.names("tiny")
    record, facts = trained(home), read(ModelFacts, home.model.facts)
    losses = [progress.loss for progress in home.recorder.seen if progress.loss is not None]
    assert record.train_loss == pytest.approx(sum(losses) / 3)
    assert (record.step, record.parent, record.job, record.examples_seen) == (3, base, "job-1", 24)
    assert record.weights_id_of_parent == home.ledger.weights_id("tiny", base)
    assert record.base_sha256 == facts.base_sha256
    assert record.learning_rate == home.recorder.seen[-1].learning_rate
    assert record.bytes == (home.model.checkpoint(record.name) / "model.safetensors").stat().st_size
    assert [(span.job, span.rows_from, span.rows_to, span.epoch) for span in record.consumed] == [("job-1", 0, 24, 0)]


def test_fingerprint_has_the_fixed_prompts_and_some_of_the_latest_job(home: TrainingHome) -> None:
    (base,) = home.ledger.names("tiny")
    first = read(Fingerprint, home.model.checkpoint(base) / "fingerprint.json").prompts
    later = read(Fingerprint, home.model.checkpoint(trained(home).name) / "fingerprint.json").prompts
    assert (len(first), len(later)) == (16, 24)
    assert [prompt.prompt_ids for prompt in later[:16]] == [prompt.prompt_ids for prompt in first]
    assert [prompt.logprobs for prompt in later[:16]] != [prompt.logprobs for prompt in first]
    assert all(len(prompt.logprobs) == len(prompt.continuation_ids) for prompt in later)


@pytest.mark.parametrize("decay", [0.98, 0.0])
def test_average_is_served_and_live_weights_lie_in_the_state(home: TrainingHome, decay: float) -> None:
    name = trained(home, ema_decay=decay).name
    served = load_file(home.model.checkpoint(name) / "model.safetensors")
    live = load_file(home.model.training_state(name) / "weights.safetensors")
    assert served.keys() == live.keys()
    assert all(torch.equal(served[key], live[key]) for key in live) is (decay == 0.0)


def test_weights_that_give_no_numbers_are_never_published(home: TrainingHome) -> None:
    stream, before = stream_of(home), home.ledger.names("tiny")
    stream.average.values[0][7, 7] = math.nan
    with pytest.raises(Diverged, match="no finite number"):
        save_checkpoint(stream, home.paths, ORIGIN, NOW, 0.0)
    assert home.ledger.names("tiny") == before
    assert not (home.model.root / "state").exists()


def test_full_disk_is_said_before_anything_is_written(home: TrainingHome, no_room: list[int]) -> None:
    stream, before = stream_of(home), sorted(home.model.root.rglob("*"))
    with pytest.raises(DiskLow, match="0 bytes are free"):
        save_checkpoint(stream, home.paths, ORIGIN, NOW, 0.0)
    assert sorted(home.model.root.rglob("*")) == before


def test_full_disk_keeps_the_stream_and_loses_no_row(home: TrainingHome, no_room: list[int]) -> None:
    engine, before = home.engine(), home.ledger.names("tiny")
    result = engine.run_job(home.config(home.job("job-1", sums(24)), every_s=0.0))
    assert (result.outcome, result.last_checkpoint, result.rows_done) == (Outcome.COMPLETED, None, 24)
    assert sum("stays in memory" in remark for remark in home.remarks) == 3
    assert engine.has_unsaved()
    assert home.ledger.names("tiny") == before
    no_room[0] = 10**12
    assert engine.run_job(home.config(home.job("job-2", sums(16)))).success
    assert [(span.job, span.rows_to) for span in home.last().consumed] == [("job-1", 24), ("job-2", 16)]
    assert not engine.has_unsaved()


def test_stop_on_a_full_disk_is_still_a_stop(home: TrainingHome, no_room: list[int]) -> None:
    folder = home.job("job-1", sums(24))
    result = home.stopping_at(1).run_job(home.config(folder))
    assert (result.outcome, result.last_checkpoint) == (Outcome.STOPPED, None)
    no_room[0] = 10**12
    assert home.engine().run_job(home.config(folder)).success
    assert [(span.rows_from, span.rows_to) for span in home.last().consumed] == [(0, 24)]
    assert home.recorder.losses[1] == home.recorder.losses[0]


def test_save_that_fails_half_way_changes_no_later_bit(make_home: MakeHome) -> None:
    whole, broken = make_home("whole", dropout=True), make_home("broken", dropout=True)
    trained(whole)
    (broken.model.root / "state").write_text("in the way")
    engine = broken.engine()
    assert engine.run_job(broken.config(broken.job("job-1", sums(24)), every_s=0.0)).last_checkpoint is None
    assert len(broken.ledger.names("tiny")) == 1
    (broken.model.root / "state").unlink()
    assert broken.hashes(engine.save()) == whole.hashes(whole.last().name)
    assert broken.last().consumed == whole.last().consumed


def test_second_checkpoint_of_a_minute_gets_a_name_of_its_own(home: TrainingHome) -> None:
    stream = stream_of(home)
    names = [save_checkpoint(stream, home.paths, ORIGIN, NOW, 0.0) for _ in range(2)]
    assert names == ["checkpoint-0-20261120-2130", "checkpoint-0-20261120-2130-2"]


def test_left_overs_of_a_killed_trainer_are_swept_and_nothing_else(home: TrainingHome) -> None:
    record = trained(home)
    half, orphan = home.model.staging / "checkpoint-9-20261120-2130", home.model.training_state("checkpoint-9-20261120-2130")
    for folder in (half, orphan):
        folder.mkdir(parents=True)
        (folder / "half").write_text("written")
    sweep_left_overs(home.paths, "tiny")
    assert not half.exists()
    assert not orphan.exists()
    verify(home.model.training_state(record.name))
    verify(home.model.checkpoint(record.name))
    sweep_left_overs(home.paths, "never-trained")
    assert not home.paths.model("never-trained").root.exists()


def test_base_is_made_once_and_locked(home: TrainingHome, tmp_path: Path) -> None:
    (base,) = home.ledger.names("tiny")
    tiny = source(home, BUILTIN, "tiny")
    assert ensure_base(tiny, 0, NOW) == base
    assert home.ledger.get("tiny", base).config_sha256 is None, "nothing trained it: unknown is null"
    facts = home.model.facts.read_bytes()
    home.model.facts.unlink()  # killed between the two files
    assert ensure_base(tiny, 0, NOW) == base
    assert read(ModelFacts, home.model.facts).base == BUILTIN
    home.model.facts.write_bytes(facts)
    build(tmp_path, 1)
    with pytest.raises(InvalidConfig, match="locked to it; give the other base another name"):
        ensure_base(source(home, str(tmp_path), "tiny"), 0, NOW)
    assert home.ledger.names("tiny") == [base]


def test_changed_base_of_a_begun_model_is_refused_by_every_run_too(home: TrainingHome, tmp_path: Path) -> None:
    build(tmp_path, 1)
    folder = home.job("job-1", sums(8))
    home.base = str(tmp_path)
    result = home.engine().run_job(home.config(folder))
    assert (result.outcome, result.misconfigured) == (Outcome.FAILED, True)
    assert "models.tiny.base" in str(result.error)


def test_local_folder_becomes_a_base_byte_for_byte(home: TrainingHome, tmp_path: Path) -> None:
    build(tmp_path, 1)
    (tmp_path / "run_me.py").write_text("raise SystemExit")
    name = ensure_base(source(home, str(tmp_path)), 0, NOW)
    folder = home.paths.model("mine").checkpoint(name)
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    assert not (folder / "run_me.py").exists()
    assert read(ModelFacts, home.paths.model("mine").facts).architecture == "Qwen3ForCausalLM"


def test_base_with_only_pickles_is_refused_unread(home: TrainingHome, tmp_path: Path) -> None:
    build(tmp_path, 1)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InvalidData, match="pickles are not read"):
        ensure_base(source(home, str(tmp_path)), 0, NOW)
    assert home.ledger.names("mine") == []


def test_base_with_damaged_weights_is_refused_with_its_folder(home: TrainingHome, tmp_path: Path) -> None:
    build(tmp_path, 1)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(InvalidData, match="its model cannot be loaded"):
        ensure_base(source(home, str(tmp_path)), 0, NOW)
    assert home.ledger.names("mine") == []

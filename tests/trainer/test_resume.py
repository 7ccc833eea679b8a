"""Going on after a stop is the same run to the last bit; a state that is not whole or not ours is never read."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoints.ledger import MANIFEST, write_manifest
from core.errors import InvalidData, ManifestMismatch
from core.runs.run import Outcome
from tests.trainer.conftest import MakeHome
from tests.trainer.training_home import TrainingHome, sums
from trainer.config import ModelSource
from trainer.model import open_stream
from trainer.resume import resume_point

# name -> lines, epochs; three steps an epoch, the last one of job-2 is smaller than the others.
JOBS = {"job-1": (24, 2), "job-2": (19, 1)}
# After one step, at the border of the epochs, in the next epoch; in the second job.
STOPS = {"job-1": (1, 2, 1), "job-2": (1,)}


def uninterrupted(home: TrainingHome, **settings: Any) -> TrainingHome:
    engine = home.engine()
    for name, (count, epochs) in JOBS.items():
        folder = home.job(name, sums(count, seed=count))
        assert engine.run_job(home.config(folder, epochs=epochs, save=False, **settings)).outcome is Outcome.COMPLETED
    if engine.has_unsaved():
        engine.save()
    return home


def in_pieces(home: TrainingHome, later: dict[str, Any] | None = None, **settings: Any) -> TrainingHome:
    """Train both jobs with stops, each piece in a new engine; `later` are settings from the second piece on."""
    for name, (count, epochs) in JOBS.items():
        folder = home.job(name, sums(count, seed=count))
        for stop in STOPS[name]:
            assert home.stopping_at(stop).run_job(home.config(folder, epochs=epochs, **settings)).outcome is Outcome.STOPPED
            settings |= later or {}
        assert home.engine().run_job(home.config(folder, epochs=epochs, **settings)).outcome is Outcome.COMPLETED
    return home


def assert_same(one: TrainingHome, other: TrainingHome) -> None:
    assert one.recorder.losses == other.recorder.losses
    assert one.hashes(one.last().name) == other.hashes(other.last().name)
    first, second = one.last(), other.last()
    assert (first.step, first.tokens_seen, first.examples_seen) == (second.step, second.tokens_seen, second.examples_seen)


# Two or three examples in a row, a row in a micro-batch.
PACKED = {"packing": "on", "batch_tokens": 64, "max_length": 64, "accumulation": 3}


@pytest.mark.parametrize("settings", [{}, PACKED], ids=["padded", "packed"])
def test_run_in_pieces_is_the_whole_run_to_the_last_bit(make_home: MakeHome, settings: dict[str, Any]) -> None:
    whole = uninterrupted(make_home("whole", dropout=True), **settings)
    assert len(whole.recorder.losses) == len(set(whole.recorder.losses)) == 9
    assert whole.last().examples_seen == sum(count * epochs for count, epochs in JOBS.values())
    assert_same(in_pieces(make_home("parts", dropout=True), **settings), whole)


def test_checkpoints_between_steps_change_no_bit(make_home: MakeHome) -> None:
    whole = uninterrupted(make_home("whole", dropout=True))
    saving = uninterrupted(make_home("saving", dropout=True), every_s=0.0)
    assert len(saving.ledger.names("tiny")) == 10
    assert_same(saving, whole)


def test_begun_job_keeps_its_order_when_the_configuration_changes(make_home: MakeHome) -> None:
    whole = uninterrupted(make_home("whole"))
    changed = make_home("changed")
    folder = changed.job("job-1", sums(24, seed=24))
    assert changed.stopping_at(2).run_job(changed.config(folder, epochs=2)).outcome is Outcome.STOPPED
    before = changed.plan("job-1")
    later = changed.config(folder, epochs=1, micro_batch=7, accumulation=3, batch_tokens=64, packing="on", seed=9)
    assert changed.engine().run_job(later).outcome is Outcome.COMPLETED
    assert changed.plan("job-1") == before
    assert changed.recorder.losses == whole.recorder.losses[:6]


@pytest.mark.parametrize("every_s", [math.inf, 0.0], ids=["saved at the stops", "saved at every step"])
def test_every_line_is_consumed_as_often_as_there_are_epochs_as_the_plan_says(home: TrainingHome, every_s: float) -> None:
    in_pieces(home, every_s=every_s)
    assert len(home.ledger.names("tiny")) == (10 if every_s == 0.0 else 7)
    spans = [span for checkpoint in home.ledger.checkpoints("tiny") for span in checkpoint.consumed]
    for name, (count, epochs) in JOBS.items():
        mine, rows = [span for span in spans if span.job == name], home.plan(name).rows
        ends = [0, *(span.rows_to for span in mine)]
        assert [span.rows_from for span in mine] == ends[:-1]
        assert ends[-1] == len(rows) == count * epochs
        for span in mine:
            assert span.lines == sorted(line for row in rows[span.rows_from : span.rows_to] for line in row)
            assert span.epoch * count <= span.rows_from < span.rows_to <= (span.epoch + 1) * count
        assert Counter(line for span in mine for line in span.lines) == dict.fromkeys(range(1, count + 1), epochs)


def test_data_that_no_longer_gives_the_plan_is_refused(home: TrainingHome) -> None:
    folder = home.job("job-1", sums(24))
    assert home.stopping_at(1).run_job(home.config(folder)).outcome is Outcome.STOPPED
    data = folder / "data.jsonl"
    data.write_bytes(b"".join(data.read_bytes().splitlines(keepends=True)[:-1]))
    result = home.engine().run_job(home.config(folder))
    assert (result.outcome, result.permanent, result.misconfigured) == (Outcome.FAILED, True, False)
    assert "drop the data anew" in str(result.error)


def trained(home: TrainingHome, stop: int = 2) -> str:
    """Train some steps of a job; give the checkpoint."""
    folder = home.job("job-1", sums(24))
    assert home.stopping_at(stop).run_job(home.config(folder)).outcome is Outcome.STOPPED
    return home.last().name


def opened(home: TrainingHome, parent: str | None = None) -> list[str]:
    """Open the stream as the next job would; give the remarks."""
    config = home.config(home.paths.home / "nothing", parent=parent)
    return open_stream(config.model, config.hyperparams, "cpu")[1]


def test_state_that_does_not_match_its_manifest_is_not_read(home: TrainingHome) -> None:
    path = home.model.training_state(trained(home)) / "optimizer.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ManifestMismatch, match=r"optimizer\.pt hashes to"):
        opened(home)
    result = home.engine().run_job(home.config(home.paths.state("processing") / "job-1"))
    assert (result.outcome, result.permanent, result.misconfigured) == (Outcome.FAILED, True, True)


def rewrite_state(folder: Path, **changes: Any) -> None:
    """Change a saved optimizer.pt and give it a manifest that matches."""
    saved = torch.load(folder / "optimizer.pt", weights_only=True)
    torch.save({**saved, **changes}, folder / "optimizer.pt")
    (folder / MANIFEST).unlink()
    write_manifest(folder)


def test_state_of_other_parameters_or_of_another_order_is_refused(home: TrainingHome) -> None:
    folder = home.model.training_state(trained(home))
    names = torch.load(folder / "optimizer.pt", weights_only=True)["names"]
    rewrite_state(folder, names=names[::-1])
    with pytest.raises(InvalidData, match="another order"):
        opened(home)
    rewrite_state(folder, names=names)
    assert opened(home) == [f"training goes on from {home.last().name}"]


class Bomb:
    """What a pickle may do: run anything while it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_state_that_would_run_code_is_refused_and_runs_none(home: TrainingHome, tmp_path: Path) -> None:
    folder, mark = home.model.training_state(trained(home)), tmp_path / "code was run"
    rewrite_state(folder, rng=Bomb(mark))
    torch.load(folder / "optimizer.pt", weights_only=False)
    assert mark.exists()
    mark.unlink()
    with pytest.raises(InvalidData, match="more than plain tensors"):
        opened(home)
    assert not mark.exists()


def test_other_thread_count_is_said_on_resume(home: TrainingHome) -> None:
    trained(home)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert any("other bits from here" in remark for remark in opened(home))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("missing", ["model.safetensors", MANIFEST, "state/optimizer.pt", f"state/{MANIFEST}"])
def test_torn_checkpoint_is_not_continued_and_its_rows_are_trained_again(home: TrainingHome, missing: str) -> None:
    first = trained(home, 1)
    folder = home.paths.state("processing") / "job-1"
    assert home.stopping_at(1).run_job(home.config(folder)).outcome is Outcome.STOPPED
    torn = home.last().name
    place = home.model.training_state(torn) if missing.startswith("state/") else home.model.checkpoint(torn)
    (place / missing.removeprefix("state/")).unlink()
    assert home.engine().run_job(home.config(folder, parent=first)).outcome is Outcome.COMPLETED
    last = home.last()
    assert (last.parent, last.step) == (first, 3)
    assert [(span.rows_from, span.rows_to) for span in last.consumed] == [(8, 24)]
    assert home.recorder.losses[2] == home.recorder.losses[1]


def test_newest_complete_descendant_is_continued_and_never_a_stranger(home: TrainingHome) -> None:
    (base,) = home.ledger.names("tiny")
    first = trained(home, 1)
    folder = home.paths.state("processing") / "job-1"
    home.stopping_at(1).run_job(home.config(folder))
    second = home.last().name
    assert resume_point(home.ledger, "tiny", None) == resume_point(home.ledger, "tiny", first) == second
    (home.model.training_state(second) / "cursor.json").unlink()
    assert resume_point(home.ledger, "tiny", base) == first
    with pytest.raises(InvalidData, match="complete training state"):
        resume_point(home.ledger, "tiny", second)


def test_model_without_a_base_says_how_to_make_one(home: TrainingHome) -> None:
    with pytest.raises(InvalidData, match="python -m trainer init"):
        resume_point(home.ledger, "other", None)
    config = home.config(home.job("job-1", sums(4)))
    other = ModelSource("other", home.paths, config.model.config)
    result = home.engine().run_job(type(config)(model=other, data=config.data, hyperparams=config.hyperparams))
    assert result.misconfigured
    assert "python -m trainer init" in str(result.error)

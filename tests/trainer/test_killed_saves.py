"""A trainer killed in a save, or in making the base, at any call that changes the disk; and the power cut there.

A save, too, whose disk is full or broken at any call.
"""

from __future__ import annotations

import errno
import itertools
import random
import resource
import shutil
import signal
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.accounting.audit import audit
from core.checkpoints.ledger import Ledger
from core.config import ModelConfig
from core.files import Ops
from core.paths import Paths
from core.runs.run import Outcome
from tests.faults.breaking import BrokenAt
from tests.faults.dying import dies_at
from tests.faults.power_cut import every_cut
from tests.faults.saving import saving
from tests.trainer.training_home import Seconds, TrainingHome, sums
from trainer.config import ModelSource
from trainer.engine import TrainerEngine
from trainer.model import BUILTIN, check_locked, ensure_base, open_stream
from trainer.weights import Origin, save_checkpoint, sweep_left_overs
from weaver.base_model import has_base

NOW = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)
SEED, DISKS = 20261121, 5


def test_save_killed_anywhere_leaves_whole_checkpoints_and_trains_every_row_once(home: TrainingHome, tmp_path: Path) -> None:
    """About 15 s: one save for each of its calls, about fifty, and one run to the end for each state they leave."""
    root, as_it_was = home.paths.home, tmp_path / "as_it_was"
    folder = home.job("a", sums(24))
    assert home.stopping_at(2).run_job(home.config(folder, epochs=2)).outcome is Outcome.STOPPED
    engine = home.engine()
    assert engine.run_job(home.config(folder, epochs=2, save=False)).success and engine.has_unsaved()
    shutil.copytree(root, as_it_was)
    seen, call, was_killed = set[tuple[int, ...]](), 0, True
    while was_killed:
        call += 1
        was_killed = dies_at(call, root, engine.save)
        assert audit(home.paths).invariants[1].violations == [], call
        model = home.model.root
        there = tuple(len(list(folder.glob("checkpoint-*"))) for folder in (model, model / "state", model / "ledger"))
        if there not in seen:
            seen.add(there)
            sweep_left_overs(home.paths, "tiny")
            assert home.engine().run_job(home.config(folder, epochs=2)).success
            lines = Counter(line for one in home.ledger.checkpoints("tiny") for span in one.consumed for line in span.lines)
            assert lines == dict.fromkeys(range(1, 25), 2)
        shutil.rmtree(root)
        shutil.copytree(as_it_was, root)
    assert seen == {(2, 1, 2), (2, 2, 2), (3, 2, 2), (3, 2, 3)}


def test_base_killed_anywhere_is_ready_only_when_whole_and_made_by_the_next_attempt(tmp_path: Path) -> None:
    call, was_killed, ready = 0, True, list[bool]()
    while was_killed:
        call += 1
        paths = Paths(tmp_path / str(call))
        paths.make()
        source = ModelSource(name="tiny", paths=paths, config=ModelConfig(base=BUILTIN))
        was_killed = dies_at(call, paths.home, lambda source=source: ensure_base(source, 0, NOW))  # type: ignore[misc]
        ready.append(has_base(paths, "tiny"))
        if ready[-1]:
            check_locked(source)
        ensure_base(source, 0, NOW)
        assert check_locked(source).name == "tiny"
        assert len(Ledger(paths).names("tiny")) == 1
        assert audit(paths).ok
        shutil.rmtree(paths.home)
    assert ready == sorted(ready) and len(ready) > 20, "never ready before the end"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_save_that_fails_anywhere_leaves_no_partial_checkpoint_and_the_trainer_saves_later(tmp_path: Path, error: int) -> None:
    """About 10 s: a job is trained for each of the calls of its save, about thirty; after it the job is settled."""
    protocol, found, was_reached, at = saving(tmp_path / "base"), list[str](), True, -1
    while was_reached:
        at += 1
        root, ops = tmp_path / str(at), BrokenAt(at, error)
        protocol.begin(protocol.make(root), ops)
        was_reached = ops.was_reached
        found += protocol.judge(root, f"{errno.errorcode[error]} in call {at}", is_done=True)
        shutil.rmtree(root)
    assert found == []
    assert at > 25, "the calls of a save were not seen"


@pytest.mark.parametrize("limit", [100, 100_000, 2_000_000], ids=["a record", "weights", "optimizer"])
def test_file_of_a_save_that_cannot_be_written_is_an_error_of_the_disk_and_the_trainer_saves_later(
    home: TrainingHome, limit: int
) -> None:
    """safetensors and torch tell of the disk by errors of their own. A limit on the size of files stands for a full disk."""
    engine, before = home.engine(), home.ledger.names("tiny")
    assert engine.run_job(home.config(home.job("a", sums(24)), save=False)).success
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        assert engine.try_save() is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, heard)
    assert f"[Errno {errno.EFBIG}]" in home.remarks[-1] and "stays in memory" in home.remarks[-1]
    assert engine.has_unsaved() and home.ledger.names("tiny") == before
    assert audit(home.paths).invariants[5].violations == []
    assert engine.try_save() == home.last().name and home.ledger.has_state("tiny", home.last().name)
    assert [span.lines for span in home.last().consumed] == [list(range(1, 25))]


def test_save_whose_last_flush_fails_is_published_once(home: TrainingHome) -> None:
    """What is seen under its name is a checkpoint: another one of the same rows would fork the history."""
    calls = BrokenAt(10**6)
    assert _engine(home, calls).run_job(home.config(home.job("a", sums(8)))).success
    engine = _engine(home, BrokenAt(calls.calls - 1, errno.EIO))
    assert engine.run_job(home.config(home.job("b", sums(8)))).last_checkpoint == home.last().name
    assert not engine.has_unsaved() and len(home.ledger.names("tiny")) == 3
    assert "a power cut may still take it" in home.remarks[-1]
    assert engine.run_job(home.config(home.job("c", sums(8)), parent=home.last().name)).success
    names = home.ledger.names("tiny")
    assert [one.parent for one in home.ledger.checkpoints("tiny")] == [None, *names[:-1]]


def _engine(home: TrainingHome, ops: Ops) -> TrainerEngine:
    return TrainerEngine(home.recorder, remark=home.remarks.append, mono=Seconds(), ops=ops)


def test_power_cut_anywhere_in_a_save_leaves_whole_checkpoints_only(home: TrainingHome, tmp_path: Path) -> None:
    """About 10 s: one save for each of its calls, some disks that may be left after each, every checkpoint on them hashed."""
    print(f"seed {SEED}")
    folder, numbers = home.job("a", sums(24)), itertools.count()
    assert home.stopping_at(2).run_job(home.config(folder)).outcome is Outcome.STOPPED
    config, before = home.config(folder), home.ledger.names("tiny")
    stream, _ = open_stream(config.model, config.hyperparams, "cpu")
    origin = Origin(base_sha256="b" * 64, config_sha256="c" * 64, code_version="0", seed=0)

    def make() -> Path:
        return Path(shutil.copytree(home.paths.home, tmp_path / f"cut-{next(numbers)}"))

    def save(root: Path, ops: Ops) -> None:
        save_checkpoint(stream, Paths(root), origin, NOW, 0.0, ops)

    def judge(root: Path, what: str, is_done: bool) -> list[str]:
        paths = Paths(root)
        found = [f"{what}: {text}" for text in audit(paths).invariants[5].violations]
        sweep_left_overs(paths, "tiny")
        ledger = Ledger(paths)
        names = ledger.names("tiny")
        if not set(before) <= set(names) or (is_done and len(names) == len(before)):
            found.append(f"{what}: the checkpoints are {names}")
        found += [f"{what}: {name} has no state" for name in names[1:] if not ledger.has_state("tiny", name)]
        shutil.rmtree(root)
        return found

    count, found = every_cut(make, save, judge, most=DISKS, rng=random.Random(SEED))
    print(f"{count} disks")
    assert found == []
    assert count > 100

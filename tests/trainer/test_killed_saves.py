"""A trainer killed in the middle of a save, or of making the base, at any call that changes the disk."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from core.accounting.audit import audit
from core.checkpoints.ledger import Ledger
from core.config import ModelConfig
from core.paths import Paths
from core.runs.run import Outcome
from tests.faults.dying import dies_at
from tests.trainer.training_home import TrainingHome, sums
from trainer.config import ModelSource
from trainer.model import BUILTIN, check_locked, ensure_base
from trainer.weights import sweep_left_overs
from weaver.base_model import has_base

NOW = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)


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
        was_killed = dies_at(call, paths.home, lambda source=source: ensure_base(source, 0, NOW))
        ready.append(has_base(paths, "tiny"))
        if ready[-1]:
            check_locked(source)
        ensure_base(source, 0, NOW)
        assert check_locked(source).name == "tiny"
        assert len(Ledger(paths).names("tiny")) == 1
        assert audit(paths).ok
        shutil.rmtree(paths.home)
    assert ready == sorted(ready) and len(ready) > 20, "never ready before the end"

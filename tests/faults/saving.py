"""The protocol of saving a checkpoint, by a real trainer of the tiny model: a job is trained, and saved at its end.

Beside tests/faults/protocols.py because it needs torch. Shared by tests/trainer/test_killed_saves.py and benchmarks/faults.py.
A save that fails ends neither the job nor its trainer: what was trained stays in memory, and is saved later.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from core.accounting.audit import audit
from core.checkpoints.ledger import Ledger
from core.config import ModelConfig
from core.files import OPS, Ops
from core.runs.run import Outcome
from tests.faults.protocols import Protocol
from tests.faults.stage import JOB, LINES, NOW, Stage
from tests.trainer.training_home import Recorder, TrainingHome
from trainer.config import ModelSource
from trainer.engine import TrainerEngine
from trainer.model import BUILTIN, ensure_base
from trainer.weights import sweep_left_overs


def saving(base: Path) -> Protocol:
    """Give the protocol; the home that every trial begins with is made at `base`.

    A trainer that saved nothing has lived there before: the plan, which is flushed beside these calls, is there already.
    """
    stage = Stage(base)
    stage.paths.make()
    ensure_base(ModelSource(name="tiny", paths=stage.paths, config=ModelConfig(base=BUILTIN)), 0, NOW)
    home, job = TrainingHome(base, BUILTIN), stage.put("processing")
    assert home.engine().run_job(home.config(job, save=False)).success
    return Protocol(
        "save", lambda stage: shutil.copytree(base, stage.paths.home, dirs_exist_ok=True), _train, _next_life, _wrong, _kept
    )


def _train(stage: Stage, ops: Ops = OPS) -> None:
    """Train the job and save at its end; where that fails, go on and save later, as the trainer does between jobs."""
    engine = TrainerEngine(Recorder(), ops=ops)
    home = TrainingHome(stage.paths.home, BUILTIN)
    result = engine.run_job(home.config(stage.paths.state("processing") / JOB))
    assert result.outcome is Outcome.COMPLETED, f"the trainer did not go on: {result.error}"
    if engine.has_unsaved():
        partial = [text for one in audit(stage.paths).invariants if one.id == "I7" for text in one.violations]
        assert not partial, f"after the error there is: {partial}"
        assert engine.try_save() is not None, "it was not saved later either"
    assert not engine.has_unsaved()


def _next_life(stage: Stage) -> None:
    """Let the next trainer train what is not saved, and train_next settle the job."""
    if stage.states() != ["processing"]:
        return
    sweep_left_overs(stage.paths, "tiny")
    _train(stage)
    stage.result(Outcome.COMPLETED)
    stage.claim_nothing()
    stage.train_next()


def _kept(stage: Stage) -> list[str]:
    """Say so when there is not exactly one checkpoint after the base: none is lost, and no rows are in two of them."""
    names = Ledger(stage.paths).names("tiny")
    return [] if len(names) == 2 else [f"the checkpoints are {names}"]


def _wrong(stage: Stage) -> list[str]:
    """Say what is wrong at rest: every line trained once, in one checkpoint, which has its state, and no state left over."""
    ledger, states = Ledger(stage.paths), stage.paths.model("tiny").root / "state"
    names = ledger.names("tiny")[1:]
    found = [*_kept(stage), *([] if stage.states() == ["completed"] else [f"the job is {stage.states()}"])]
    found += [f"{name} has no state" for name in names if not ledger.has_state("tiny", name)]
    found += [f"the state {path.name} has no checkpoint" for path in states.iterdir() if path.name not in names]
    lines = Counter(line for one in ledger.checkpoints("tiny") for span in one.consumed for line in span.lines)
    return [*found, *([] if lines == Counter(range(1, LINES + 1)) else [f"its lines were trained {dict(lines)} times"])]

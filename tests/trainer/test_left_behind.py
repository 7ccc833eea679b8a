"""A trainer leaves nothing outside of its home, however it ends: nobody would ever remove it there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

from core.runs.run import Outcome, Progress
from tests.trainer.training_home import Seconds, TrainingHome, sums
from trainer.engine import TrainerEngine, TrainingStatusWriter

LONGEST_LIFE_S = 300.0


class Dies(TrainingStatusWriter):
    """Kills its process when a step is told."""

    def write(self, progress: Progress) -> None:
        if progress.loss is not None:
            os.kill(os.getpid(), signal.SIGKILL)


def live(root: Path, base: str, temporary: Path, is_killed: bool) -> None:
    """Train the job, in a process whose temporary files go to a folder of its own."""
    tempfile.tempdir = str(temporary)
    home = TrainingHome(root, base)
    engine = TrainerEngine(Dies(None) if is_killed else TrainingStatusWriter(None), mono=Seconds())
    result = engine.run_job(home.config(home.paths.state("processing") / "job"))
    assert result.outcome is Outcome.COMPLETED, result.error


def test_trainers_that_are_killed_leave_no_folders_of_temporary_files(home: TrainingHome, tmp_path: Path) -> None:
    """About 10 s: the server of the processes imports the trainer."""
    home.job("job", sums(8))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    for is_killed in (True, True, True, False):
        child = server.Process(target=live, args=(home.paths.home, home.base, temporary, is_killed))
        child.start()
        child.join(LONGEST_LIFE_S)
        assert child.exitcode == (-signal.SIGKILL if is_killed else 0)
        assert list(temporary.iterdir()) == []

"""After `weaver ckpt reset` training goes on from the new head, whatever an old request or an old plan says."""

from __future__ import annotations

from core.checkpoints.history import advance_head
from core.checkpoints.reset import reset_head
from core.runs.run import Outcome
from tests.trainer.training_home import TrainingHome, sums
from trainer.resume import resume_point

AT = "2026-11-20T21:30:00.000Z"


def stopped(home: TrainingHome, job: str, steps: int) -> str:
    """Train some more steps of a job of three; give the checkpoint, which is head."""
    folder = home.paths.state("processing") / job
    if not folder.exists():
        home.job(job, sums(24))
    assert home.stopping_at(steps).run_job(home.config(folder)).outcome is Outcome.STOPPED
    advance_head(home.ledger, "tiny", AT)
    return home.last().name


def test_request_of_before_a_reset_goes_on_from_the_new_head(home: TrainingHome) -> None:
    kept = stopped(home, "job-1", 1)
    cut = stopped(home, "job-1", 1)
    below = stopped(home, "job-2", 1)
    reset_head(home.paths, home.ledger, "tiny", kept, "", AT)
    assert [resume_point(home.ledger, "tiny", parent) for parent in (None, kept, cut, below)] == [kept] * 4
    folder = home.paths.state("processing") / "job-1"
    assert home.engine().run_job(home.config(folder, parent=below)).success
    last = home.last()
    assert (last.parent, last.step) == (kept, 3)
    assert [(span.job, span.rows_from, span.rows_to) for span in last.consumed] == [("job-1", 8, 24)]
    advance_head(home.ledger, "tiny", AT)
    assert home.ledger.chain("tiny")[:2] == [last.name, kept], "and head follows"


def test_job_that_was_begun_on_what_was_taken_back_begins_anew_in_its_order(home: TrainingHome) -> None:
    kept = stopped(home, "job-1", 1)
    stopped(home, "job-1", 1)
    stopped(home, "job-2", 1)
    before = home.plan("job-2")
    reset_head(home.paths, home.ledger, "tiny", kept, "", AT)
    folder = home.paths.state("processing") / "job-2"
    assert home.stopping_at(1).run_job(home.config(folder)).rows_done == 8
    after = home.plan("job-2")
    assert (after.parent, after.first_step) == (kept, 1)
    assert (after.rows, after.steps) == (before.rows, before.steps)
    assert home.engine().run_job(home.config(folder)).success
    assert home.plan("job-2") == after, "once is enough"
    advance_head(home.ledger, "tiny", AT)
    chain = home.ledger.chain("tiny")
    assert chain[2:3] == [kept]
    spans = [span for name in reversed(chain) for span in home.ledger.get("tiny", name).consumed if span.job == "job-2"]
    assert [(span.rows_from, span.rows_to) for span in spans] == [(0, 8), (8, 24)]


def test_rows_of_an_earlier_time_are_no_cursor_of_a_plan_that_was_taken_back(home: TrainingHome) -> None:
    """Trained, queued afresh, begun again on a checkpoint that is then taken back: all of it is still to be trained."""
    folder = home.job("job-1", sums(24))
    assert home.engine().run_job(home.config(folder)).success
    kept = home.last().name
    stopped(home, "job-2", 1)
    (folder / "plan.json").rename(folder / "plan-1.json")
    stopped(home, "job-1", 1)
    reset_head(home.paths, home.ledger, "tiny", kept, "", AT)
    assert home.engine().run_job(home.config(folder)).success
    assert home.last().parent == kept
    assert [(span.rows_from, span.rows_to) for span in home.last().consumed] == [(0, 24)]

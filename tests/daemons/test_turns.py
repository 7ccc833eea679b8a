"""In which order jobs are trained after their trainer died, and what is trained again: as if it had not died, and counted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.orders import answered, place
from core.runs.run import Outcome
from daemons.train_next import TrainNext
from tests.core.checkpoints.checkpoint_builder import make_state
from tests.daemons.training_stage import A, B, C, Stage

# They arrive, and are begun, in the opposite order of their names: what goes by names is wrong here.
FIRST, SECOND, THIRD = C, B, A


def trained(stage: Stage, job: str, to_step: int) -> None:
    """Let a job come and be trained to its end, in memory only."""
    begun(stage, job)
    end(stage, job, to_step)


def begun(stage: Stage, job: str) -> None:
    """Let a job come and be the one that is trained."""
    stage.queue(job)
    assert stage.tick(10).facts["running"] == job
    stage.plan(job, stage.head)
    stage.beat("train")


def end(stage: Stage, job: str, step: int) -> None:
    stage.progress(job, step)
    stage.result(job, Outcome.COMPLETED, step=step)


def dies_after(stage: Stage, verb: str) -> None:
    """Let a trainer that is done with one job and at the next die after an order; nothing runs from then on."""
    trained(stage, FIRST, 4)
    begun(stage, SECOND)
    stage.order(verb)
    stage.tick()
    stage.die()
    for _ in range(3):
        assert stage.tick(100).facts["running"] is None


def order(stage: Stage, *also: str) -> list[str]:
    """Let new trainers train everything to its end, in memory only; give in which order."""
    found: list[str] = []
    for _ in range(10):
        job = stage.tick(100).facts["running"]
        if job is None:
            break
        called = [other for other in (A, B, C) if (request := stage.request(other)) is not None and not request.waits]
        assert [other for other in called if not (stage.folder(other) / "result.json").exists()] == [job]
        found.append(job)
        stage.beat("train")
        end(stage, job, 100 + len(found))
    return found


def again(stage: Stage, job: str) -> list[int | None]:
    """Give how many steps of a job were to be trained again, at each death."""
    return [attempt.replayed for attempt in stage.spool.read_attempts(job) if attempt.event == "adopted"]


def died(stage: Stage, job: str) -> int:
    """Count the deaths that are held against a job."""
    return sum(attempt.outcome == "trainer died" for attempt in stage.spool.read_attempts(job))


def total(stage: Stage) -> int:
    return sum(steps or 0 for job in (A, B, C) if stage.exists(job) for steps in again(stage, job))


# -- the order -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["train", "save", "tokenise", "load"])
@pytest.mark.parametrize("is_new", [False, True], ids=["same train_next", "new train_next"])
def test_job_that_was_done_is_trained_again_before_the_one_under_way(stage: Stage, phase: str, is_new: bool) -> None:
    trained(stage, FIRST, 4)
    begun(stage, SECOND)
    stage.beat(phase)
    stage.die()
    if is_new:
        stage.daemon = TrainNext()
    assert order(stage) == [FIRST, SECOND]


def test_all_that_were_done_are_trained_again_in_the_order_in_which_they_were_begun(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    trained(stage, SECOND, 8)
    begun(stage, THIRD)
    stage.die()
    assert order(stage) == [FIRST, SECOND, THIRD]
    stage.die()
    assert order(stage) == [FIRST, SECOND, THIRD]


def test_only_what_no_checkpoint_holds_is_trained_again(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    trained(stage, SECOND, 8)
    begun(stage, THIRD)
    stage.checkpoint(4, stage.base, FIRST)
    stage.die()
    assert order(stage) == [SECOND, THIRD]
    assert stage.states[FIRST] == "completed"


def test_order_is_the_same_when_the_clock_was_set_back_between_two_jobs(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    stage.home.clock.jumped -= timedelta(days=3650)
    begun(stage, SECOND)
    stage.die()
    assert order(stage) == [FIRST, SECOND]


def test_death_while_jobs_are_trained_again_changes_no_order(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    trained(stage, SECOND, 8)
    begun(stage, THIRD)
    stage.die()
    assert stage.tick(100).facts["running"] == FIRST
    stage.beat("train")
    stage.progress(FIRST, 2)
    stage.die()
    assert stage.tick(100).facts["running"] == FIRST
    stage.beat("train")
    end(stage, FIRST, 4)
    assert stage.tick(1).facts["running"] == SECOND
    stage.beat("train")
    stage.die()
    assert order(stage) == [FIRST, SECOND, THIRD]


def test_job_whose_claimer_died_before_its_request_is_trained_after_those_begun_before(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    begun(stage, SECOND)
    (stage.folder(SECOND) / "run.json").unlink()
    stage.die()
    assert order(stage) == [FIRST, SECOND]


def test_job_that_is_claimed_again_has_no_turn_from_before(stage: Stage) -> None:
    begun(stage, FIRST)
    stage.order("skip")
    stage.tick()
    stage.result(FIRST, Outcome.SKIPPED)
    trained(stage, SECOND, 4)
    assert stage.tick(10).facts["running"] == FIRST, "it waited in low"
    stage.beat("train")
    stage.die()
    assert order(stage) == [SECOND, FIRST]


def test_reset_in_between_keeps_the_order_and_all_go_on_from_the_new_head(stage: Stage) -> None:
    first = stage.checkpoint(1, stage.base)
    stage.checkpoint(2, first)
    trained(stage, FIRST, 4)
    begun(stage, SECOND)
    args = {"checkpoint": f"tiny/{first}"}
    reset = place(stage.paths, "train_next", "reset", args, "me", stage.home.clock.now())
    stage.die()
    stage.tick()
    answer = answered(stage.paths, reset.id)
    assert answer is not None and answer.ok, answer
    assert order(stage) == [FIRST, SECOND]
    assert [request.parent for job in (FIRST, SECOND) if (request := stage.request(job))] == [first, first]


# -- orders of people ------------------------------------------------------------------------------------------------


def test_pause_reaches_the_job_that_is_trained_again_and_nothing_else_is_begun(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    begun(stage, SECOND)
    stage.die()
    assert stage.tick(100).facts["running"] == FIRST
    stage.beat("train")
    stage.order("pause")
    stage.tick()
    assert (stage.ordered(FIRST), stage.ordered(SECOND)) == ("pause", None)
    stage.result(FIRST, Outcome.PAUSED)
    for _ in range(3):
        assert stage.tick(1).facts["running"] is None
    request = stage.request(SECOND)
    assert request is not None and request.waits, "the trainer that lives would begin it"
    stage.order("resume")
    assert order(stage) == [FIRST, SECOND]


def test_pause_whose_trainer_dies_keeps_the_order_also_before_more_urgent_jobs(stage: Stage) -> None:
    dies_after(stage, "pause")
    assert len(stage.children) == 1
    stage.queue(THIRD, "high")
    stage.order("resume")
    assert order(stage) == [FIRST, SECOND, THIRD]


def test_stop_whose_trainer_dies_gives_back_the_job_under_way_and_what_was_done_comes_before_it(stage: Stage) -> None:
    dies_after(stage, "stop")
    assert stage.states == {FIRST: "processing", SECOND: "normal"}
    assert len(stage.children) == 1
    stage.queue(THIRD, "high")
    stage.order("resume")
    assert order(stage) == [FIRST, THIRD, SECOND]


def test_stop_while_a_job_is_trained_again_ends_the_trainer_and_gives_all_back(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    begun(stage, SECOND)
    stage.die()
    stage.tick(100)
    stage.beat("train")
    stage.order("stop")
    stage.tick()
    assert (stage.ordered(FIRST), stage.ordered(SECOND)) == ("stop", None)
    stage.result(FIRST, Outcome.STOPPED)
    stage.tick()
    assert stage.children[-1].wait(20) < 0, "it was not asked to end"
    stage.tick()
    assert stage.states == {FIRST: "normal", SECOND: "normal"}


def test_skip_reaches_the_job_that_is_trained_again(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    begun(stage, SECOND)
    stage.die()
    stage.tick(100)
    stage.order("skip")
    stage.tick()
    assert (stage.ordered(FIRST), stage.ordered(SECOND)) == ("skip", None)


def test_skip_that_died_with_its_trainer_is_obeyed_when_the_job_has_its_turn(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    begun(stage, SECOND)
    stage.order("skip")
    stage.tick()
    stage.die()
    assert stage.tick(100).facts["running"] == FIRST
    stage.die()
    stage.order("resume")  # nothing was paused
    stage.tick(100)
    end(stage, FIRST, 4)
    assert stage.tick(1).facts["running"] == SECOND
    assert stage.ordered(SECOND) == "skip"


def test_order_that_was_taken_back_by_resume_is_not_obeyed_by_the_next_trainer(stage: Stage) -> None:
    begun(stage, FIRST)
    stage.order("pause")
    stage.tick()
    stage.die()
    stage.tick()
    stage.order("resume")
    assert stage.tick(100).facts["running"] == FIRST
    assert stage.ordered(FIRST) is None


# -- what is trained again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["idle", "save", "train"])
def test_steps_of_a_done_job_are_counted_in_whatever_phase_its_trainer_died(stage: Stage, phase: str) -> None:
    stage.checkpoint(3, stage.base)
    trained(stage, FIRST, 7)
    stage.tick()
    stage.beat(phase)
    stage.die()
    stage.tick(100)
    assert (again(stage, FIRST), died(stage, FIRST)) == ([4], 0), "it is no fault of a job that was done"
    [event] = [facts for name, facts in stage.home.events if name == "reopened"]
    assert (event["job"], event["replayed"]) == (FIRST, 4)


@pytest.mark.parametrize(
    ("phase", "progress", "expected", "deaths"),
    [("train", 9, 2, 1), ("train", None, 0, 1), ("save", 9, 2, 0), ("tokenise", None, 0, 1), ("load", None, None, 0)],
)
def test_steps_are_counted_once_in_the_job_that_they_belong_to(
    stage: Stage, phase: str, progress: int | None, expected: int | None, deaths: int
) -> None:
    trained(stage, FIRST, 4)
    trained(stage, SECOND, 7)
    begun(stage, THIRD)
    stage.checkpoint(3, stage.base, FIRST, (0, 4))
    stage.beat(phase)
    if progress is not None:
        stage.progress(THIRD, progress)
    stage.die()
    for _ in range(3):
        stage.tick(100)
    assert (again(stage, FIRST), again(stage, SECOND)) == ([1], [3])
    assert again(stage, THIRD) == ([] if expected is None else [expected])
    assert (died(stage, FIRST), died(stage, SECOND), died(stage, THIRD)) == (0, 0, deaths)


def test_steps_that_die_again_while_they_are_trained_again_are_counted_again(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    begun(stage, SECOND)
    stage.progress(SECOND, 6)
    stage.die()
    stage.tick(100)
    assert (again(stage, FIRST), again(stage, SECOND), total(stage)) == ([4], [2], 6)
    stage.beat("train")
    stage.progress(FIRST, 3)
    stage.die()
    stage.tick(100)
    assert (again(stage, FIRST), again(stage, SECOND), total(stage)) == ([4, 3], [2], 9)
    assert (died(stage, FIRST), died(stage, SECOND)) == (1, 1)


def test_death_is_held_against_no_job_that_comes_after_it(stage: Stage) -> None:
    """The job under way failed of it; no trainer has beaten since."""
    begun(stage, FIRST)
    for _ in range(4):
        stage.beat("train")
        stage.progress(FIRST, 1)
        stage.die()
        stage.tick(100)
    assert stage.states == {FIRST: "failed"}
    stage.queue(SECOND)
    for _ in range(2):
        assert stage.tick(100).facts["running"] == SECOND
        stage.die()
    assert again(stage, SECOND) == []


def test_what_an_earlier_trainer_told_of_a_job_that_waits_is_not_counted_twice(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    begun(stage, SECOND)
    stage.progress(SECOND, 6)
    stage.die()
    stage.tick(100)
    stage.beat("train")
    stage.result(FIRST, Outcome.COMPLETED, step=4)
    assert stage.tick().facts["running"] == SECOND
    stage.beat("save")  # it has not begun what was called
    stage.die()
    stage.tick(100)
    assert (again(stage, FIRST), again(stage, SECOND), died(stage, SECOND)) == ([4, 4], [2, 0], 1)


def test_progress_that_a_power_cut_tore_stops_nothing(stage: Stage) -> None:
    begun(stage, FIRST)
    (stage.folder(FIRST) / "progress.json").write_bytes(b"")
    stage.die()
    assert stage.tick(100).facts["running"] == FIRST
    assert again(stage, FIRST) == [0]


def test_loss_is_counted_once_when_train_next_is_killed_while_it_counts(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    stage.die()
    result = (stage.folder(FIRST) / "result.json").read_bytes()
    stage.tick()
    (stage.folder(FIRST) / "result.json").write_bytes(result)  # it was killed before it put this aside
    stage.daemon = TrainNext()
    stage.tick(100)
    assert again(stage, FIRST) == [4]


def test_checkpoint_that_holds_a_done_job_leaves_nothing_to_train_again(stage: Stage) -> None:
    trained(stage, FIRST, 4)
    name = stage.checkpoint(4, stage.base, FIRST, state=False)
    make_state(stage.paths, name)
    stage.die()
    stage.tick(100)
    assert (stage.states, again(stage, FIRST)) == ({FIRST: "completed"}, [])

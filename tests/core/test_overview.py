"""The overview tells who is alive by evidence, and what the factory does by its files."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from core.checkpoints.deployment import Deployment
from core.checkpoints.places import Ranked, Ranking
from core.checkpoints.served import Serving, append_deployment, write_serving
from core.clock import SystemClock, iso
from core.errors import InvalidConfig
from core.evals.standing import Curriculum, LevelProgress, SkillProgress
from core.files import replace_quick
from core.hosts import Endpoint
from core.jobs.pause import Pause, set_paused
from core.overview import Overview, collect
from core.paths import Paths
from core.process import this_process
from core.records import encode, encode_pretty
from core.runs.run import Outcome, Progress, RunRequest, RunResult
from core.status import DaemonStatus, State
from tests.core.home_files import OTHER_BOOT, beat, dead_process, healthy, make_home, program, put_job, supervise


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path)


class FrozenClock(SystemClock):
    """Both clocks stand still."""

    def __init__(self, at: datetime, mono: float) -> None:
        self.at, self.frozen_mono = at, mono

    def now(self) -> datetime:
        """Give the wall-clock time."""
        return self.at

    def mono(self) -> float:
        """Give monotonic seconds."""
        return self.frozen_mono


def look(paths: Paths, **environ: str) -> Overview:
    return collect(paths, environ, SystemClock())


def row(paths: Paths, name: str) -> DaemonStatus:
    return next(row for row in look(paths).status.daemons if row.name == name)


def test_fresh_home_is_stopped_and_everything_unknown_is_null(paths: Paths) -> None:
    overview = look(paths)
    status = overview.status
    assert (status.state, status.daemons) == ("stopped", [])
    assert (status.supervisor, status.training, status.serving) == (None, None, None)
    assert (overview.skills, overview.ranking, overview.problems) == (None, None, [])
    assert status.disk.free_bytes > 0
    assert status.disk.floor_bytes == 5 * 2**30


def test_home_without_runtime_folders_is_stopped(paths: Paths) -> None:
    for folder in (paths.status, paths.queue, paths.models):
        shutil.rmtree(folder)
    assert look(paths).status.state == "stopped"


def test_everything_running_and_fresh_is_healthy(paths: Paths) -> None:
    healthy(paths, "oracle", "train_next")
    status = look(paths).status
    assert status.state == "healthy"
    assert [(row.name, row.state, row.pid, row.note) for row in status.daemons] == [
        ("oracle", State.RUNNING, os.getpid(), "oracle works"),
        ("train_next", State.RUNNING, os.getpid(), "train_next works"),
    ]
    assert status.supervisor is not None
    assert status.supervisor.pid == os.getpid()
    assert all(row.up_s is not None and row.up_s >= 0 for row in status.daemons)


def test_heartbeat_past_its_promise_is_never_running(paths: Paths) -> None:
    healthy(paths, "oracle", "train_next")
    beat(paths, "train_next", due_in_s=-1.0, age_s=7.0, note="busy")
    assert look(paths).status.state == "degraded"
    assert row(paths, "train_next").state is State.UNKNOWN
    assert row(paths, "train_next").note == "silent for 7 s: busy"


def test_heartbeat_of_another_boot_is_never_running(paths: Paths) -> None:
    healthy(paths, "oracle")
    beat(paths, "oracle", boot=OTHER_BOOT)
    assert row(paths, "oracle").state is State.UNKNOWN
    assert row(paths, "oracle").heartbeat_age_s is None


def test_fresh_heartbeat_of_a_dead_process_is_never_running(paths: Paths) -> None:
    healthy(paths, "oracle")
    beat(paths, "oracle", process=(dead := dead_process()))
    supervise(paths, [program("oracle", pid=dead.pid)])
    assert row(paths, "oracle").state is State.UNKNOWN
    assert look(paths).status.state == "degraded"


def test_heartbeat_of_a_predecessor_does_not_speak_for_its_successor(paths: Paths) -> None:
    healthy(paths, "oracle")
    supervise(paths, [program("oracle", pid=1)])
    assert row(paths, "oracle").state is State.UNKNOWN
    assert row(paths, "oracle").note == "no heartbeat"


@pytest.mark.parametrize(
    ("minutes", "outcome", "is_told"),
    [(10, Outcome.COMPLETED, True), (4, Outcome.COMPLETED, False), (10, Outcome.PAUSED, False)],
)
def test_trained_jobs_that_no_checkpoint_takes_up_are_a_problem(
    paths: Paths, minutes: int, outcome: Outcome, is_told: bool
) -> None:
    healthy(paths, "train_next")
    job = put_job(paths, "processing")
    (paths.state("processing") / job / "result.json").write_bytes(encode(RunResult(
        job=job, model="tiny", outcome=outcome, global_step=2, rows_done=8, runtime_s=1.0, train_s=1.0, tokens=1,
        checkpoint=None, final_loss=None, summary="", error=None, permanent=False, by=this_process(),
        at=iso(datetime.now(UTC) - timedelta(minutes=minutes)),
    )))  # fmt: skip
    problems = look(paths).problems
    assert [f"trained {minutes} minutes ago (jobs waiting: 1)" in text for text in problems] == [True] * is_told
    beat(paths, "train_next", due_in_s=-1.0, age_s=7.0)
    assert look(paths).problems == [], "nobody is there who would take them up"


def test_missing_heartbeat_is_never_running(paths: Paths) -> None:
    healthy(paths, "oracle")
    paths.heartbeat("oracle").unlink()
    assert row(paths, "oracle").state is State.UNKNOWN


def test_view_of_another_boot_is_stale_and_its_programs_are_stopped(paths: Paths) -> None:
    healthy(paths, "oracle")
    supervise(paths, [program("oracle")], boot=OTHER_BOOT)
    for name in ("weaver", "oracle"):
        beat(paths, name, boot=OTHER_BOOT)
    status = look(paths).status
    assert (status.state, status.supervisor) == ("stopped", None)
    assert [(row.state, row.pid) for row in status.daemons] == [(State.STOPPED, None)]


def test_view_of_another_boot_says_nothing_of_the_programs_of_this_one(paths: Paths) -> None:
    healthy(paths, "oracle")
    supervise(paths, [program("oracle", restarts=9, last_exit=78)], boot=OTHER_BOOT)
    status = look(paths).status
    assert status.state == "degraded"
    assert [(row.state, row.restarts, row.last_exit) for row in status.daemons] == [(State.RUNNING, 0, None)]


def test_programs_that_outlive_the_weaver_are_shown_and_the_state_is_degraded(paths: Paths) -> None:
    healthy(paths, "oracle", "web")
    dead = dead_process()
    supervise(paths, [program("oracle"), program("web", restarts=3)], process=dead)
    beat(paths, "weaver", process=dead)
    overview = look(paths)
    assert (overview.status.state, overview.status.supervisor) == ("degraded", None)
    assert [(row.state, row.restarts) for row in overview.status.daemons] == [(State.RUNNING, 0), (State.RUNNING, 3)]
    assert "weaver up" in overview.problems[0]


def test_program_that_died_with_the_weaver_is_exited_or_stopped_by_its_last_word(paths: Paths) -> None:
    healthy(paths, "oracle", "web", "train_next")
    dead = dead_process()
    supervise(paths, [program("oracle"), program("web"), program("train_next")], process=dead)
    beat(paths, "weaver", process=dead)
    beat(paths, "oracle", process=dead, exit_code=0)
    beat(paths, "web", process=dead)
    assert [row.state for row in look(paths).status.daemons] == [State.STOPPED, State.EXITED, State.RUNNING]


def test_clock_that_jumps_ten_years_changes_displayed_times_only(paths: Paths) -> None:
    healthy(paths, "oracle", "train_next")
    put_job(paths, "normal")
    now, mono = SystemClock().now(), SystemClock().mono()
    years = [now + timedelta(days=3652 * sign) for sign in (-1, 0, 1)]
    reports = [collect(paths, {}, FrozenClock(at, mono)).status for at in years]
    assert [report.checked_at for report in reports] == [iso(at) for at in years]
    same = [msgspec.structs.replace(report, checked_at="", disk=reports[0].disk) for report in reports]
    assert same[0] == same[1] == same[2] and same[0].state == "healthy"


def test_silent_weaver_is_degraded_and_said(paths: Paths) -> None:
    healthy(paths, "oracle")
    beat(paths, "weaver", due_in_s=-1.0)
    overview = look(paths)
    assert overview.status.state == "degraded"
    assert overview.status.daemons[0].state is State.RUNNING
    assert "silent" in overview.problems[0]


def test_program_that_is_given_up_shows_reason_and_exit_code(paths: Paths) -> None:
    healthy(paths, "oracle", "web")
    supervise(paths, [program("oracle"), program("web", State.PARKED, reason="port 8888 is taken", last_exit=78)])
    found = row(paths, "web")
    assert (found.state, found.note, found.last_exit) == (State.PARKED, "port 8888 is taken", 78)
    assert look(paths).status.state == "degraded"


def test_stopping_weaver_is_not_healthy(paths: Paths) -> None:
    healthy(paths, "oracle")
    supervise(paths, [program("oracle")], stopping=True)
    assert look(paths).status.state == "degraded"


def test_deleted_view_of_the_weaver_leaves_the_programs_that_beat(paths: Paths) -> None:
    healthy(paths, "oracle", "web")
    paths.supervisor.unlink()
    status = look(paths).status
    assert [row.name for row in status.daemons] == ["oracle", "web"]
    assert status.state == "degraded"
    assert status.supervisor is not None


def test_what_the_weaver_finds_wrong_is_a_problem(paths: Paths) -> None:
    healthy(paths, "oracle")
    beat(paths, "weaver", error="config/ is not valid")
    assert look(paths).problems == ["config/ is not valid"]


def test_queue_counts_jobs_and_drops_and_shows_the_pause(paths: Paths) -> None:
    put_job(paths, "high")
    put_job(paths, "completed", number=1)
    put_job(paths, "completed", number=2)
    (paths.inbox / "a.jsonl").touch()
    (paths.inbox / "low" / "b.jsonl").touch()
    (paths.inbox / "a.jsonl.meta.json").touch()
    set_paused(paths, Pause(verb="pause", by="test", at=iso(datetime.now(UTC))))
    queue = look(paths).status.queue
    assert (queue.inbox, queue.high, queue.normal, queue.completed, queue.paused) == (2, 1, 0, 2, True)


def put_progress(paths: Paths, job: str) -> None:
    replace_quick(paths.state("processing") / job / "progress.json", encode(Progress(
        job=job, model="tiny", phase="train", step=30, total_steps=40, loss=0.5, loss_smoothed=0.5, learning_rate=2e-3,
        grad_norm=1.0, tokens_per_s=2000.0, trained_token_ratio=0.3, tokens_seen=1, eta_s=7.0, at=iso(datetime.now(UTC)),
    )))  # fmt: skip


def test_running_job_is_shown_with_the_trainer_that_is_alive(paths: Paths) -> None:
    put_progress(paths, job := put_job(paths, "processing"))
    beat(paths, "trainer", phase="train")
    training = look(paths).status.training
    assert training is not None
    assert (training.pid, training.phase, training.job) == (os.getpid(), "train", job)
    assert (training.step, training.total_steps, training.loss, training.tokens_per_s) == (30, 40, 0.5, 2000.0)


def test_job_that_only_waits_for_a_checkpoint_is_not_the_one_in_training(paths: Paths) -> None:
    jobs = [put_job(paths, "processing", number=number) for number in range(3)]
    for job in (jobs[0], jobs[2]):
        (paths.state("processing") / job / "result.json").touch()
    training = look(paths).status.training
    assert training is not None
    assert training.job == jobs[1]


def test_job_that_waits_to_be_trained_again_is_not_the_one_in_training(paths: Paths) -> None:
    jobs = [put_job(paths, "processing", number=number) for number in range(2)]
    for job, waits in zip(jobs, (True, False), strict=True):
        request = RunRequest(job=job, model="tiny", parent=None, epochs=1, max_train_s=None, attempt=1, at="", waits=waits)
        (paths.state("processing") / job / "run.json").write_bytes(encode_pretty(request))
    training = look(paths).status.training
    assert training is not None
    assert training.job == jobs[1]


def test_dead_trainer_is_not_training_whatever_its_last_progress_said(paths: Paths) -> None:
    put_progress(paths, put_job(paths, "processing"))
    beat(paths, "trainer", phase="train", process=dead_process())
    training = look(paths).status.training
    assert training is not None
    assert (training.pid, training.phase, training.tokens_per_s, training.eta_s) == (None, "no trainer", None, None)


def test_silent_trainer_is_said_to_be_silent(paths: Paths) -> None:
    put_progress(paths, put_job(paths, "processing"))
    beat(paths, "trainer", phase="train", due_in_s=-1.0)
    training = look(paths).status.training
    assert training is not None
    assert (training.pid, training.phase) == (os.getpid(), "silent")


def test_claimed_job_without_progress_has_no_step_yet(paths: Paths) -> None:
    job = put_job(paths, "processing")
    training = look(paths).status.training
    assert training is not None
    assert (training.job, training.model, training.step, training.total_steps) == (job, "tiny", None, None)


def deployment(verdict: str, checkpoint: str, previous: str | None = None) -> Deployment:
    return Deployment(
        id="d", at="2026-11-20T21:30:00.000Z", model="tiny", checkpoint=checkpoint, weights_id="w", previous=previous,
        host="local", alias="champion", verdict=verdict, reason="", test=None, by_suite=[],  # type: ignore[arg-type]
        guards=[], proof=None, by="test",
    )  # fmt: skip


def serve(paths: Paths, verified_s_ago: float) -> None:
    at = iso(datetime.now(UTC) - timedelta(seconds=verified_s_ago))
    write_serving(paths, Serving(
        deployment="d", model="tiny", checkpoint="tiny/checkpoint-9-20261120-2130", weights_id="w", host="local",
        alias="champion", deployed_at=at, verified_at=at, oracle=None,
    ))  # fmt: skip


def test_served_checkpoint_is_shown_with_the_age_of_its_proof(paths: Paths) -> None:
    serve(paths, 100)
    overview = look(paths)
    assert overview.status.serving is not None
    assert overview.status.serving.checkpoint == "tiny/checkpoint-9-20261120-2130"
    assert overview.proof_age_s == pytest.approx(100, abs=5)
    assert not overview.proof_is_late


def test_what_was_deployed_is_not_served_while_the_oracle_is_down(paths: Paths) -> None:
    serve(paths, 100)
    assert not look(paths).oracle_is_up
    healthy(paths, "oracle")
    assert look(paths).oracle_is_up
    beat(paths, "oracle", due_in_s=-1.0)
    assert not look(paths).oracle_is_up


def test_proof_that_is_long_overdue_is_late(paths: Paths) -> None:
    serve(paths, 3600)
    assert look(paths).proof_is_late


def test_without_its_view_what_is_served_follows_from_the_deployments(paths: Paths) -> None:
    paths.model("tiny").root.mkdir()
    for item in (deployment("deployed", "one"), deployment("refused", "two"), deployment("failed", "three")):
        append_deployment(paths.model("tiny"), item)
    serving = look(paths).status.serving
    assert serving is not None
    assert (serving.checkpoint, serving.verified_at) == ("tiny/one", "2026-11-20T21:30:00.000Z")


def test_refused_candidate_alone_serves_nothing(paths: Paths) -> None:
    paths.model("tiny").root.mkdir()
    append_deployment(paths.model("tiny"), deployment("refused", "two"))
    assert look(paths).status.serving is None


def skill(training: int, mastered: int) -> SkillProgress:
    level = LevelProgress(level=training, passes=2, mastered_at=None, last=())
    return SkillProgress(training_level=training, mastered_level=mastered, target_level=3, levels=(level,))


def test_curriculum_and_ranking_are_shown(paths: Paths) -> None:
    state = Curriculum(model="tiny", active_skill="binary", skills={"binary": skill(2, 1), "syllables": skill(1, 0)})
    replace_quick(paths.status / "curriculum.json", encode(state))
    ranked = [
        Ranked(place=place, checkpoint=f"c{place}", accuracy=0.9, low=0, high=0, composite=None, eligible=True, reasons=[])
        for place in range(1, 6)
    ]
    replace_quick(paths.status / "ranking.json", encode(Ranking(models={"tiny": ranked, "other": []})))
    overview = look(paths)
    assert overview.skills is not None
    assert [(line.skill, line.training_level, line.mastered_level, line.passes) for line in overview.skills] == [
        ("binary", 2, 1, 2),
        ("syllables", 1, 0, 2),
    ]
    assert not overview.nothing_to_learn
    assert overview.ranking is not None
    assert [item.checkpoint for item in overview.ranking] == ["c1", "c2", "c3"]


def test_finished_curriculum_has_nothing_to_learn(paths: Paths) -> None:
    state = Curriculum(model="tiny", active_skill=None, skills={"binary": skill(3, 3)})
    replace_quick(paths.status / "curriculum.json", encode(state))
    assert look(paths).nothing_to_learn


@pytest.mark.parametrize("name", ["supervisor.json", "procs/oracle.json", "curriculum.json", "ranking.json", "deployment.json"])
@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": "weaver.other/1"}', b'{"schema": "weaver.curriculum/9"}'])
def test_damaged_or_newer_view_never_fails_the_status(paths: Paths, name: str, content: bytes) -> None:
    healthy(paths, "oracle")
    (paths.status / name).write_bytes(content)
    assert look(paths).status.state in ("healthy", "degraded")


def test_url_names_the_port_that_a_living_service_took(paths: Paths) -> None:
    healthy(paths, "oracle", "web")
    for service, port in (("web", 4001), ("inference", 4002)):
        taken = Endpoint(service=service, host="local", address="127.0.0.1", port=port, pid=os.getpid())
        replace_quick(paths.status / "endpoints" / f"{service}.json", encode(taken))
    status = look(paths).status
    assert (status.web, status.oracle) == ("http://127.0.0.1:4001", "http://127.0.0.1:4002")
    beat(paths, "web", process=dead_process())
    assert look(paths).status.web == "http://127.0.0.1:8888"
    assert look(paths, WEAVER_WEB_PORT="0").status.web is None


def test_broken_configuration_is_a_problem_and_does_not_blind_the_status(paths: Paths) -> None:
    healthy(paths, "oracle")
    (paths.config / "weaver.yaml").write_text("modell: tiny\n")
    overview = look(paths)
    assert overview.status.state == "healthy"
    assert overview.status.disk.floor_bytes is None
    assert "did you mean 'model'" in overview.problems[0]


@pytest.mark.parametrize("text", ["{", '{"schema":"weaver.hosts/1","hosts":{}}'])
def test_unusable_hosts_file_is_an_error_where_there_never_was_a_good_one(paths: Paths, text: str) -> None:
    (paths.config / "hosts.json").write_text(text)
    with pytest.raises(InvalidConfig, match=r"hosts\.json"):
        look(paths)

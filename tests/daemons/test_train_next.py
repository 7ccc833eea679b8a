"""train_next: who is claimed, when a job is completed, what orders do, and what becomes of jobs whose trainer dies."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import pytest

from core.checkpoints.champion import Champion
from core.clock import iso
from core.config import DiskConfig, ModelConfig, TrainingConfig, WeaverConfig
from core.errors import InvalidConfig, NewerRecord
from core.jobs.job import JobTraining
from core.jobs.pause import paused
from core.jobs.poison import PROBE, PoisonLine, add_poison
from core.orders import answered, place
from core.process import ProcessRef, start_ticks, this_process
from core.records import encode_pretty, read
from core.runs.run import Outcome, RunRequest
from daemons.train_next import TrainNext
from daemons.training.choosing import claim_of
from daemons.training.ends import IN_VAIN
from tests.core.checkpoints.checkpoint_builder import make_state
from tests.daemons.training_stage import A, B, C, Stage
from tests.fakes import wait_for

NOBODY = ProcessRef(pid=2**22 - 1, start_ticks=1, boot_id="gone")
DEATHS_IN_VAIN = IN_VAIN * (WeaverConfig().queue.retries + 1)


# -- claiming --------------------------------------------------------------------------------------------------------


def test_high_goes_before_normal_and_older_before_younger_one_at_a_time(stage: Stage) -> None:
    stage.queue(B)
    stage.queue(A)
    stage.queue(C, "high")
    order = []
    for job in (C, A, B):
        assert stage.tick().facts["running"] == job
        assert stage.tick().facts["running"] == job
        assert stage.spool.list("processing") == [job]
        order.append(job)
        stage.result(job, Outcome.FAILED, permanent=True)
    assert [event for event in stage.home.events if event[0] == "claimed"] == [("claimed", {"job": job}) for job in order]


def test_claimed_job_gets_its_request_and_one_trainer(stage: Stage) -> None:
    stage.queue(A, training=JobTraining(epochs=3))
    assert stage.tick().note == f"training {A}"
    request = stage.request(A)
    assert request is not None
    assert (request.job, request.model, request.parent, request.epochs, request.attempt) == (A, "tiny", stage.base, 3, 1)
    assert request.max_train_s is None
    claim = stage.spool.claim_of(A)
    assert claim is not None
    assert (claim.owner, claim.origin) == ("train_next", "normal")
    # Not one more: before its first beat the trainer is found by its mark in /proc, later by its beat, even without a mark.
    stage.tick(100)
    stage.beat("train")
    stage.tick(100)
    (argv,) = stage.argvs
    assert argv == [sys.executable, "-m", "trainer", "work", "--model", "tiny"]


def test_generated_job_has_a_time_limit_and_no_epoch_is_not_taken_for_the_default(stage: Stage) -> None:
    stage.queue(A, source="generate_data", training=JobTraining(epochs=0))
    stage.tick()
    request = stage.request(A)
    assert request is not None
    assert (request.max_train_s, request.epochs) == (60.0, 0)


@pytest.mark.parametrize(("environ", "epochs"), [({}, 3), ({"WEAVER__TRAINING__EPOCHS": "7"}, 7)])
def test_epochs_of_the_environment_go_before_the_sidecar_and_its_before_the_file(
    stage: Stage, environ: dict[str, str], epochs: int
) -> None:
    stage.queue(A, training=JobTraining(epochs=3))
    config = msgspec.structs.replace(stage.home.config, training=TrainingConfig(epochs=7))
    stage.daemon.tick(dataclasses.replace(stage.context(), config=config, environ=environ))
    request = stage.request(A)
    assert request is not None and request.epochs == epochs


def test_job_whose_claimer_died_before_it_wrote_the_request_gets_one(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    (stage.folder(A) / "run.json").unlink()
    (stage.folder(A) / "claim.json").unlink()
    stage.daemon = TrainNext()
    stage.tick()
    assert stage.request(A) is not None
    assert len(stage.children) == 1


def test_two_of_them_never_claim_one_job(stage: Stage) -> None:
    stage.queue(C, "low")
    stage.tick()  # a trainer is there
    stage.result(C, Outcome.FAILED, permanent=True)
    stage.tick()
    for number in range(20):
        job = stage.queue(f"20261120-213100{number:03d}-9f2c01ab-many")
        start = threading.Barrier(2)

        def tick(start: threading.Barrier = start) -> None:
            start.wait()
            TrainNext().tick(stage.context())

        both = [threading.Thread(target=tick) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert stage.home.events.count(("claimed", {"job": job})) == 1
        assert [attempt.event for attempt in stage.spool.read_attempts(job)] == ["claimed"]
        stage.result(job, Outcome.FAILED, permanent=True)
        stage.tick()
        assert stage.spool.find(job) == "failed"


def test_nothing_is_claimed_while_the_disk_is_low(stage: Stage) -> None:
    free = shutil.disk_usage(stage.paths.home).free
    stage.home.configure(weaver=WeaverConfig(disk=DiskConfig(floor_gb=free / 1.03e9)))  # in GiB, as all others count
    stage.queue(A)
    assert "disk is below its floor" in stage.tick().note
    assert stage.states == {A: "normal"}


def test_job_of_a_model_that_is_not_configured_fails_with_the_remedy(stage: Stage) -> None:
    stage.queue(A, model="gone")
    stage.queue(B)
    stage.tick()
    assert stage.spool.find(A) == "failed"
    reason = stage.spool.reason(A)
    assert reason is not None
    assert "no model 'gone' in config/weaver.yaml" in reason.message
    assert stage.tick().facts["running"] == B
    assert len(stage.children) == 1


def test_other_model_gets_a_trainer_of_its_own(stage: Stage) -> None:
    two = {"tiny": ModelConfig(base="builtin:tiny-qwen3"), "mine": ModelConfig(base="/x")}
    stage.home.configure(weaver=WeaverConfig(models=two))
    stage.queue(A, model="mine")
    stage.tick()
    assert stage.argvs[0][-1] == "mine"


# -- completing ------------------------------------------------------------------------------------------------------


def completed(stage: Stage, job: str = A) -> None:
    """Let a job be trained to its end by a living trainer that has not saved yet."""
    stage.queue(job)
    stage.tick()
    stage.plan(job, stage.head)
    stage.result(job, Outcome.COMPLETED)


def test_job_is_completed_only_when_a_checkpoint_holds_its_last_row(stage: Stage) -> None:
    completed(stage)
    stage.tick()
    half = stage.checkpoint(1, stage.base, A, (0, 4))
    stage.tick()
    assert stage.states == {A: "processing"}
    torn = stage.checkpoint(2, half, A, (4, 8), state=False)
    stage.tick()
    assert (stage.states, stage.head) == ({A: "processing"}, half)
    make_state(stage.paths, torn)
    stage.tick()
    assert (stage.states, stage.head) == ({A: "completed"}, torn)
    assert [attempt.outcome for attempt in stage.spool.read_attempts(A)] == [None, "completed"]


def test_next_job_is_claimed_while_the_last_one_waits_for_its_checkpoint(stage: Stage) -> None:
    completed(stage)
    stage.queue(B)
    assert stage.tick().facts["running"] == B
    assert stage.states == {A: "processing", B: "processing"}
    stage.checkpoint(2, stage.base, A)
    stage.tick()
    assert stage.states == {A: "completed", B: "processing"}


def test_job_is_trained_again_when_its_rows_died_with_the_trainer(stage: Stage) -> None:
    completed(stage)
    first = stage.request(A)
    stage.tick()
    stage.beat("idle")
    stage.die()
    stage.tick(5)
    assert (stage.states, len(stage.children)) == ({A: "processing"}, 2)
    assert not (stage.folder(A) / "result.json").exists()
    assert (stage.folder(A) / "plan.json").exists()
    second = stage.request(A)
    assert first is not None and second is not None
    assert second.at > first.at
    assert "reopened" in [event for event, _ in stage.home.events]


def test_job_whose_trainer_died_after_the_checkpoint_is_completed(stage: Stage) -> None:
    completed(stage)
    stage.checkpoint(2, stage.base, A)
    stage.die()
    stage.tick()
    assert stage.states == {A: "completed"}


def test_completed_job_that_is_queued_again_completes_by_the_checkpoint_it_is_in(stage: Stage) -> None:
    completed(stage)
    later = stage.checkpoint(9, stage.checkpoint(2, stage.base, A))
    stage.tick()
    stage.spool.retry(A)
    stage.tick()
    assert stage.states == {A: "processing"}
    stage.result(A, Outcome.COMPLETED, step=9)
    stage.tick()
    assert (stage.states, stage.head) == ({A: "completed"}, later)


def test_job_queued_afresh_is_not_completed_by_its_old_rows(stage: Stage) -> None:
    completed(stage)
    old = stage.checkpoint(2, stage.base, A)
    stage.tick()
    stage.spool.retry(A, fresh=True)
    stage.tick()
    stage.plan(A, old)
    stage.result(A, Outcome.COMPLETED, step=4)
    stage.tick()
    assert stage.states == {A: "processing"}
    stage.checkpoint(4, old, A)
    stage.tick()
    assert stage.states == {A: "completed"}


def test_head_moves_only_along_its_own_descendants_with_weights_and_state(stage: Stage) -> None:
    stage.tick()
    assert stage.head == stage.base
    first = stage.checkpoint(10, stage.base)
    stage.tick()
    assert stage.head == first
    stage.checkpoint(40, stage.base)  # a branch that head was taken back from
    stateless = stage.checkpoint(20, first, state=False)
    stage.tick()
    assert stage.head == first
    last = stage.checkpoint(30, stateless)
    (stage.paths.model("tiny").checkpoint(last) / "model.safetensors").rename(stage.paths.home / "weights")
    stage.tick()
    assert stage.head == first
    (stage.paths.home / "weights").rename(stage.paths.model("tiny").checkpoint(last) / "model.safetensors")
    stage.tick()
    assert stage.head == last
    events = json.loads(stage.paths.model("tiny").head.read_text())
    assert events["reason"] == "trained further"


# -- failing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.DIVERGED])
def test_job_fails_for_good_after_three_retries(stage: Stage, outcome: Outcome) -> None:
    stage.queue(A)
    for pause in (5, 10, 20):
        assert stage.tick().facts["running"] == A
        stage.result(A, outcome)
        report = stage.tick()
        assert (report.facts["running"], stage.states) == (None, {A: "normal"}), "it waits before it is tried again"
        assert report.next_s is not None
        assert pause - 1 < report.next_s <= pause
        assert stage.tick(pause - 1).facts["running"] is None
        stage.home.clock.passed_s += 1
    assert stage.tick().facts["running"] == A
    stage.result(A, outcome)
    stage.tick()
    assert stage.states == {A: "failed"}
    assert [attempt.outcome for attempt in stage.spool.read_attempts(A)] == [None, outcome.value] * 4


def test_other_jobs_are_trained_while_one_that_failed_waits(stage: Stage) -> None:
    stage.queue(A)
    stage.queue(B)
    stage.tick()
    stage.result(A, Outcome.FAILED)
    assert stage.tick().facts["running"] == B
    stage.plan(B, stage.head)
    stage.result(B, Outcome.COMPLETED)
    stage.checkpoint(2, stage.base, B)
    stage.tick()
    assert stage.states == {A: "normal", B: "completed"}
    assert stage.tick(5).facts["running"] == A


def test_job_made_for_a_checkpoint_that_serves_no_longer_expires_with_its_reason(stage: Stage) -> None:
    old = stage.checkpoint(1, stage.base)
    new = stage.checkpoint(2, old)
    stage.queue(A, "high", made_for=f"tiny/{old}", source="spar")
    stage.queue(B, "high", made_for=f"tiny/{new}", source="spar")
    stage.queue(C)
    champion = stage.paths.model("tiny").champion
    champion.write_bytes(encode_pretty(Champion(alias="champion", checkpoint=old, weights_id="0" * 16, at="")))
    assert stage.tick().facts["running"] == A, "it is up to date while its checkpoint serves"
    stage.result(A, Outcome.STOPPED)
    stage.order("stop")
    stage.tick()
    champion.write_bytes(encode_pretty(Champion(alias="champion", checkpoint=new, weights_id="0" * 16, at="")))
    stage.order("resume")
    assert stage.tick().facts["running"] == B
    assert stage.states == {A: "rejected", B: "processing", C: "normal"}
    reason = stage.spool.reason(A)
    assert reason is not None
    assert (reason.code, f"tiny/{new} serves in its place" in reason.message) == ("expired", True)


def test_out_of_date_job_that_comes_after_the_deployment_expires_when_it_would_be_next(stage: Stage) -> None:
    old = stage.checkpoint(1, stage.base)
    new = stage.checkpoint(2, old)
    champion = Champion(alias="champion", checkpoint=new, weights_id="0" * 16, at="")
    stage.paths.model("tiny").champion.write_bytes(encode_pretty(champion))
    stage.queue(A)
    assert stage.tick().facts["running"] == A
    stage.queue(B, "high", made_for=f"tiny/{old}", source="spar")
    stage.queue(C, made_for=f"tiny/{new}", source="spar")
    stage.result(A, Outcome.STOPPED)
    stage.order("stop")
    stage.tick()
    stage.spool.remove(A, "a person", iso(stage.home.clock.now()))
    stage.order("resume")
    assert stage.tick().facts["running"] == C
    reason = stage.spool.reason(B)
    assert reason is not None and reason.code == "expired" and f"made for tiny/{old}" in reason.message


def test_job_that_can_never_be_trained_fails_at_once_with_its_reason(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    stage.result(A, Outcome.FAILED, permanent=True)
    stage.tick()
    assert stage.states == {A: "failed"}
    reason = stage.spool.reason(A)
    assert reason is not None
    assert (reason.code, reason.message) == ("failed", "it broke")


def death(stage: Stage, job: str, phase: str, step: int | None, alone: int | None = None) -> None:
    """Let the trainer die in a phase, after so many steps, while it trains or tries a line alone."""
    stage.beat(phase)
    if step is not None:
        stage.progress(job, step)
    if alone is not None:
        stage.probe(job, alone)
    stage.die()
    stage.tick(100)


def test_trainer_that_dies_again_and_again_at_one_step_fails_the_job(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    for _ in range(3):
        death(stage, A, "train", 7)
        assert stage.states == {A: "processing"}
    death(stage, A, "train", 7)
    assert stage.states == {A: "failed"}
    reason = stage.spool.reason(A)
    assert reason is not None
    assert reason.message == "the trainer died 4 times at step 7 of this job, without progress"
    assert len(stage.children) == 4


def test_steps_that_died_with_the_trainer_are_counted_as_trained_again(stage: Stage) -> None:
    stage.checkpoint(4, stage.base)
    stage.queue(A)
    stage.tick()
    death(stage, A, "train", 7)
    death(stage, A, "train", 4)
    assert [attempt.replayed for attempt in stage.spool.read_attempts(A) if attempt.outcome == "trainer died"] == [3, 0]


def test_deaths_of_a_trainer_that_tries_lines_alone_fail_nothing(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    for _ in range(3):
        death(stage, A, "train", 7)
    for _ in range(6):
        death(stage, A, "train", 7, alone=4)
    assert stage.states == {A: "processing"}
    outcomes = Counter(attempt.outcome for attempt in stage.spool.read_attempts(A) if attempt.event == "adopted")
    assert outcomes == {"trainer died": 3, "trainer died trying a line alone": 6}
    (stage.folder(A) / PROBE).unlink()
    death(stage, A, "train", 7)
    assert stage.states == {A: "failed"}


@pytest.mark.parametrize("phase", ["train", "tokenise"])
def test_deaths_beside_a_probe_that_an_earlier_trainer_left_fail_the_job(stage: Stage, phase: str) -> None:
    """A job is skipped while a line of it is tried alone, others train, and it is begun again at another step."""
    stage.queue(A)
    stage.queue(B)
    stage.tick()
    for _ in range(2):
        death(stage, A, "train", 7)
    stage.beat("train")
    stage.probe(A, 4)
    stage.die()
    stage.order("skip")
    assert stage.tick(100).facts["running"] == B
    assert stage.states == {A: "low", B: "processing"}
    stage.result(B, Outcome.FAILED, permanent=True)
    stage.tick(100)
    assert (stage.folder(A) / PROBE).exists(), "what was found out about its lines is not lost"
    for count in range(4):
        assert stage.states == {A: "processing", B: "failed"}, count
        death(stage, A, phase, 19)
    assert stage.states == {A: "failed", B: "failed"}
    reason = stage.spool.reason(A)
    assert reason is not None and "died 4 times at step 19" in reason.message


def test_trainer_that_dies_for_ever_trying_one_line_or_another_fails_the_job(stage: Stage) -> None:
    """Nothing is found, as no line kills twice: a defect of the machine, or somebody who kills."""
    stage.queue(A)
    stage.tick()
    for count in range(DEATHS_IN_VAIN):
        assert stage.states == {A: "processing"}, count
        death(stage, A, "train", 7, alone=1 + count % 2)
    assert stage.states == {A: "failed"}
    reason = stage.spool.reason(A)
    assert reason is not None
    assert f"died {DEATHS_IN_VAIN} times in this job since {stage.base}," in reason.message
    assert len(stage.children) == DEATHS_IN_VAIN
    assert len(stage.spool.read_attempts(A)) == DEATHS_IN_VAIN + 2


def test_deaths_at_ever_other_steps_fail_a_job_only_while_no_checkpoint_comes(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    for step in range(1, DEATHS_IN_VAIN):
        death(stage, A, "train", step)
    head = stage.checkpoint(30, stage.base, A, (0, 4))
    for step in range(31, 30 + DEATHS_IN_VAIN):
        death(stage, A, "train", step)
    assert (stage.states, stage.head) == ({A: "processing"}, head)
    death(stage, A, "train", 60)
    assert stage.states == {A: "failed"}


def test_every_line_that_was_found_allows_the_deaths_that_it_took(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    for line in range(1, 21):
        death(stage, A, "train", line)
        for _ in range(2):
            death(stage, A, "train", line, alone=line)
        add_poison(stage.folder(A), PoisonLine(
            line=line, code="death", reason="it died", step=line, checkpoint=stage.base, probes=2, at="", raw_b64="",
        ))  # fmt: skip
        (stage.folder(A) / PROBE).unlink()
    for step in range(40, 40 + DEATHS_IN_VAIN - 1):
        death(stage, A, "train", step)
    assert stage.states == {A: "processing"}
    death(stage, A, "train", 99)
    assert stage.states == {A: "failed"}


def test_death_is_counted_when_a_power_cut_tore_what_is_not_flushed(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    stage.beat("train")
    for name in (PROBE, "progress.json"):
        (stage.folder(A) / name).write_bytes(b"")
    stage.die()
    stage.tick(100)
    deaths = [(attempt.outcome, attempt.step) for attempt in stage.spool.read_attempts(A) if attempt.event == "adopted"]
    assert (deaths, len(stage.children)) == ([("trainer died", 0)], 2)


def test_job_that_a_person_tries_again_begins_without_what_was_tried_alone(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    stage.probe(A, 4)
    stage.result(A, Outcome.FAILED, permanent=True)
    stage.tick()
    stage.spool.retry(A)
    assert sorted(path.name for path in stage.spool.folder(A).glob("probe*")) == ["probe-1.json"]


def test_deaths_with_progress_between_them_or_while_loading_fail_nothing(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    for step in range(6):
        death(stage, A, "train", step)
    for _ in range(6):
        death(stage, A, "load", 9)
    assert stage.states == {A: "processing"}
    assert len(stage.children) == 13


def test_one_death_is_counted_once_however_long_the_next_trainer_takes_to_beat(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    death(stage, A, "train", 7)
    for _ in range(5):
        stage.die()  # killed before its first beat
        stage.tick(100)
    deaths = [attempt for attempt in stage.spool.read_attempts(A) if attempt.outcome == "trainer died"]
    assert [(attempt.event, attempt.step) for attempt in deaths] == [("adopted", 7)]
    assert stage.states == {A: "processing"}


def test_trainer_that_does_not_stay_is_started_at_growing_intervals(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    started_at = []
    for second in range(1, 40):
        stage.die()
        before = len(stage.children)
        stage.tick(1)
        if len(stage.children) > before:
            started_at.append(second)
    assert started_at == [1, 3, 7, 15, 31]


def test_no_trainer_is_started_while_a_dying_one_is_not_reaped(stage: Stage) -> None:
    # A killed process with many threads is dead to all who look (a zombie), and still holds its lock until the last has ended.
    end_one = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start()"
    stage.queue(A)
    stage.argv = [sys.executable, "-c", f"{end_one}; ctypes.CDLL(None).pthread_exit(None)"]
    stage.tick()
    wait_for("the end of its first thread", lambda: start_ticks(stage.children[0].pid) is None)
    assert stage.children[0].poll() is None
    stage.tick(100)
    assert len(stage.children) == 1
    stage.children[0].kill()
    wait_for("the next trainer", lambda: stage.tick(100) and len(stage.children) == 2)
    assert stage.children[0].returncode is not None


def test_misconfigured_trainer_parks_train_next_with_its_last_words(stage: Stage) -> None:
    stage.queue(A)
    ctx = stage.context()
    child = subprocess.Popen(["sh", "-c", "echo first; echo the model is torn >&2; exit 78"], stderr=subprocess.DEVNULL)

    def start(program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        (stage.paths.logs / "trainer.out").write_text("first\nthe model is torn\n")
        return child

    stage.daemon.tick(dataclasses.replace(ctx, spawn=cast(Any, start)))
    assert child.wait() == 78
    with pytest.raises(InvalidConfig, match="the model is torn"):
        stage.tick()
    assert stage.states == {A: "processing"}


# -- records that a person edited, or a disk damaged -----------------------------------------------------------------


@pytest.mark.parametrize("when", ["queued", "claimed"])
def test_job_with_a_damaged_record_fails_and_holds_up_no_other(stage: Stage, when: str) -> None:
    stage.queue(A)
    record = (stage.paths.state("normal") / A / "job.json").read_bytes()
    if when == "claimed":
        stage.spool.claim(A, claim_of(stage.context(), A))
    stage.queue(B)
    (stage.spool.folder(A) / "job.json").write_bytes(record[:-20])
    stage.tick()
    stage.tick()
    assert stage.states == {A: "failed", B: "processing"}
    detail = stage.spool.read_attempts(A)[-1].detail
    assert detail is not None and "job.json is damaged" in detail
    assert (stage.spool.folder(A) / "data.jsonl").read_text() == "{}\n"
    (stage.spool.folder(A) / "job.json").write_bytes(record)  # mended, it is trained like any other
    stage.spool.retry(A)
    stage.result(B, Outcome.FAILED, permanent=True)
    stage.tick(10)
    assert stage.states == {A: "processing", B: "failed"}


def test_record_of_a_newer_weaver_is_no_damage(stage: Stage) -> None:
    stage.queue(A)
    path = stage.paths.state("normal") / A / "job.json"
    path.write_bytes(path.read_bytes().replace(b"weaver.job/1", b"weaver.job/2"))
    with pytest.raises(NewerRecord, match="update Weaver"):
        stage.tick()
    assert stage.states == {A: "processing"}


# -- orders ----------------------------------------------------------------------------------------------------------


def test_pause_keeps_the_job_and_resume_goes_on_with_it_before_any_other(stage: Stage) -> None:
    stage.queue(B)
    stage.tick()
    stage.queue(A)
    order = stage.order("pause")
    stage.tick()
    assert stage.ordered(B) == "pause"
    answer = answered(stage.paths, order)
    assert answer is not None
    assert (answer.ok, answer.message) == (True, f"pause: {B}")
    stage.result(B, Outcome.PAUSED, rows=4)
    stage.tick()
    assert stage.tick().note == "pause by a person"
    assert (stage.states, stage.request(B) is not None) == ({A: "normal", B: "processing"}, True)
    stage.order("resume")
    assert stage.tick(1).facts["running"] == B
    assert stage.states == {A: "normal", B: "processing"}
    assert not (stage.folder(B) / "result.json").exists()
    assert stage.ordered(B) is None
    assert paused(stage.paths) is None


def test_stop_gives_the_job_back_and_ends_the_trainer_until_resume(stage: Stage) -> None:
    stage.queue(A, "high")
    stage.tick()
    stage.order("stop")
    stage.tick()
    assert stage.ordered(A) == "stop"
    assert stage.children[0].poll() is None
    stage.result(A, Outcome.STOPPED, rows=4)
    stage.plan(A, stage.base)
    stage.tick()
    assert stage.states == {A: "high"}
    assert stage.children[0].wait(10) == -signal.SIGTERM
    assert stage.tick().note == "stop by a person"
    assert (stage.paths.state("high") / A / "plan.json").exists()
    assert not (stage.paths.state("high") / A / "run.json").exists()
    stage.order("resume")
    stage.tick(10)
    assert (stage.states, len(stage.children)) == ({A: "processing"}, 2)


def test_stop_of_a_paused_job_gives_it_back(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    stage.order("pause")
    stage.tick()
    stage.result(A, Outcome.PAUSED)
    stage.tick()
    stage.order("stop")
    stage.tick()
    assert stage.states == {A: "normal"}
    assert stage.children[0].wait(10) == -signal.SIGTERM


def test_skip_puts_the_job_behind_the_others(stage: Stage) -> None:
    stage.queue(A)
    stage.queue(B)
    stage.tick()
    stage.order("skip")
    stage.tick()
    assert stage.ordered(A) == "skip"
    stage.result(A, Outcome.SKIPPED)
    assert stage.tick().facts["running"] == B
    assert stage.states == {A: "low", B: "processing"}
    assert paused(stage.paths) is None


@pytest.mark.parametrize(("verb", "state"), [("pause", "processing"), ("stop", "normal"), ("skip", "low")])
def test_order_without_a_living_trainer_starts_none(stage: Stage, verb: str, state: str) -> None:
    stage.queue(A)
    stage.tick()
    stage.die()
    stage.order(verb)
    if verb == "skip":
        stage.queue(B)
    stage.tick(0.5)
    assert stage.states[A] == state
    assert len(stage.children) == 1
    events = ["claimed"] if verb == "pause" else ["claimed", "returned"]
    assert [attempt.event for attempt in stage.spool.read_attempts(A)] == events


def test_trainer_that_dies_before_it_obeys_is_not_started_for_a_pause(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    stage.order("pause")
    stage.tick()
    stage.die()
    stage.tick(100)
    assert stage.tick(100).note == "pause by a person"
    assert (stage.states, len(stage.children)) == ({A: "processing"}, 1)


def test_unknown_order_is_answered_with_the_valid_ones(stage: Stage) -> None:
    order = stage.order("explode")
    stage.tick()
    answer = answered(stage.paths, order)
    assert answer is not None
    assert answer.ok is False
    assert "pause, resume, stop, skip" in str(answer.message)


def test_new_train_next_takes_over_the_running_trainer(stage: Stage) -> None:
    stage.queue(A)
    stage.tick()
    stage.beat("train")
    before = read(RunRequest, stage.folder(A) / "run.json")
    stage.daemon = TrainNext()
    assert stage.tick().facts["running"] == A
    assert stage.request(A) == before
    assert len(stage.children) == 1


# -- reset -----------------------------------------------------------------------------------------------------------


def test_reset_waits_for_the_trainer_to_end_then_moves_head_and_training_goes_on_from_there(stage: Stage) -> None:
    first = stage.checkpoint(1, stage.base)
    second = stage.checkpoint(2, first)
    stage.queue(A)
    assert stage.tick().facts["running"] == A
    order = place(
        stage.paths, "train_next", "reset", {"checkpoint": f"tiny/{first}", "reason": "harmful"}, "me", stage.home.clock.now()
    )
    assert stage.tick().note.startswith("a reset waits")
    assert (stage.head, answered(stage.paths, order.id)) == (second, None)
    stage.result(A, Outcome.STOPPED, by=this_process())
    stage.children[-1].wait(20)  # it was asked to end by SIGTERM
    stage.tick()
    answer = answered(stage.paths, order.id)
    assert answer is not None and answer.ok, answer
    assert stage.head == first
    stage.tick(100)
    request = stage.request(A)
    assert request is not None
    assert request.parent == first
    assert stage.head == first, "the checkpoint that was taken back never becomes head again"


def test_job_claimed_before_a_reset_is_trained_from_the_new_head(stage: Stage) -> None:
    """Its trainer died (or was asked to end) without a result, and the request names what is taken back."""
    first = stage.checkpoint(1, stage.base)
    second = stage.checkpoint(2, first)
    stage.queue(A)
    stage.tick()
    request = stage.request(A)
    assert request is not None and request.parent == second
    order = place(stage.paths, "train_next", "reset", {"checkpoint": f"tiny/{first}"}, "me", stage.home.clock.now())
    stage.die()
    stage.tick()
    answer = answered(stage.paths, order.id)
    assert answer is not None and answer.ok, answer
    for _ in range(3):
        stage.tick(100)
    request = stage.request(A)
    assert request is not None and request.parent == first
    assert stage.states == {A: "processing"}


def test_reset_that_is_refused_changes_nothing_and_says_why(stage: Stage) -> None:
    first = stage.checkpoint(1, stage.base)
    stage.tick()
    order = place(
        stage.paths, "train_next", "reset", {"checkpoint": "tiny/checkpoint-9-20261120-2130"}, "me", stage.home.clock.now()
    )
    stage.tick()
    answer = answered(stage.paths, order.id)
    assert answer is not None
    assert (answer.ok, "checkpoint-9" in (answer.message or "")) == (False, True)
    assert stage.head == first

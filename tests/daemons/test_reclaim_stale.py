"""A claim is given back only when its owner, every train_next and the trainer are dead, and stay dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import boot_id, iso
from core.files import replace_durable
from core.jobs.job import Claim
from core.jobs.pause import Pause, set_paused
from core.jobs.spool import Spool
from core.process import SPAWN_VARIABLE, ProcessRef, start_ticks, this_process
from core.records import encode_pretty
from core.status import Heartbeat, State, write_heartbeat
from daemons.harness.context import Report
from daemons.reclaim_stale import STALE_S, ReclaimStale
from tests.core.home_files import job_record
from tests.daemons.home_builder import TestHome

JOB = "20261120-213005123-9f2c01ab-my-file"
NOBODY = ProcessRef(pid=2**22 - 1, start_ticks=1, boot_id="gone")


class Stage:
    """A home with one claimed job."""

    def __init__(self, root: Path, owner: ProcessRef = NOBODY) -> None:
        self.home = TestHome(root)
        self.spool = Spool(self.home.paths)
        self.daemon = ReclaimStale()
        folder = self.home.paths.state("high") / JOB
        folder.mkdir(parents=True)
        job = job_record(JOB, received_at=iso(self.home.clock.now()), priority="high")
        replace_durable(folder / "job.json", encode_pretty(job))
        self.claim(owner)

    def claim(self, owner: ProcessRef) -> None:
        self.spool.claim(JOB, Claim(
            job=JOB, owner="train_next", pid=owner.pid, start_ticks=owner.start_ticks, boot_id=owner.boot_id,
            at=iso(self.home.clock.now()),
        ))  # fmt: skip

    def tick(self, after_s: float = 0.0) -> Report:
        self.home.clock.passed_s += after_s
        return self.daemon.tick(self.home.context("reclaim_stale"))

    @property
    def state(self) -> str:
        return self.spool.find(JOB)

    def beat(self, name: str, ref: ProcessRef) -> None:
        write_heartbeat(self.home.paths, Heartbeat(
            name=name, pid=ref.pid, start_ticks=ref.start_ticks, boot_id=ref.boot_id, state=State.RUNNING, seq=1, beat_mono=0.0,
            next_due_mono=0.0, beat_at="", phase="", note="", last_report=None, last_error=None, exit_code=None, version="0",
        ))  # fmt: skip


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def ref_of(pid: int) -> ProcessRef:
    ticks = start_ticks(pid)
    assert ticks is not None
    return ProcessRef(pid=pid, start_ticks=ticks, boot_id=boot_id())


def test_job_of_the_dead_goes_back_to_its_priority_with_an_attempt(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.tick().did == 0
    assert stage.tick(STALE_S - 1).did == 0 and stage.state == "processing"
    report = stage.tick(1)
    assert (report.did, report.facts["returned"], stage.state) == (1, [JOB], "high")
    attempts = stage.spool.read_attempts(JOB)
    assert [(attempt.event, attempt.by) for attempt in attempts] == [("claimed", "train_next"), ("returned", "reclaim_stale")]
    assert [name for name, _ in stage.home.events] == ["reclaimed"]
    assert stage.tick(STALE_S).did == 0


def test_job_whose_owner_lives_stays(tmp_path: Path) -> None:
    stage = Stage(tmp_path, this_process())
    stage.tick()
    assert stage.tick(STALE_S * 2).did == 0 and stage.state == "processing"


@pytest.mark.parametrize("worker", ["train_next", "trainer"])
def test_job_stays_while_a_worker_lives_and_the_wait_starts_anew_when_it_dies(
    tmp_path: Path, worker: str, sleeper: subprocess.Popen[bytes]
) -> None:
    stage = Stage(tmp_path)
    stage.tick()
    stage.beat(worker, ref_of(sleeper.pid))
    assert stage.tick(STALE_S * 2).did == 0 and stage.state == "processing"
    sleeper.kill()
    sleeper.wait()
    assert stage.tick().did == 0, "the wait starts with its death"
    assert stage.tick(STALE_S).did == 1


def test_trainer_without_a_heartbeat_yet_is_seen_by_its_mark(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    marked = {**os.environ, SPAWN_VARIABLE: f"{stage.home.paths.home_id}:trainer"}
    with subprocess.Popen([sys.executable, "-c", "input()"], env=marked, stdin=subprocess.PIPE) as trainer:
        stage.tick()
        assert stage.tick(STALE_S * 2).did == 0 and stage.state == "processing"
        trainer.communicate(b"\n")
    stage.tick()
    assert stage.tick(STALE_S).did == 1


def test_job_with_a_result_waits_for_train_next(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    (stage.home.paths.state("processing") / JOB / "result.json").write_bytes(b"{}")
    stage.tick()
    assert stage.tick(STALE_S * 2).did == 0 and stage.state == "processing"


def test_paused_job_stays_and_a_stopped_queue_does_not_keep_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    set_paused(stage.home.paths, Pause(verb="pause", by="test", at=iso(stage.home.clock.now())))
    stage.tick()
    assert stage.tick(STALE_S * 2).did == 0 and stage.state == "processing"
    set_paused(stage.home.paths, Pause(verb="stop", by="test", at=iso(stage.home.clock.now())))
    stage.tick()
    assert stage.tick(STALE_S).did == 1


def test_job_whose_claimer_died_before_it_wrote_the_claim_goes_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path, this_process())
    (stage.home.paths.state("processing") / JOB / "claim.json").unlink()
    stage.tick()
    assert stage.tick(STALE_S).did == 1
    assert stage.state == "high"


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema": "weaver.claim/99"}'])
def test_job_with_an_unreadable_claim_stays_and_is_named(tmp_path: Path, damage: bytes) -> None:
    stage = Stage(tmp_path)
    (stage.home.paths.state("processing") / JOB / "claim.json").write_bytes(damage)
    stage.tick()
    report = stage.tick(STALE_S * 2)
    assert (report.did, stage.state) == (0, "processing")
    assert JOB in report.note and "claim.json" in report.note

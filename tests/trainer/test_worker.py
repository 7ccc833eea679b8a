"""The trainer child: claimed jobs in, results out; orders, locks, bad configuration, SIGTERM and kill -9."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from core.clock import iso
from core.errors import LockHeld, NotFound
from core.jobs.job import Line, Sidecar
from core.process import this_process
from core.records import encode_pretty, read, read_if_there
from core.runs.run import JobOrder, Outcome, Progress, RunRequest, RunResult
from core.status import Heartbeat, State, read_heartbeat
from tests.fakes import ROOT, home_environment, make_home, wait_for
from tests.trainer.training_home import TrainingHome, sums
from trainer.model import BUILTIN
from trainer.worker import Misconfigured, Worker

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class WorkerHome(TrainingHome):
    """A home with a configuration, and jobs that train_next has claimed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, BUILTIN)
        make_home(root)

    def configure(self, name: str, **changes: Any) -> None:
        path = self.paths.config / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))

    def claimed(self, name: str, lines: list[Line], *, minute: int = 0, model: str = "tiny", epochs: int = 1) -> Path:
        folder = self.job(name, lines)
        self.request(folder, minute=minute, model=model, epochs=epochs)
        return folder

    def request(self, folder: Path, *, minute: int = 0, model: str = "tiny", epochs: int = 1) -> None:
        at = iso(NOON + timedelta(minutes=minute))
        request = RunRequest(job=folder.name, model=model, parent=None, epochs=epochs, max_train_s=None, attempt=1, at=at)
        (folder / "run.json").write_bytes(encode_pretty(request))

    def result(self, name: str) -> RunResult | None:
        return read_if_there(RunResult, self.paths.state("processing") / name / "result.json")

    def outcome(self, name: str) -> Outcome | None:
        result = self.result(name)
        return result.outcome if result else None

    def beat(self) -> Heartbeat:
        found = read_heartbeat(self.paths, "trainer")
        assert found is not None
        return found


@pytest.fixture
def home(tmp_path: Path, built: tuple[Path, str]) -> WorkerHome:
    """Give a home whose worker ends as soon as there is no work, and saves at the end only."""
    home = WorkerHome(tmp_path / "home")
    shutil.rmtree(home.paths.models)
    shutil.copytree(built[0] / "models", home.paths.models)
    home.configure("training", idle_limit_s=0.0, micro_batch=4)
    home.configure("weaver", checkpoints={"every_s": 1000.0})
    return home


def test_claimed_jobs_are_trained_oldest_request_first(home: WorkerHome) -> None:
    home.claimed("b-first", sums(8), minute=1)
    later = home.claimed("a-second", sums(8), minute=2)
    sidecar = Sidecar(params={"skill": "binary", "level": 3})
    (later / "sidecar.json").write_bytes(encode_pretty(sidecar))
    assert Worker(home.paths.home, "tiny").run() == 0
    first, second = home.result("b-first"), home.result("a-second")
    assert first is not None and second is not None
    assert (first.outcome, first.global_step, first.rows_done) == (Outcome.COMPLETED, 2, 8)
    assert (second.outcome, second.global_step) == (Outcome.COMPLETED, 4)
    # Neither was due for a checkpoint when it ended; one at the end of the process holds both.
    assert first.checkpoint is None and second.checkpoint is None
    assert [span.job for span in home.last().consumed] == ["b-first", "a-second"]
    assert (home.last().skill, home.last().level) == ("binary", 3)
    assert first.by == this_process()
    progress = read(Progress, later / "progress.json")
    assert (progress.step, progress.total_steps) == (4, 4)
    beat = home.beat()
    assert (beat.state, beat.exit_code, beat.pid) == (State.EXITED, 0, os.getpid())
    events = (home.paths.logs / "events" / "trainer.jsonl").read_text()
    assert home.last().name in events


def test_worker_that_ended_a_job_says_so_before_its_result_is_there(home: WorkerHome) -> None:
    """Else a death right then is held against the next job, which is called by then and not begun."""
    phases: list[str] = []

    class Heard(Worker):
        def beat(self, phase: str, note: str, patience_s: float, exit_code: int | None = None) -> None:
            phases.append(f"{phase} {'after' if home.result('job-1') else 'before'}")
            super().beat(phase, note, patience_s, exit_code)

    home.claimed("job-1", sums(8))
    assert Heard(home.paths.home, "tiny").run() == 0
    assert phases[-4:] == ["save before", "idle after", "save after", "idle after"], phases  # it saves when it ends


def test_job_that_waits_is_left_alone_and_the_turn_goes_before_the_time(home: WorkerHome) -> None:
    """The clock was set back between the two that are called; what an earlier trainer said of one is not repeated."""
    names = {"a-second": (1, 2, False), "b-first": (2, 1, False), "c-waits": (0, 0, True)}
    for name, (minute, turn, waits) in names.items():
        path = home.claimed(name, sums(8), minute=minute) / "run.json"
        path.write_bytes(encode_pretty(msgspec.structs.replace(read(RunRequest, path), turn=turn, waits=waits)))
    (home.paths.state("processing") / "a-second" / "progress.json").write_text("of another life")
    assert Worker(home.paths.home, "tiny").run() == 0
    assert [span.job for span in home.last().consumed] == ["b-first", "a-second"]
    assert home.result("c-waits") is None
    assert read(Progress, home.paths.state("processing") / "a-second" / "progress.json").step == 4


@pytest.mark.parametrize(("verb", "outcome"), [("pause", Outcome.PAUSED), ("stop", Outcome.STOPPED), ("skip", Outcome.SKIPPED)])
def test_order_beside_the_job_is_obeyed_after_one_step(home: WorkerHome, verb: Any, outcome: Outcome) -> None:
    folder = home.claimed("job-1", sums(16))
    (folder / "order.json").write_bytes(encode_pretty(JobOrder(verb=verb, order="o", at=iso(NOON))))
    assert Worker(home.paths.home, "tiny").run() == 0
    result = home.result("job-1")
    assert result is not None
    assert (result.outcome, result.rows_done, result.checkpoint) == (outcome, 4, home.last().name)


def test_training_pauses_within_a_step_when_the_disk_is_low_and_goes_on_when_there_is_room(home: WorkerHome) -> None:
    folder = home.claimed("job-1", sums(16))
    home.configure("weaver", disk={"floor_gb": 10**9})
    assert Worker(home.paths.home, "tiny").run() == 0
    result = home.result("job-1")
    assert result is not None
    assert (result.outcome, result.rows_done, result.permanent) == (Outcome.STOPPED, 4, False)
    assert result.checkpoint == home.last().name, "what was trained is saved while it still can be"
    (folder / "result.json").rename(folder / "result-1.json")
    home.configure("weaver", disk={"floor_gb": 0})
    assert Worker(home.paths.home, "tiny").run() == 0
    result = home.result("job-1")
    assert result is not None
    assert (result.outcome, result.rows_done) == (Outcome.COMPLETED, 16)


def test_damaged_order_and_damaged_request_are_said_and_stop_nothing(home: WorkerHome) -> None:
    folder = home.claimed("job-1", sums(8))
    (folder / "order.json").write_text("{")
    other = home.job("job-0", sums(8))
    (other / "run.json").write_text("{")
    assert Worker(home.paths.home, "tiny").run() == 0
    assert (home.outcome("job-1"), home.outcome("job-0")) == (Outcome.COMPLETED, None)
    log = (home.paths.logs / "trainer.jsonl").read_text()
    assert "order.json" in log
    assert "job-0/run.json" in log


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": "weaver.sidecar/99"}'])
def test_job_with_a_damaged_sidecar_is_trained_without_what_it_says_to_people(home: WorkerHome, content: bytes) -> None:
    (home.claimed("job-1", sums(8)) / "sidecar.json").write_bytes(content)
    home.claimed("job-2", sums(8), minute=1)
    assert Worker(home.paths.home, "tiny").run() == 0
    assert (home.outcome("job-1"), home.outcome("job-2")) == (Outcome.COMPLETED, Outcome.COMPLETED)
    assert "job-1/sidecar.json" in (home.paths.logs / "trainer.jsonl").read_text()


def test_job_that_can_never_be_trained_costs_no_new_process(home: WorkerHome) -> None:
    bad = home.claimed("job-1", sums(8), minute=1)
    (bad / "data.jsonl").write_bytes(b"no json\n")
    home.claimed("job-2", sums(8), minute=2)
    assert Worker(home.paths.home, "tiny").run() == 0
    result = home.result("job-1")
    assert result is not None
    assert (result.outcome, result.permanent, home.outcome("job-2")) == (Outcome.FAILED, True, Outcome.COMPLETED)


def test_after_divergence_nothing_more_is_trained_by_this_process(home: WorkerHome) -> None:
    """The rows of a job that ended before it died with the weights; train_next must see that their holder is gone."""
    home.configure("training", idle_limit_s=0.0, micro_batch=4, optimizer={"lr": 1e30})
    home.claimed("job-1", sums(4), minute=1)
    home.claimed("job-2", sums(16), minute=2)
    home.claimed("job-3", sums(8), minute=3)
    before = home.ledger.names("tiny")
    assert Worker(home.paths.home, "tiny").run() == 0
    assert [home.outcome(f"job-{number}") for number in (1, 2, 3)] == [Outcome.COMPLETED, Outcome.DIVERGED, None]
    assert home.ledger.names("tiny") == before


def test_request_for_another_model_ends_this_worker_with_what_it_trained_saved(home: WorkerHome) -> None:
    home.claimed("job-1", sums(8), minute=1)
    home.claimed("job-2", sums(8), minute=2, model="other")
    assert Worker(home.paths.home, "tiny").run() == 0
    assert (home.outcome("job-1"), home.outcome("job-2")) == (Outcome.COMPLETED, None)
    assert [span.job for span in home.last().consumed] == ["job-1"]


def test_model_that_is_not_configured_is_refused_by_name(home: WorkerHome) -> None:
    with pytest.raises(NotFound, match=r"no model named 'other'\. Known: tiny"):
        Worker(home.paths.home, "other")


def test_fault_of_the_model_fails_no_job(home: WorkerHome) -> None:
    (base,) = home.ledger.names("tiny")
    (home.model.checkpoint(base) / "model.safetensors").write_bytes(b"torn")
    home.claimed("job-1", sums(8))
    with pytest.raises(Misconfigured, match=r"model\.safetensors hashes to"):
        Worker(home.paths.home, "tiny").run()
    assert home.outcome("job-1") is None
    assert home.beat().exit_code == 78


def test_bad_configuration_while_at_work_changes_nothing_and_a_good_one_holds(home: WorkerHome) -> None:
    worker = Worker(home.paths.home, "tiny")
    (home.paths.config / "weaver.yaml").write_text("model: [")
    home.claimed("job-1", sums(8))
    assert worker.run() == 0
    assert home.outcome("job-1") is Outcome.COMPLETED
    assert "in force: the files of" in (home.paths.logs / "trainer.jsonl").read_text()
    (home.paths.config / "weaver.yaml").write_text("{checkpoints: {every_s: 0}}")
    home.claimed("job-2", sums(8), minute=1)
    assert worker.run() == 0
    result = home.result("job-2")
    assert result is not None
    assert result.checkpoint is not None


def test_model_that_is_configured_no_more_ends_the_worker_with_what_it_trained_saved(home: WorkerHome) -> None:
    worker = Worker(home.paths.home, "tiny")
    home.claimed("job-1", sums(8))
    assert worker.run() == 0
    (home.paths.config / "weaver.yaml").write_text("{model: other, models: {other: {base: 'builtin:tiny-qwen3'}}}")
    home.claimed("job-2", sums(8), minute=1)
    assert worker.run() == 0
    assert (home.outcome("job-1"), home.outcome("job-2")) == (Outcome.COMPLETED, None)


def test_heartbeat_that_cannot_be_written_stops_nothing(home: WorkerHome) -> None:
    shutil.rmtree(home.paths.status)
    home.paths.status.write_text("in the way")
    home.claimed("job-1", sums(8))
    assert Worker(home.paths.home, "tiny").run() == 0
    assert home.outcome("job-1") is Outcome.COMPLETED


class Processes:
    """Trainer processes of one home; what is left of them at the end is killed by its pid."""

    def __init__(self, home: WorkerHome) -> None:
        self.home = home
        self.running: list[subprocess.Popen[bytes]] = []
        self.out = home.paths.logs / "trainer.out"

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        with self.out.open("ab") as out:
            argv = (sys.executable, "-m", "trainer", *argv)
            environment = home_environment(self.home.paths)
            child = subprocess.Popen(argv, env=environment, cwd=ROOT, stdout=out, stderr=out)
        self.running.append(child)
        return child

    def ends(self, child: subprocess.Popen[bytes], seconds: float = 60.0) -> int:
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"pid {child.pid} did not end within {seconds} s:\n{self.out.read_text()}")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    home = WorkerHome(tmp_path / "home")
    home.configure("training", micro_batch=16)
    home.configure("weaver", checkpoints={"every_s": 0.5})
    found = Processes(home)
    yield found
    for child in found.running:
        if child.poll() is None:
            child.kill()
            child.wait()


def test_job_survives_sigterm_and_kill_in_real_processes(processes: Processes) -> None:
    """Takes about 30 s, most of it the start of four processes: init, and three workers one after the other.

    The first is asked to end in the middle of the job, the second is killed there, the third goes on to the end.
    """
    home = processes.home
    assert processes.ends(processes.start("init", "--model", "tiny")) == 0
    assert processes.out.read_text().strip() == f"tiny/{home.last().name}"
    folder = home.claimed("job-1", sums(256), epochs=8)

    first = processes.start("work", "--model", "tiny")
    wait_for("some steps", lambda: reached(folder, 3), 60)
    with pytest.raises(LockHeld, match=f"another trainer, pid {first.pid}"):
        Worker(home.paths.home, "tiny").run()
    first.send_signal(signal.SIGTERM)
    assert processes.ends(first) == 0
    stopped = home.result("job-1")
    assert stopped is not None
    assert (stopped.outcome, stopped.checkpoint) == (Outcome.STOPPED, home.last().name)
    assert (home.beat().pid, home.beat().exit_code) == (first.pid, 0)

    (folder / "result.json").rename(folder / "result-1.json")
    second = processes.start("work", "--model", "tiny")
    wait_for("a checkpoint inside the job", lambda: home.last().step > stopped.global_step, 60)
    second.kill()
    processes.ends(second)
    assert home.outcome("job-1") is None
    assert home.beat().exit_code is None
    saved = home.last().step

    third = processes.start("work", "--model", "tiny")
    wait_for("the result", lambda: home.result("job-1"), 60)
    third.send_signal(signal.SIGTERM)
    assert processes.ends(third) == 0
    assert home.outcome("job-1") is Outcome.COMPLETED
    assert home.last().step == 16 * 8 > saved
    chain = home.ledger.checkpoints("tiny")
    assert [checkpoint.parent for checkpoint in chain[1:]] == [checkpoint.name for checkpoint in chain[:-1]]
    lines = Counter(line for checkpoint in chain for span in checkpoint.consumed for line in span.lines)
    assert lines == dict.fromkeys(range(1, 257), 8)


def reached(folder: Path, step: int) -> bool:
    progress = read_if_there(Progress, folder / "progress.json")
    return progress is not None and progress.step >= step

"""The trainer child: takes the claimed job that train_next called, trains it, writes result.json, looks again.

Started by train_next, adopted by the next train_next after a kill. Reads processing/<job>/run.json and order.json, writes
plan.json, progress.json, result.json and its heartbeat. Being warm only means that it looks again until its idle limit. It
holds a kernel lock on the models folder (per home on CPU), so that two trainers of one home never run.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from core.clock import SystemClock, iso
from core.config import Config
from core.errors import InvalidData, NotFound, WeaverError
from core.files import replace_durable
from core.in_force import Following
from core.jobs.job import Sidecar
from core.log import open_log, write_event
from core.paths import Paths
from core.process import hold, this_process
from core.pulse import BEAT_S, PROMISE_S, Pulse
from core.records import encode_pretty, read_if_there
from core.runs.run import JobOrder, Outcome, RunRequest, RunResult
from core.status import LastReport, State
from trainer.config import DataSource, Environment, ModelSource, OutputConfig, TrainerConfig
from trainer.engine import TrainerEngine, TrainingStatusWriter
from trainer.going_back import order_back
from trainer.version import CODE_VERSION
from trainer.weights import sweep_left_overs

LOOK_S = 0.2
LOAD_PATIENCE_S = 180.0
_VERBS = {"pause": Outcome.PAUSED, "stop": Outcome.STOPPED, "skip": Outcome.SKIPPED}


class Misconfigured(WeaverError):
    """Nothing can be trained until this is mended: {detail}"""

    exit_code = 78


class Worker:
    """One trainer child of one model."""

    def __init__(self, home: Path, model: str) -> None:
        self.paths, self.model = Paths(home), model
        self.log = open_log(self.paths, "trainer")
        self.stopping = False
        self._following, self._said = Following(self.paths, os.environ), ""
        if model not in self._config.weaver.models:
            raise NotFound(kind="model", name=model, known=", ".join(sorted(self._config.weaver.models)))
        self._me, self._clock = this_process(), SystemClock()
        self._reload_if_changed()
        self._pulse = Pulse(self.paths, self._clock, "trainer", self.log, CODE_VERSION)
        self._report: LastReport | None = None
        self.engine = TrainerEngine(
            TrainingStatusWriter(None), beat=self.beat,
            stop_wanted=lambda: Outcome.STOPPED if self.stopping or self._disk_is_low() else None, remark=self.log.info,
        )  # fmt: skip

    def beat(self, phase: str, note: str, patience_s: float, exit_code: int | None = None) -> None:
        """Publish the heartbeat; next_due is now + patience. One that cannot be written (a full disk) stops nothing."""
        state = State.EXITED if exit_code is not None else State.RUNNING
        self._pulse.beat(state, phase, note, patience_s, report=self._report, exit_code=exit_code)

    def run(self) -> int:
        """Work until asked to stop, idle for too long, or diverged; give the exit code. Raises LockHeld, Misconfigured."""
        lock = self._lock()
        try:
            self.beat("load", f"model {self.model}", LOAD_PATIENCE_S)
            sweep_left_overs(self.paths, self.model)
            self._loop()
            self.beat("idle", "ended", PROMISE_S, exit_code=0)
            return 0
        except WeaverError as error:
            self.log.error("%s", error, extra={"event": "gave_up"})
            self.beat("idle", str(error), PROMISE_S, exit_code=error.exit_code)
            raise
        finally:
            os.close(lock)

    def _lock(self) -> int:
        self.paths.models.mkdir(parents=True, exist_ok=True)
        return hold(self.paths.models, f"the training of {self.paths.home}", "another trainer, ")

    def _loop(self) -> None:
        idle_since = self._clock.mono()
        while not self.stopping:
            request = self._next_request()
            if request is not None:
                self._reload_if_changed(at_once=True)
                known = self._config.weaver.models
                if request.model != self.model or self.model not in known or not self._train(request):
                    break
                self.beat("idle", "waiting for a job", PROMISE_S)
                idle_since = self._clock.mono()
                continue
            if self.engine.save_is_due(self._config.weaver.checkpoints.every_s):
                self._save()
            now = self._clock.mono()
            if now - idle_since > self._config.training.idle_limit_s:
                break
            if now - self._pulse.beaten_mono >= BEAT_S:
                self._reload_if_changed()
                self.beat("idle", "waiting for a job", PROMISE_S)
            time.sleep(LOOK_S)
        self._save()

    def _save(self) -> None:
        """Publish what is in no checkpoint yet; where the disk does not allow it, it stays in memory."""
        name = self.engine.try_save() if self.engine.has_unsaved() else None
        if name is not None:
            self.log.info("saved %s", name, extra={"event": "checkpoint", "checkpoint": name})
            write_event(self.paths, "trainer", "checkpoint", model=self.model, checkpoint=name)

    def _reload_if_changed(self, at_once: bool = False) -> None:
        """Read config/ again when it has changed; a new one that is not good does not take the place of the old."""
        self._following.look(self._clock.mono(), at_once)
        if self._following.now.problem != self._said:
            self._said = self._following.now.problem
            self.log.error("%s", self._said or "the files under config/ are good again")

    @property
    def _config(self) -> Config:
        return self._following.now.config

    def _next_request(self) -> RunRequest | None:
        """Give the first claimed job that has run.json, which does not wait, and no result.json."""
        found: list[RunRequest] = []
        folder = self.paths.state("processing")
        for job in sorted(os.listdir(folder)) if folder.is_dir() else []:  # noqa: PTH208 - called five times a second
            if (folder / job / "result.json").exists():
                continue
            try:
                request = read_if_there(RunRequest, folder / job / "run.json")
            except InvalidData as error:
                self.log.error("%s", error, extra={"job": job})
                continue
            if request is not None and not request.waits:
                found.append(request)
        return min(found, key=lambda request: request.place) if found else None

    def _train(self, request: RunRequest) -> bool:
        """Run one job and write its result; False when this process must end, as it is not to be trusted any more.

        A job that can never be trained was refused before anything happened to the weights. Raises Misconfigured.
        """
        folder = self.paths.state("processing") / request.job
        (folder / "progress.json").unlink(missing_ok=True)  # how far an earlier trainer came is not how far this one is
        self.engine.writer = TrainingStatusWriter(folder / "progress.json")
        self.engine.order = lambda: self._order(folder)
        config = self._run_config(request, folder)
        result = self.engine.run_job(config)
        if result.misconfigured:
            # No fault of the job: it gets no result and waits in processing/, as all others would fail like it.
            self._save()
            if self._goes_back(request):
                return False
            raise Misconfigured(detail=result.error)
        record = RunResult(
            job=request.job, model=self.model, outcome=result.outcome, global_step=result.global_step,
            rows_done=result.rows_done, runtime_s=result.runtime_s, train_s=result.train_s, tokens=result.tokens,
            checkpoint=result.last_checkpoint, final_loss=result.final_loss, summary=result.summary,
            error=result.error, permanent=result.permanent, by=self._me, at=iso(SystemClock().now()),
        )  # fmt: skip
        # From here on dying is no fault of this job, nor of the one that is called once its result is there.
        self.beat("save", f"result of {request.job}", PROMISE_S)
        replace_durable(folder / "result.json", encode_pretty(record))
        self._report = LastReport(did=1, note=result.summary, facts={"job": request.job}, at=record.at)
        level = self.log.info if result.success else self.log.warning
        level("%s: %s", result.outcome, result.error or result.summary, extra={"job": request.job, "event": "run"})
        return result.outcome not in (Outcome.FAILED, Outcome.DIVERGED) or result.permanent

    def _goes_back(self, request: RunRequest) -> bool:
        """Say whether this process ends because training is ordered back from a broken checkpoint; the job waits for it."""
        order = order_back(self.paths, self.model, request.parent, self._clock.now())
        if order is None:
            return False
        target, why = order.args["checkpoint"], order.args["reason"]
        self.log.error("training is ordered back to %s: %s", target, why, extra={"event": "ordered_back", "job": request.job})
        write_event(self.paths, "trainer", "ordered_back", checkpoint=target, why=why, order=order.id)
        return True

    def _run_config(self, request: RunRequest, folder: Path) -> TrainerConfig:
        config = self._config
        params = self._params(folder)
        skill, level = params.get("skill"), params.get("level")
        return TrainerConfig(
            model=ModelSource(
                name=self.model, paths=self.paths, config=config.weaver.models[self.model], parent=request.parent
            ),
            data=DataSource(
                job=request.job, folder=folder, skill=skill if isinstance(skill, str) else None,
                level=level if isinstance(level, int) else None,
            ),
            hyperparams=config.training, epochs=request.epochs, max_train_s=request.max_train_s,
            output=OutputConfig(every_s=config.weaver.checkpoints.every_s),
            environment=Environment(device="cpu", threads=int(os.environ.get("OMP_NUM_THREADS", "1"))),
        )  # fmt: skip

    def _params(self, folder: Path) -> dict[str, Any]:
        """Give what the generator says of a job's data: for people only, so damage to it stops no training."""
        try:
            sidecar = read_if_there(Sidecar, folder / "sidecar.json")
        except InvalidData as error:
            self.log.error("trained without its skill and level: %s", error, extra={"job": folder.name})
            return {}
        return sidecar.params if sidecar is not None else {}

    def _disk_is_low(self) -> bool:
        """Say whether training must pause: the job goes back into the queue, whence nothing is claimed until there is room."""
        return shutil.disk_usage(self.paths.models).free < self._config.weaver.disk.floor_bytes

    def _order(self, folder: Path) -> Outcome | None:
        try:
            order = read_if_there(JobOrder, folder / "order.json")
        except InvalidData as error:
            self.log.error("%s", error)
            return None
        return None if order is None else _VERBS[order.verb]


def work(home: Path, model: str) -> int:
    """Run the trainer child of a model until it is asked to stop."""
    worker = Worker(home, model)

    def stop(number: int, frame: FrameType | None) -> None:
        worker.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return worker.run()

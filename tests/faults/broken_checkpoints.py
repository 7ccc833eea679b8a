"""Checkpoints broken on the disk in every way that disks, copies and people break them, and a small factory that meets them.

The factory is real but for its processes: train_next ticks in the test and its trainer is a fork of the test that runs the
worker; the oracle serves from a thread; rank_checkpoints, probe_checkpoints and deploy_best tick against it.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from core.accounting.audit import audit
from core.accounting.records import Audit
from core.checkpoints.checkpoint import Checkpoint
from core.checkpoints.ledger import MANIFEST, SIDECAR, Ledger
from core.clock import SystemClock, compact, iso
from core.config import Config, EvalsConfig, ModelConfig, SkillConfig
from core.http.oracle import Oracle
from core.jobs.spool import Spool
from core.keys import make_keys
from core.paths import Paths
from core.records import encode_pretty
from daemons.deploy_best import DeployBest
from daemons.harness.context import Context, Report
from daemons.probe_checkpoints import ProbeCheckpoints
from daemons.rank_checkpoints import RankCheckpoints
from daemons.train_next import TrainNext
from tests.core.checkpoints.score_builder import committed_suites, put_score
from tests.core.home_files import job_record
from tests.fakes import make_home, wait_for
from tests.trainer.serve.oracle_home import Running, serving
from tests.trainer.training_home import sums
from trainer.__main__ import main
from trainer.config import ModelSource
from trainer.model import BUILTIN, ensure_base

MODEL = "tiny"
SUITES = ("binary-1", "syllables-1")
LINES = 8
LONGEST_S = 120.0


def _weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def flip_a_bit(folder: Path) -> None:
    path = _weights(folder)
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(data)


def truncate(folder: Path) -> None:
    os.truncate(_weights(folder), _weights(folder).stat().st_size // 2)


def empty_the_weights(folder: Path) -> None:
    os.truncate(_weights(folder), 0)


def make_the_header_absurd(folder: Path) -> None:
    with _weights(folder).open("r+b") as file:
        file.write((2**60).to_bytes(8, "little"))


def make_the_header_no_json(folder: Path) -> None:
    with _weights(folder).open("r+b") as file:
        file.seek(8)
        file.write(b"\xff" * 16)


def lose_the_weights(folder: Path) -> None:
    _weights(folder).unlink()


def lose_a_small_file(folder: Path) -> None:
    next(path for path in (folder / "config.json", folder / "cursor.json") if path.exists()).unlink()


def flip_a_bit_of_a_small_file(folder: Path) -> None:
    path = next(path for path in (folder / "tokenizer.json", folder / "optimizer.pt") if path.exists())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def empty_the_manifest(folder: Path) -> None:
    os.truncate(folder / MANIFEST, 0)


def tear_the_manifest(folder: Path) -> None:
    os.truncate(folder / MANIFEST, (folder / MANIFEST).stat().st_size - 30)


def misname_in_the_manifest(folder: Path) -> None:
    path, name = folder / MANIFEST, _weights(folder).name
    path.write_bytes(path.read_bytes().replace(name.encode(), b"other.safetensors"))


def add_a_file(folder: Path) -> None:
    (folder / "added.bin").write_bytes(b"not ours")


def empty_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def tear_the_record(folder: Path) -> None:
    os.truncate(folder / SIDECAR, 20)


ANYWHERE: tuple[Callable[[Path], None], ...] = (
    flip_a_bit, flip_a_bit_of_a_small_file, truncate, empty_the_weights, make_the_header_absurd, make_the_header_no_json,
    lose_the_weights, lose_a_small_file, lose_the_manifest, empty_the_manifest, tear_the_manifest, misname_in_the_manifest,
    add_a_file, empty_the_folder,
)  # fmt: skip
IN_WEIGHTS = (*ANYWHERE, tear_the_record)
IN_STATE = (flip_a_bit, flip_a_bit_of_a_small_file, truncate, lose_the_weights, tear_the_manifest, empty_the_folder)


class _Forked:
    """A trainer child that is a fork of the test, in the part of a Popen that train_next uses."""

    def __init__(self, home: Path) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = None
            try:
                os.environ["WEAVER_HOME"] = str(home)
                sys.argv = ["trainer", "work", "--model", MODEL]
                code = main()
            finally:  # the copy of a test must never go on as a test
                if code is None:
                    traceback.print_exc()
                os._exit(1 if code is None else code)

    def poll(self) -> int | None:
        """Reap it if it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


class _Hasty(SystemClock):
    """A clock by which no wait is long: a hundred seconds pass in one."""

    def mono(self) -> float:
        return 100 * super().mono()


class Factory:
    """One home and its daemons."""

    def __init__(self, paths: Paths) -> None:
        self.paths, self.mine = paths, paths.model(MODEL)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._running: Running | None = None
        self._children: list[_Forked] = []
        self.ranker, self.prober, self.deployer = RankCheckpoints(), ProbeCheckpoints(self._connect), DeployBest(self._connect)
        self.train_next = TrainNext()

    @classmethod
    def make(cls, root: Path) -> Factory:
        """Make a home with a base, whose trainer saves at the end of each job and ends when there is none."""
        paths = make_home(root)
        make_keys(paths)
        changes: dict[str, dict[str, Any]] = {
            "training": {"idle_limit_s": 0.0, "micro_batch": LINES},
            "weaver": {"checkpoints": {"every_s": 0.001}},
        }
        for name, changed in changes.items():
            path = paths.config / f"{name}.yaml"
            path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changed}))
        ensure_base(ModelSource(name=MODEL, paths=paths, config=ModelConfig(base=BUILTIN)), 0, datetime.now(UTC))
        return cls(paths)

    def copy(self, root: Path) -> Factory:
        """Give a factory of a copy of the home."""
        shutil.copytree(self.paths.home, root)
        return Factory(Paths(root.resolve()))

    @property
    def ledger(self) -> Ledger:
        """Read the ledger afresh."""
        return Ledger(self.paths)

    def last(self) -> Checkpoint:
        """Give the record of the head."""
        return self.ledger.get(MODEL, self.ledger.chain(MODEL)[0])

    def audit(self) -> Audit:
        """Check every invariant."""
        return audit(self.paths)

    def broken(self, invariant: str) -> list[str]:
        """Give what breaks one invariant."""
        return next(one.violations for one in self.audit().invariants if one.id == invariant)

    # -- training ----------------------------------------------------------------------------------------------------

    def drop(self, name: str) -> str:
        """Queue a job of LINES lines; give its id."""
        now = datetime.now(UTC)
        job = f"{compact(now)}-9f2c01ab-{name}"
        record = job_record(job, LINES, name=f"{name}.jsonl", received_at=iso(now), model=MODEL)
        folder = self.paths.state("normal") / record.id
        folder.mkdir(parents=True)
        (folder / "job.json").write_bytes(encode_pretty(record))
        lines = sums(LINES, seed=len(name))
        (folder / "data.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        return record.id

    def train(self, name: str) -> str:
        """Queue a job and let train_next and its trainers work until it is completed; give its id."""
        job, spool = self.drop(name), Spool(self.paths)
        wait_for(f"{job} completed", lambda: self._step() or spool.find(job) == "completed", LONGEST_S)  # type: ignore[func-returns-value]
        wait_for("the trainer's end", lambda: self._step() or self._children[-1].returncode is not None, LONGEST_S)  # type: ignore[func-returns-value]
        return job

    @property
    def exit_codes(self) -> list[int]:
        """Give the exit codes of the trainers that did not end well."""
        return [code for child in self._children if (code := child.poll())]

    def _step(self) -> None:
        self.train_next.tick(self.context("train_next"))

    def _spawn(self, program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        assert program == "trainer", program
        self._children.append(_Forked(self.paths.home))
        return cast("subprocess.Popen[bytes]", self._children[-1])

    # -- evaluation, deployment and the oracle -----------------------------------------------------------------------

    @contextmanager
    def oracle(self) -> Iterator[Running]:
        """Let a new oracle serve the home."""
        with serving(self.paths) as running:
            self._running = running
            yield running

    def score(self, checkpoint: str, wrong: int) -> None:
        """Write scores of a checkpoint with so many wrong answers on binary, all wrong on syllables."""
        sizes = {name: len(suite.items) for name, suite in committed_suites().items()}
        for suite, number in zip(SUITES, (wrong, sizes[SUITES[1]]), strict=True):
            put_score(self.paths, suite, checkpoint, wrong=range(number))

    def evaluate(self) -> list[str]:
        """Let each daemon of evaluation and deployment tick twice; give their notes."""
        ticks = [self._tick(daemon) for _ in range(2) for daemon in (self.ranker, self.prober, self.ranker, self.deployer)]
        return [report.note for report in ticks]

    def _tick(self, daemon: RankCheckpoints | ProbeCheckpoints | DeployBest) -> Report:
        return daemon.tick(self.context(daemon.name))

    def _connect(self, paths: Paths, environ: Mapping[str, str], key: str = "oracle-read") -> Oracle:
        assert self._running is not None
        return self._running.client(key)

    def context(self, name: str) -> Context:
        """Give the context of one tick; what is served is proved in each."""
        config = Config(evals=EvalsConfig(proof_every_s=1e-9), skills={"binary": SkillConfig(), "syllables": SkillConfig()})
        return Context(
            name=name, host="local", clock=_Hasty(), paths=self.paths, config=config, environ={}, rng=random.Random(0),
            log=logging.getLogger(f"test.{name}"), spawn=self._spawn, beat=lambda note: None, stopping=lambda: False,
            event=lambda event, **facts: self.events.append((event, facts)),
        )  # fmt: skip

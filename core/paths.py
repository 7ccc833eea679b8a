"""Where everything lies under one home. The only module that spells the folder names of DESIGN.md section 3."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.errors import NoHome

PRIORITIES = ("high", "normal", "low")
STATES = (*PRIORITIES, "processing", "completed", "failed", "rejected")


def find_home(environ: Mapping[str, str], start: Path) -> tuple[Path, str]:
    """Find the home and say how: WEAVER_HOME, else the nearest parent of start with config/hosts.json. Raises NoHome."""
    named = environ.get("WEAVER_HOME")
    if named:
        try:
            home = Path(named).expanduser().resolve()
        except RuntimeError as error:  # ~somebody whom this machine does not know
            raise NoHome(detail=f"WEAVER_HOME is {named}: {error}") from error
        if not _is_home(home):
            raise NoHome(detail=f"WEAVER_HOME is {named}, which is none")
        return home, "WEAVER_HOME"
    for folder in (start.resolve(), *start.resolve().parents):
        if _is_home(folder):
            return folder, f"config/hosts.json in {folder}"
    raise NoHome(detail=f"WEAVER_HOME is not set, and neither {start} nor a folder above it is one")


def _is_home(folder: Path) -> bool:
    """Say whether a folder has a hosts.json, or had one that is still in force: deleting it moves no running factory out."""
    return (folder / "config" / "hosts.json").is_file() or Paths(folder).in_force.is_file()


@lru_cache(maxsize=64)
def _state(home: Path, state: str) -> Path:
    """Give the folder of a job state; asked for dozens of times for every job."""
    if state not in STATES:
        raise ValueError(state)
    return home / "queue" / state


@dataclass(frozen=True)
class Paths:
    """All paths of one home."""

    home: Path

    @property
    def home_id(self) -> str:
        """Give a short id of this home, for WEAVER_SPAWN: 12 hex of the SHA-256 of its resolved path."""
        return hashlib.sha256(os.fsencode(self.home.resolve())).hexdigest()[:12]

    @property
    def config(self) -> Path:
        """What people write."""
        return self.home / "config"

    @property
    def local(self) -> Path:
        """What Weaver writes into config/: mode 0700."""
        return self.config / "local"

    @property
    def tokens(self) -> Path:
        """Key files, mode 0600."""
        return self.local / "tokens"

    @property
    def desired(self) -> Path:
        """What a person switched off."""
        return self.local / "desired.json"

    @property
    def supervision(self) -> Path:
        """What the Weaver must not forget of the programs: deaths, back-off, what was given up."""
        return self.local / "supervision.json"

    @property
    def in_force(self) -> Path:
        """The last good files of config/, in one record."""
        return self.local / "in_force.json"

    @property
    def suites(self) -> Path:
        """Frozen suites."""
        return self.config / "suites"

    @property
    def queue(self) -> Path:
        """The queue."""
        return self.home / "queue"

    @property
    def inbox(self) -> Path:
        """Where people drop files."""
        return self.queue / "inbox"

    @property
    def building(self) -> Path:
        """Private folder of watch_inbox."""
        return self.queue / ".building"

    @property
    def paused(self) -> Path:
        """The pause, kept with the queue."""
        return self.queue / "paused.json"

    @property
    def orders(self) -> Path:
        """Orders to running programs: orders/<owner>/<id>.json, answered in orders/done/."""
        return self.queue / "orders"

    def state(self, state: str) -> Path:
        """Give the folder of one job state."""
        return _state(self.home, state)

    @property
    def status(self) -> Path:
        """Views."""
        return self.home / "status"

    @property
    def procs(self) -> Path:
        """Heartbeats."""
        return self.status / "procs"

    def heartbeat(self, program: str) -> Path:
        """Give the heartbeat file of a program."""
        return self.procs / f"{program}.json"

    def endpoint(self, service: str) -> Path:
        """Give the file that says where a service of this host answers."""
        return self.status / "endpoints" / f"{service}.json"

    @property
    def supervisor(self) -> Path:
        """The Weaver's view of the programs it keeps alive."""
        return self.status / "supervisor.json"

    @property
    def models(self) -> Path:
        """Models and their checkpoints."""
        return self.home / "models"

    def model(self, model: str) -> ModelPaths:
        """Give the paths of one model."""
        return ModelPaths(self.models / model)

    @property
    def notices(self) -> Path:
        """How far send_notices has read the events, and what it has still to send: it goes with the events."""
        return self.logs / "notices.json"

    @property
    def logs(self) -> Path:
        """Logs of all programs."""
        return self.home / "logs"

    def folders(self) -> tuple[Path, ...]:
        """Give the runtime folders that a home has."""
        return (
            *(self.queue / state for state in STATES), self.inbox / "high", self.inbox / "low", self.building,
            self.orders / "done", self.procs, self.models, self.logs / "events",
        )  # fmt: skip

    def make(self) -> None:
        """Make the runtime folders that are missing."""
        for folder in self.folders():
            folder.mkdir(parents=True, exist_ok=True)
        self.tokens.mkdir(parents=True, exist_ok=True)
        self.local.chmod(0o700)


@dataclass(frozen=True)
class ModelPaths:
    """All paths of one model (CONTRACTS.md section 8)."""

    root: Path

    @property
    def facts(self) -> Path:
        """The locked facts."""
        return self.root / "model.json"

    @property
    def head(self) -> Path:
        """The checkpoint that the next step continues from."""
        return self.root / "head.json"

    def checkpoint(self, name: str) -> Path:
        """Give the folder of one checkpoint."""
        return self.root / name

    @property
    def staging(self) -> Path:
        """Private folder of trainer/weights."""
        return self.root / ".staging"

    @property
    def trash(self) -> Path:
        """Private folder for deletions."""
        return self.root / ".trash"

    def training_state(self, name: str) -> Path:
        """Give the folder with optimizer, schedule, RNG and cursor of one checkpoint."""
        return self.root / "state" / name

    def ledger(self, name: str) -> Path:
        """Give the ledger copy that outlives the weights."""
        return self.root / "ledger" / f"{name}.json"

    def scores(self, name: str) -> Path:
        """Give the folder of one checkpoint's scores."""
        return self.root / "scores" / name

    @property
    def superseded(self) -> Path:
        """Checkpoints that nobody asks any more because a newer one was scored first (append-only)."""
        return self.root / "superseded.jsonl"

    @property
    def deployments(self) -> Path:
        """The append-only truth about deployments."""
        return self.root / "deployments.jsonl"

    @property
    def pins(self) -> Path:
        """Pinned checkpoints."""
        return self.root / "pins"

    @property
    def champion(self) -> Path:
        """The alias file of the oracle of this host."""
        return self.root / "champion.json"

"""A fresh checkout with a home in it, started and asked by the commands that people type."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from core.checkpoints.deployment import Deployment
from core.files import read_records
from core.jobs.job import Job
from core.jobs.spool import Spool
from core.paths import Paths
from core.records import decode
from core.status import read_heartbeat
from tests.fakes import ROOT, home_environment


class Checkout:
    """A copy of the tracked files with this run's installation, started by the scripts that people type."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.paths = folder, Paths(folder)
        environ = home_environment(self.paths)
        self.environ = {name: value for name, value in environ.items() if name not in ("WEAVER_HOME", "PYTHONPATH")}
        self.environ["NO_COLOR"] = "1"

    def sh(self, command: str, code: int = 0) -> str:
        """Run a command as a person would type it, in the checkout; give what it printed."""
        done = subprocess.run(
            ["bash", "-c", f". .venv/bin/activate; {command}"],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Give `weaver status --json`, whatever its exit code."""
        found: dict[str, Any] = json.loads(self.sh("weaver status --json || true"))
        return found

    def deployments(self) -> list[Deployment]:
        """Give the deployments that happened, oldest first."""
        path = self.paths.model("tiny").deployments
        records = [decode(Deployment, data, str(path)) for data in read_records(path)]
        return [record for record in records if record.verdict == "deployed"]

    def jobs(self, slug: str) -> list[tuple[str, Job]]:
        """Give state and record of every job whose id ends in slug."""
        spool = Spool(self.paths)
        states = ("high", "normal", "low", "processing", "completed", "failed", "rejected")
        return [spool.read(job) for state in states for job in spool.list(state) if job.endswith(slug)]

    def pid(self, program: str) -> int:
        """Give the process id in a program's heartbeat."""
        beat = read_heartbeat(self.paths, program)
        assert beat is not None, program
        return beat.pid


def copy_checkout(folder: Path) -> Checkout:
    """Copy the tracked files into a new folder and lend it the environment that runs these tests."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    _lend_installation(folder)
    return Checkout(folder)


def _lend_installation(folder: Path) -> None:
    """Let the copy use the environment that runs these tests, so that start_all.sh finds everything installed."""
    real = Path(os.environ.get("VIRTUAL_ENV", ROOT / ".venv"))
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(real / name)
    pins = (folder / "constraints.txt").read_bytes() + (folder / "pyproject.toml").read_bytes()
    wanted = f"{hashlib.sha256(pins).hexdigest()}  -\n"
    (folder / ".venv" / ".installed-training").write_text(wanted, encoding="ascii")

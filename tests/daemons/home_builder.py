"""A home in a temporary folder and the context a daemon sees in it, with a clock that the test moves."""

from __future__ import annotations

import logging
import random
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from core.checkpoints.checkpoint import Head
from core.checkpoints.ledger import Ledger
from core.clock import iso
from core.config import Config, SkillConfig
from core.paths import Paths
from daemons.harness.context import Context
from tests.fakes import HandClock

SUITES = Path(__file__).parents[2] / "config" / "suites"
SKILLS = {"binary": SkillConfig(), "syllables": SkillConfig()}


class TestHome:
    """A home, its clock, and what the daemon said while it ran."""

    __test__ = False

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self.paths.make()
        shutil.copytree(SUITES, self.paths.suites)
        self.clock = HandClock()
        self.config = Config(skills=dict(SKILLS))
        self.beats: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.is_stopping = False

    def configure(self, **sections: Any) -> None:
        """Replace sections of the configuration, as a reload does: weaver=..., evals=..., skills=...."""
        self.config = msgspec.structs.replace(self.config, **sections)

    def context(self, name: str) -> Context:
        """Give the context of one tick."""
        return Context(
            name=name, host="local", clock=self.clock, paths=self.paths, config=self.config, environ={},
            rng=random.Random(0), log=logging.getLogger(f"test.{name}"), spawn=_no_spawn, beat=self.beats.append,
            stopping=lambda: self.is_stopping, event=lambda event, **facts: self.events.append((event, facts)),
        )  # fmt: skip

    def put_head(self, name: str) -> None:
        """Move the head of the default model."""
        Ledger(self.paths).write_head("tiny", Head(checkpoint=name, reason="test", at=iso(self.clock.now())))


def _no_spawn(program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
    raise AssertionError(f"{program} must not be spawned")

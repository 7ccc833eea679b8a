"""What a daemon is and what it may touch: everything from outside arrives through the frozen Context.

Tests plug fakes into its fields, one per boundary. A daemon keeps nothing in memory that it could not rebuild from files.
"""

from __future__ import annotations

import logging
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.clock import Clock
from core.config import Config
from core.paths import Paths


@dataclass(frozen=True)
class Report:
    """What one tick did: how many things, one line for people, facts for programs.

    again asks for the next tick at once (there is more to do). next_s is a wish for an earlier next tick, in seconds.
    """

    did: int = 0
    note: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    again: bool = False
    next_s: float | None = None


class Spawn(Protocol):
    """Start a child program: its own session, output to logs/<program>.out, marked as this home's."""

    def __call__(self, program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start argv as `program` with extra environment variables."""
        ...


@dataclass(frozen=True)
class Context:
    """The world as one daemon sees it during one tick."""

    name: str
    host: str
    clock: Clock
    paths: Paths
    config: Config
    environ: Mapping[str, str]
    rng: random.Random
    log: logging.Logger
    spawn: Spawn
    beat: Callable[[str], None]
    stopping: Callable[[], bool]
    event: Callable[..., None]


class Daemon(Protocol):
    """One verb. every: seconds between ticks ("10s", "10m") or a cron string; wakes_on: globs under the home, a hint only.

    patience_s: the longest silence inside a tick. nice: 10 for everything that competes with training.
    An instance is made once per process, with no arguments. What it starts after stands in weaver/desired.py.
    """

    name: str
    every: str
    patience_s: float
    wakes_on: Sequence[str]
    nice: int

    def tick(self, ctx: Context) -> Report:
        """Do one bounded step."""
        ...

"""The base checkpoint of the default model: is it there, and how the attempt to make it went.

Place in the flow: the supervisor has it made before the oracle and train_next start. Reads models/<model>/ and
logs/base_builder.out. Invariant: a failure stays a failure, with its reason, until somebody asks again; a builder that was
killed has not failed, it is tried again, MOST_KILLS times.
"""

from __future__ import annotations

import os
import sys

from core.checkpoints.ledger import MANIFEST
from core.names import is_checkpoint
from core.paths import Paths
from weaver.desired import BASE_BUILDER
from weaver.observed import BaseState
from weaver.outputs import last_line

MOST_KILLS = 3


def has_base(paths: Paths, model: str) -> bool:
    """Say whether a model is made: its locked facts and a published checkpoint. The facts come last, so a kill leaves none."""
    model_paths = paths.model(model)
    if not model_paths.facts.exists():
        return False
    try:
        names = [name for name in os.listdir(model_paths.root) if is_checkpoint(name)]  # noqa: PTH208
    except FileNotFoundError:
        return False
    return any((model_paths.checkpoint(name) / MANIFEST).exists() for name in names)


class BaseModel:
    """The base of one model, as far as the Weaver cares."""

    def __init__(self, paths: Paths, model: str) -> None:
        self._paths, self.model = paths, model
        self.state: BaseState = "missing"
        self.reason = ""
        self._killed = 0
        self.look_again(model)

    def look_again(self, model: str) -> None:
        """Forget a failure, and look at the disk; an attempt that is being made goes on."""
        self.model, self._killed = model, 0
        if self.state != "building":
            self.state, self.reason = ("ready" if has_base(self._paths, model) else "missing"), ""

    def is_being_made(self) -> None:
        """Note that the builder runs."""
        self.state = "building"

    def settle(self, code: int | None) -> None:
        """Note how the builder ended (-n: by signal n, None: nobody knows): what counts is whether there is a base now.

        Raises OSError, and then has noted nothing.
        """
        is_made = has_base(self._paths, self.model)
        words = last_line(self._paths.logs / f"{BASE_BUILDER}.out") or "it printed nothing"
        is_killed = code is None or code < 0
        self._killed += is_killed
        if is_made:
            self.state, self.reason = "ready", ""
        elif is_killed and self._killed <= MOST_KILLS:
            self.state, self.reason = "missing", ""
        else:
            self.state, self.reason = "failed", f"exit code {code}: {words}"

    def builder_argv(self) -> list[str]:
        """Give the command that makes the base; it exits 0 when there is one already."""
        return [sys.executable, "-m", "trainer", "init", "--model", self.model]

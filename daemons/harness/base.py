"""What surrounds one daemon process: its lock, the configuration in force, and the context that its ticks get.

Files read: config/; locked: the folder queue/orders/<name>/ itself (no two processes of one daemon write side by side, and the
kernel lets go when one dies). Invariant: a bad new configuration never takes the place of a good one in force.
"""

from __future__ import annotations

import logging
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from core.clock import Clock
from core.in_force import Following
from core.log import write_event
from core.paths import Paths
from core.process import hold, spawn
from daemons.harness.context import Context


def lock(paths: Paths, name: str) -> int:
    """Become the only process of this daemon in this home, for as long as the descriptor given is open. Raises LockHeld."""
    folder = paths.orders / name
    folder.mkdir(parents=True, exist_ok=True)
    return hold(folder, f"the daemon {name} of {paths.home}")


class Surroundings:
    """Makes the context of a daemon, and makes it anew when config/ changes."""

    def __init__(
        self, name: str, paths: Paths, environ: Mapping[str, str], clock: Clock, log: logging.Logger,
        beat: Callable[[str], None], stopping: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._name, self._paths, self._environ, self._clock, self._log = name, paths, environ, clock, log
        self._beat, self._stopping = beat, stopping
        self._rng = random.Random()
        self._following = Following(paths, environ)
        self._said = ""
        self._say()
        self.context = self._make()

    @property
    def problem(self) -> str:
        """Say why newer files under config/ are not in force; nothing when all is well."""
        return self._following.now.problem

    def reload_if_changed(self) -> bool:
        """Look at config/ now and then; say whether a new one is in force."""
        is_new = self._following.look(self._clock.mono())
        self._say()
        if is_new:
            self.context = self._make()
            self._log.info("config/ has changed: the new configuration is in force")
        return is_new

    def _say(self) -> None:
        if self.problem != self._said:
            self._said = self.problem
            self._log.error("%s", self.problem or "the files under config/ are good again")

    def _make(self) -> Context:
        now = self._following.now
        return Context(
            name=self._name, host=now.here, clock=self._clock, paths=self._paths,
            config=now.config, environ=self._environ, rng=self._rng, log=self._log, spawn=self._spawn,
            beat=self._beat, stopping=self._stopping, event=partial(write_event, self._paths, self._name),
        )  # fmt: skip

    def _spawn(self, program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return spawn(
            argv, program, self._paths.home_id, self._paths.logs / f"{program}.out",
            {**self._environ, "WEAVER_HOME": str(self._paths.home), **extra}, self._paths.home,
        )  # fmt: skip

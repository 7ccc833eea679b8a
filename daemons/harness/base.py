"""What surrounds one daemon process: its lock, the configuration in force, and the context that its ticks get.

Files read: config/; locked: the folder queue/orders/<name>/ itself (no two processes of one daemon write side by side, and the
kernel lets go when one dies). Invariant: a bad new configuration never takes the place of a good one in force.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from core.clock import Clock
from core.config import fingerprint, load
from core.errors import LockHeld, WeaverError
from core.hosts import load_hosts, this_host
from core.log import write_event
from core.paths import Paths
from core.process import spawn
from core.status import read_heartbeat
from daemons.harness.context import Context

CONFIG_LOOK_S = 2.0


def lock(paths: Paths, name: str) -> int:
    """Become the only process of this daemon in this home, for as long as the descriptor given is open. Raises LockHeld."""
    folder = paths.orders / name
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        beat = read_heartbeat(paths, name)
        holder = f"pid {beat.pid}" if beat else "a process without a heartbeat yet"
        raise LockHeld(what=f"the daemon {name} of {paths.home}", holder=holder) from error
    return fd


class Surroundings:
    """Makes the context of a daemon, and makes it anew when config/ changes."""

    def __init__(
        self, name: str, paths: Paths, environ: Mapping[str, str], clock: Clock, log: logging.Logger,
        beat: Callable[[str], None], stopping: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._name, self._paths, self._environ, self._clock, self._log = name, paths, environ, clock, log
        self._beat, self._stopping = beat, stopping
        self._rng = random.Random()
        self._mark = fingerprint(paths)
        self._looked_mono = clock.mono()
        self.problem = ""
        self.context = self._make()

    def reload_if_changed(self) -> bool:
        """Look at config/ at most every CONFIG_LOOK_S; say whether a new one is in force. problem: why a new one is not."""
        now = self._clock.mono()
        if now - self._looked_mono < CONFIG_LOOK_S:
            return False
        self._looked_mono = now
        try:
            mark = fingerprint(self._paths)
        except FileNotFoundError:
            return False  # an editor is replacing a file at this moment
        if mark == self._mark:
            return False
        self._mark = mark
        try:
            self.context = self._make()
        except WeaverError as error:
            self.problem = f"config/ has changed but is not valid, the old one stays in force: {error}"
            self._log.error(self.problem)
            return False
        self.problem = ""
        self._log.info("config/ has changed: the new configuration is in force")
        return True

    def _make(self) -> Context:
        return Context(
            name=self._name, host=this_host(load_hosts(self._paths), self._environ), clock=self._clock, paths=self._paths,
            config=load(self._paths, self._environ), environ=self._environ, rng=self._rng, log=self._log, spawn=self._spawn,
            beat=self._beat, stopping=self._stopping, event=partial(write_event, self._paths, self._name),
        )  # fmt: skip

    def _spawn(self, program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return spawn(
            argv, program, self._paths.home_id, self._paths.logs / f"{program}.out",
            {**self._environ, "WEAVER_HOME": str(self._paths.home), **extra}, self._paths.home,
        )  # fmt: skip

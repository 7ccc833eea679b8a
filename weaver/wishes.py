"""What people want, as the files say it now: roles of this host, configuration, what is switched off; looked at time and again.

Files read: config/ and config/local/desired.json. Invariant: a bad new file leaves the old wish in force and is said aloud.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.config import Config, fingerprint, load
from core.errors import WeaverError
from core.hosts import load_hosts, this_host
from core.paths import Paths
from weaver.desired import PROGRAMS, Desired, Program, programs_for, read_off

LOOK_S = 2.0


class Wishes:
    """The wish in force. `programs` takes the place of the programs of this host's roles (for tests)."""

    def __init__(self, paths: Paths, environ: Mapping[str, str], programs: tuple[Program, ...] | None = None) -> None:
        self._paths, self._environ, self._fixed = paths, environ, programs
        self._mark = fingerprint(paths)
        self._looked = float("-inf")
        self.problem = ""
        self.config, self._desired = self._read()

    @property
    def mark(self) -> str:
        """Give a mark of the files in force: another set has another one."""
        return self._mark

    def desired(self, unexplained: tuple[Program, ...], stopping: bool) -> Desired:
        """Give the wish, with the processes that no program explains at its end."""
        return Desired(programs=(*self._desired.programs, *unexplained), off=self._desired.off, stopping=stopping)

    def has_changed(self, now: float) -> bool:
        """Look at the files at most every LOOK_S; say whether people changed something under config/ that is now in force."""
        if now - self._looked < LOOK_S:
            return False
        self._looked = now
        try:
            mark = fingerprint(self._paths)
            is_new = mark != self._mark
            self.config, self._desired = self._read() if is_new else (self.config, self._with_off())
        except FileNotFoundError:
            return False  # an editor is replacing a file at this moment
        except WeaverError as error:
            self.problem = f"the old wish stays in force: {error}"
            return False
        self._mark, self.problem = mark, ""
        return is_new

    def _read(self) -> tuple[Config, Desired]:
        hosts = load_hosts(self._paths)
        roles = hosts.hosts[this_host(hosts, self._environ)].roles
        programs = programs_for(roles) if self._fixed is None else self._fixed
        return load(self._paths, self._environ), Desired(programs=programs, off=read_off(self._paths))

    def _with_off(self) -> Desired:
        return Desired(programs=self._desired.programs, off=read_off(self._paths))


class LastWish(Wishes):
    """That everything stops: it reads no file, so that a broken configuration keeps nothing alive."""

    def has_changed(self, now: float) -> bool:
        """Say no."""
        return False

    def _read(self) -> tuple[Config, Desired]:
        return Config(), Desired(programs=PROGRAMS)

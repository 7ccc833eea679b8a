"""What people want, as the files say it now: roles of this host, configuration, what is switched off; looked at time and again.

Files read: config/ and config/local/desired.json; written: the good files of config/, kept in config/local/in_force.json.
Invariant: a bad new file leaves the old wish in force and is said aloud.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.config import Config
from core.errors import InvalidData
from core.in_force import LOOK_S, Following, keep
from core.paths import Paths
from core.status import ConfigStatus
from weaver.desired import PROGRAMS, Desired, Program, programs_for, read_off


class Wishes:
    """The wish in force. `programs` takes the place of the programs of this host's roles (for tests).

    Raises InvalidConfig when neither the files are good nor any were ever kept.
    """

    def __init__(self, paths: Paths, environ: Mapping[str, str], programs: tuple[Program, ...] | None = None) -> None:
        self._paths, self._fixed = paths, programs
        self._following = Following(paths, environ)
        self._off = read_off(paths)
        self._looked = float("-inf")
        self._remarks = dict[str, str]()

    @property
    def config(self) -> Config:
        """Give the configuration in force."""
        return self._following.now.config

    @property
    def mark(self) -> str:
        """Give a mark of the files in force: another set has another one."""
        return "".join(f"{name}\0{text}\0" for name, text in sorted(self._following.now.files.items()))

    @property
    def problem(self) -> str:
        """Say what is wrong with the files; nothing when all is well."""
        return "; ".join(filter(None, (self._following.now.problem, *self._remarks.values())))

    def status(self) -> ConfigStatus | None:
        """Give what status shows of the configuration in force."""
        return self._following.now.status()

    def desired(self, unexplained: tuple[Program, ...], stopping: bool) -> Desired:
        """Give the wish, with the processes that no program explains at its end."""
        now = self._following.now
        programs = programs_for(now.hosts.hosts[now.here].roles) if self._fixed is None else self._fixed
        return Desired(programs=(*programs, *unexplained), off=self._off, stopping=stopping)

    def has_changed(self, now: float) -> bool:
        """Look at the files at most every LOOK_S; say whether another configuration is in force. A good one is kept."""
        if now - self._looked < LOOK_S:
            return False
        self._looked = now
        is_new = self._following.look(now)
        self._remarks.clear()
        try:
            keep(self._paths, self._following.now)
        except OSError as error:
            self._remarks["keep"] = f"the good configuration could not be kept: {error}"
        try:
            self._off = read_off(self._paths)
        except InvalidData as error:
            self._remarks["off"] = f"what is switched off stays as it was: {error}"
        return is_new


class LastWish(Wishes):
    """That everything stops: it reads no file, so that a broken configuration keeps nothing alive."""

    def __init__(self) -> None:
        pass

    @property
    def config(self) -> Config:
        """Give the defaults: nothing is started by them."""
        return Config()

    @property
    def mark(self) -> str:
        """Say nothing."""
        return ""

    @property
    def problem(self) -> str:
        """Say nothing."""
        return ""

    def status(self) -> ConfigStatus | None:
        """Say nothing."""
        return None

    def desired(self, unexplained: tuple[Program, ...], stopping: bool) -> Desired:
        """Give every program there is."""
        return Desired(programs=(*PROGRAMS, *unexplained), stopping=stopping)

    def has_changed(self, now: float) -> bool:
        """Say no."""
        return False

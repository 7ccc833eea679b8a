"""What the doctor looks at, and what it says: the scene that every check gets, and the finding that every check gives.

Place in the flow: weaver/doctor.py makes one scene and lets the checks of weaver/doctor_*.py look at it. Reads config/; writes
nothing. Invariant: a scene can be made of any home, also of one whose configuration is broken.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from core.config_files import Fault
from core.errors import InvalidConfig
from core.gpu import DRIVER
from core.in_force import InForce, judge, read_in_force
from core.paths import Paths
from core.records import Part


class Finding(Part, frozen=True):
    """What one check found, in one sentence; fix: one sentence with the command that helps, null when all is well."""

    name: str
    result: Literal["ok", "warn", "fail"]
    found: str
    fix: str | None


def ok(name: str, found: str) -> Finding:
    """Say that a thing is well."""
    return Finding(name=name, result="ok", found=found, fix=None)


def warn(name: str, found: str, fix: str) -> Finding:
    """Say that a thing may hurt."""
    return Finding(name=name, result="warn", found=found, fix=fix)


def fail(name: str, found: str, fix: str) -> Finding:
    """Say that a thing is broken."""
    return Finding(name=name, result="fail", found=found, fix=fix)


@dataclass(frozen=True)
class Machine:
    """The machine and the installation, as far as a test must be able to stand in for them. code: where the programs lie."""

    proc: Path = Path("/proc")
    driver: Path = DRIVER
    code: Path = Path(__file__).resolve().parents[1]
    system: str = field(default_factory=platform.system)
    kernel: str = field(default_factory=platform.release)
    python: tuple[int, ...] = sys.version_info[:3]
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs


@dataclass(frozen=True)
class Scene:
    """One look at one home. how: the way it was found; now in wall-clock time, mono in monotonic seconds."""

    paths: Paths
    how: str
    environ: Mapping[str, str]
    machine: Machine
    now: datetime
    mono: float

    @cached_property
    def in_force(self) -> InForce | None:
        """Give the configuration in force; None when there never was a good one."""
        try:
            return read_in_force(self.paths, self.environ)
        except InvalidConfig:
            return None

    @cached_property
    def faults(self) -> list[Fault]:
        """Give everything that is wrong with the files under config/ as they are now."""
        return judge(self.paths, self.environ)[2]


Check = Callable[[Scene], Finding]

"""What should run on this host: the programs of its roles, less what a person switched off.

Files read: config/hosts.json, config/local/desired.json. Invariant: a damaged file is an error, never an empty wish: it neither
starts nor stops anything.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import msgspec

from core.errors import InvalidData
from core.files import replace_durable
from core.paths import Paths
from core.records import Record, decode_strict, encode_pretty

ORACLE, WEB, TRAINER, TRAIN_NEXT = "oracle", "web", "trainer", "train_next"
BASE_BUILDER = "base_builder"
TRAINER_GRACE_S = 120.0


class DesiredRecord(Record, frozen=True, tag="weaver.desired/1"):
    """config/local/desired.json: the programs that a person switched off, and whether a person stopped the whole factory.

    down: systemd does not start it with the machine then; `weaver up` ends it.
    """

    off: tuple[str, ...] = ()
    down: bool = False


@dataclass(frozen=True)
class Program:
    """One program and how it is looked after. Times in seconds.

    argv is what follows the Python interpreter; None: not kept running, only looked after while it lives. Lower stages start
    first and stop last. after: programs that must have been tried before this one starts. start_s: patience until the
    first beat; grace_s: from SIGTERM to SIGKILL.
    """

    name: str
    argv: tuple[str, ...] | None
    roles: tuple[str, ...] = ()
    stage: int = 2
    after: tuple[str, ...] = ()
    nice: int = 0
    needs_base: bool = False
    start_s: float = 60.0
    grace_s: float = 15.0
    hung_grace_s: float = 5.0


def _daemon(name: str, role: str, after: tuple[str, ...] = (), needs_base: bool = False) -> Program:
    return Program(name=name, argv=("-m", "daemons", name), roles=(role,), after=after, needs_base=needs_base)


PROGRAMS = (
    Program(
        name=ORACLE, argv=("-m", "trainer", "serve"), roles=("inference",), stage=0, nice=10, needs_base=True, start_s=180.0
    ),
    Program(name=WEB, argv=("-m", "weaver.web"), roles=("trainer",), stage=1),
    _daemon("watch_inbox", "trainer"),
    _daemon("generate_data", "trainer"),
    _daemon(TRAIN_NEXT, "trainer", needs_base=True),
    _daemon("reclaim_stale", "trainer"),
    _daemon("prune_checkpoints", "trainer"),
    replace(_daemon("send_notices", "trainer"), roles=("trainer", "inference", "hub")),
    _daemon("rank_checkpoints", "hub"),
    _daemon("probe_checkpoints", "hub", after=(ORACLE,)),
    _daemon("deploy_best", "trainer", after=(ORACLE,)),
    Program(name=TRAINER, argv=None, roles=("trainer",), start_s=180.0, grace_s=TRAINER_GRACE_S, hung_grace_s=30.0),
    Program(name=BASE_BUILDER, argv=None, roles=("trainer", "inference"), stage=3, start_s=1800.0),
)


@dataclass(frozen=True)
class Desired:
    """The wish: programs in starting order, those a person switched off, and whether everything is to stop."""

    programs: tuple[Program, ...]
    off: frozenset[str] = field(default_factory=frozenset)
    stopping: bool = False

    def wants(self, program: Program) -> bool:
        """Say whether the Weaver should keep a program running."""
        return bool(program.argv) and program.name not in self.off and not self.stopping

    @property
    def wanted(self) -> tuple[Program, ...]:
        """Give the programs that people count on, whether or not everything is to stop."""
        return tuple(program for program in self.programs if program.argv and program.name not in self.off)


def programs_for(roles: Collection[str]) -> tuple[Program, ...]:
    """Give the programs that belong on a host with these roles, in starting order."""
    return tuple(program for program in PROGRAMS if set(program.roles) & set(roles))


def unexplained(name: str) -> Program:
    """Describe a living process of this home that is no program of this host.

    A program of another role, or a second process of a program (<program>.<pid>), is stopped; the child of some program, which
    we do not know, is only stopped with everything else.
    """
    known = {program.name for program in PROGRAMS if program.argv is not None}
    is_ours = name in known or name.rpartition(".")[0] in known
    return Program(name=name, argv=() if is_ours else None, stage=3, start_s=float("inf"), grace_s=5.0)


def python_argv(program: Program) -> list[str]:
    """Give the whole command line of a program."""
    return [sys.executable, *(program.argv or ())]


def _read(paths: Paths) -> DesiredRecord:
    try:
        return decode_strict(DesiredRecord, paths.desired.read_bytes(), str(paths.desired))
    except FileNotFoundError:
        return DesiredRecord()


def is_down(paths: Paths) -> bool:
    """Say whether a person stopped the factory and nobody has started it since. Raises InvalidData for a damaged file."""
    return _read(paths).down


def write_down(paths: Paths, down: bool) -> None:
    """Note that a person stopped or started the factory. Raises InvalidData for a damaged file, OSError."""
    record = _read(paths)
    if record.down != down:
        paths.local.mkdir(parents=True, exist_ok=True)
        replace_durable(paths.desired, encode_pretty(msgspec.structs.replace(record, down=down)))


def read_off(paths: Paths) -> frozenset[str]:
    """Give what a person switched off. Raises InvalidData for a damaged file or a name that is no program."""
    record = _read(paths)
    known = {program.name for program in PROGRAMS if program.argv is not None}
    unknown = sorted(set(record.off) - known)
    if unknown:
        raise InvalidData(where=str(paths.desired), detail=f"no programs: {unknown}; known: {', '.join(sorted(known))}")
    return frozenset(record.off)

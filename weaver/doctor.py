"""The doctor: every check there is, run once over one home; says what is wrong and which command helps.

Place in the flow: `weaver doctor` calls examine() and prints what it gives. Reads what the checks of weaver/doctor_*.py read.
Invariants: it writes nothing and signals nobody, so it may be run at any time; what a check cannot read is a finding, never an
end; it works without a home and with a configuration that nobody can read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from core.clock import SystemClock, iso
from core.errors import NoHome, WeaverError
from core.paths import Paths, find_home
from core.records import Record
from weaver import doctor_home as home
from weaver import doctor_machine as machine_checks
from weaver import doctor_programs as programs
from weaver.doctor_packages import packages
from weaver.doctor_scene import Check, Finding, Machine, Scene, fail

WITHOUT_HOME: tuple[Check, ...] = (
    machine_checks.system, machine_checks.python, packages, machine_checks.gpu, machine_checks.open_files,
    machine_checks.inotify, machine_checks.scratch,
)  # fmt: skip
OF_HOME: tuple[Check, ...] = (
    home.home, home.config, home.host, home.ports, home.keys, machine_checks.disk, machine_checks.file_system, home.folders,
    machine_checks.clock, programs.weaver, programs.programs, programs.strays, programs.base, programs.checkpoint, home.orders,
)  # fmt: skip


class Diagnosis(Record, frozen=True, tag="weaver.doctor/1"):
    """`weaver doctor --json`. ok: nothing fails; home is null when there is none."""

    home: str | None
    ok: bool
    checked_at: str
    checks: list[Finding]


def examine(environ: Mapping[str, str], start: Path, machine: Machine | None = None) -> Diagnosis:
    """Run every check over the home that the environment or a folder names; without one, those of the machine."""
    machine = machine or Machine()
    paths, how, lost = Paths(start), "", None
    try:
        found, how = find_home(environ, start)
        paths = Paths(found)
    except NoHome as error:
        fix = "`cd` to the folder of the factory, or `export WEAVER_HOME=` it; what needs a home was not looked at."
        lost = fail("home", str(error), fix)
    scene = Scene(paths, how, environ, machine, SystemClock().now(), time.monotonic())
    findings = [lost] if lost else [_run(check, scene) for check in OF_HOME]
    findings += [_run(check, scene) for check in WITHOUT_HOME]
    return Diagnosis(
        home=None if lost else str(paths.home), ok=all(finding.result != "fail" for finding in findings),
        checked_at=iso(scene.now), checks=findings,
    )  # fmt: skip


def _run(check: Check, scene: Scene) -> Finding:
    try:
        return check(scene)
    except (WeaverError, OSError) as error:
        return fail(check.__name__, str(error), "Mend the file named; what it holds is nowhere else: look before removing it.")

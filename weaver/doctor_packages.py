"""The doctor's dependency check: what is installed against what is pinned.

Place in the flow: weaver/doctor.py runs it. Reads constraints.txt and pyproject.toml beside the code, and the metadata of the
installed packages; imports none of them. Invariant: every package that a program here needs is there in its pinned version,
or is named.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from weaver.doctor_scene import Finding, Scene, fail, ok, warn

EXTRAS = ("training",)
_NAMED = 8
_FIX = "`rm -f .venv/.installed-training && ./scripts/install.sh` installs what constraints.txt pins."


def packages(scene: Scene) -> Finding:
    """Are the pinned packages installed?"""
    try:
        pins = read_pins(scene.machine.code / "constraints.txt")
        wanted = read_wanted(scene.machine.code / "pyproject.toml")
    except FileNotFoundError as error:
        return warn("packages", f"{error.filename} is missing: nothing to compare with", "Run from a checkout: `git status`.")
    installed = {name: version for name in pins if (version := _version(name)) is not None}
    missing = [f"{name} {pins[name]}" for name in sorted(needed(wanted, pins)) if name not in installed]
    other = [f"{name} {has} (pinned {pins[name]})" for name, has in sorted(installed.items()) if not _is(has, pins[name])]
    if missing:
        return fail("packages", f"missing: {_listed(missing)}" + (f"; other: {_listed(other)}" if other else ""), _FIX)
    if other:
        return warn("packages", f"other versions than pinned: {_listed(other)}", _FIX)
    return ok("packages", f"{len(installed)} of {len(pins)} pinned packages are installed, all in their versions")


def canonical(name: str) -> str:
    """Give a package's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(path: Path) -> dict[str, str]:
    """Give the pinned version of each package."""
    found = (re.match(r"([A-Za-z0-9._-]+)==(\S+)", line) for line in path.read_text(encoding="utf-8").splitlines())
    return {canonical(match[1]): match[2] for match in found if match}


def read_wanted(path: Path) -> list[str]:
    """Give the requirements of the programs: the base and EXTRAS."""
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    return [*project["dependencies"], *(line for extra in EXTRAS for line in extras.get(extra, []))]


def needed(wanted: Iterable[str], pins: Mapping[str, str]) -> set[str]:
    """Give the pinned packages that these requirements lead to; what needs an extra of a package is not followed."""
    found, waiting = set[str](), [_name_in(line) for line in wanted]
    while waiting:
        name = waiting.pop()
        if name in found or name not in pins:
            continue  # not pinned: it is for another system
        found.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [_name_in(line) for line in lines if "extra ==" not in line]
    return found


def _name_in(requirement: str) -> str:
    found = re.match(r"\s*([A-Za-z0-9._-]+)", requirement)
    return canonical(found[1]) if found else ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _is(installed: str, pinned: str) -> bool:
    """Compare versions; a build (+cpu, +cu130) counts only where the pin names one."""
    return installed == pinned or ("+" not in pinned and installed.partition("+")[0] == pinned)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more

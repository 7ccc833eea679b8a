"""What pyproject.toml lists by hand is what is there: packages, data, daemons in the import contracts, pinned versions."""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from itertools import chain

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from daemons.roster import ROSTER
from tests.house.tree import ROOT, modules

OURS = "weaver-factory"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
BENCH = "bench"
"""What only benchmarks compare with: tests run without it, benchmarks/run_all.sh installs it."""


def test_every_package_is_listed() -> None:
    there = {name.removesuffix("/__init__.py").replace("/", ".") for name in modules() if name.endswith("/__init__.py")}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(there)
    folders = {name.rpartition("/")[0].replace("/", ".") for name in modules()}
    assert folders == there, "every folder with modules needs an __init__.py"


def test_every_daemon_is_in_the_independence_contract() -> None:
    contracts = {contract["id"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    assert sorted(contracts["daemons"]["modules"]) == sorted(target.partition(":")[0] for target in ROSTER.values())


def pins() -> dict[str, Version]:
    """Read constraints.txt: canonical name -> the one version that is allowed."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, Version] = {}
    for line in filter(None, (line.partition("#")[0].strip() for line in lines)):
        name, _, version = line.partition("==")
        found[canonicalize_name(name)] = Version(version)
    return found


def needs(name: str, extras: frozenset[str]) -> list[Requirement]:
    """Give what a distribution requires on this machine with these extras; ours from pyproject.toml, the rest as installed."""
    if name == OURS:
        texts = [*PROJECT["project"]["dependencies"], *chain(*(extras for name, extras in EXTRAS.items() if name != BENCH))]
    else:
        texts = distribution(name).requires or []
    every = map(Requirement, texts)
    return [
        one for one in every if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras or {""})
    ]


def compared_with() -> set[str]:
    """Give the names of what only benchmarks need."""
    return {canonicalize_name(Requirement(text).name) for text in EXTRAS[BENCH]}


def test_what_benchmarks_compare_with_is_pinned() -> None:
    assert compared_with() <= pins().keys()


def test_everything_that_is_installed_is_pinned_at_its_version() -> None:
    pinned, seen = pins(), {(OURS, frozenset[str]())}
    open_ = [*seen]
    while open_:
        parent, parent_extras = open_.pop()
        for need in needs(parent, parent_extras):
            name, extras = canonicalize_name(need.name), frozenset(need.extras)
            if name not in pinned and any(part.operator == "==" for part in need.specifier) and parent != OURS:
                continue  # its parent pins it, as torch does with what it needs on a GPU
            assert name in pinned, f"{name} (needed by {parent}) is not in constraints.txt"
            installed = Version(distribution(name).version)
            assert pinned[name] == Version(installed.public), f"{name} {installed} is installed, {pinned[name]} is pinned"
            if (name, extras) not in seen:
                seen.add((name, extras))
                open_.append((name, extras))
    unused = pinned.keys() - {name for name, _ in seen} - compared_with()
    assert not unused, f"constraints.txt pins what nothing needs: {sorted(unused)}"


def test_torch_is_pinned_without_a_local_version() -> None:
    assert str(pins()["torch"]) == "2.13.0"

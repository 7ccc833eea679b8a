"""At run time too, only the trainer loads torch: importing every other module of the factory leaves it out of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from daemons.roster import ROSTER
from tests.house.tree import ROOT, modules

TORCH = {"torch", "trl", "peft", "accelerate", "bitsandbytes", "liger_kernel"}
HEAVY = TORCH | {"transformers", "fastapi", "pydantic", "pandas", "pyarrow", "datasets", "typer", "rich"}


def loaded_by(program: str) -> set[str]:
    """Run a program in a fresh interpreter and give the top-level packages that it has loaded at its end."""
    told = f"import sys\n{program}\nprint('loaded', *sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("package", ["core", "daemons", "weaver"])
def test_importing_every_module_of_a_package_does_not_load_torch(package: str) -> None:
    names = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in modules()]
    mine = [name for name in names if name.partition(".")[0] == package]
    loaded = loaded_by("import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in mine))
    assert package in loaded and not loaded & (TORCH | {"transformers"})


@pytest.mark.parametrize("name", sorted(ROSTER))
def test_daemon_starts_without_anything_heavy(name: str) -> None:
    loaded = loaded_by(f"import daemons.__main__, daemons.harness.loop, daemons.roster\ndaemons.roster.load({name!r})")
    assert "daemons" in loaded and not loaded & HEAVY

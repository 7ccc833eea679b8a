"""scripts/ is what people and CI run: short shell without logic, executable, and CI calls exactly one of them."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.house.tree import ROOT, tracked

SCRIPTS = ["scripts/start_all.sh", "scripts/stop_all.sh", "scripts/install.sh", "scripts/check.sh", "scripts/test.sh"]


def test_scripts_are_the_five() -> None:
    assert sorted(name for name in tracked() if name.startswith("scripts/")) == sorted(SCRIPTS)


@pytest.mark.parametrize("name", [*SCRIPTS, ".ci/run"])
def test_script_is_short_executable_and_stops_at_the_first_error(name: str) -> None:
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    shell, _, rest = text.partition("\n")
    assert {"#!/bin/sh": "\nset -eu\n", "#!/usr/bin/env bash": "\nset -euo pipefail\n"}[shell] in rest
    assert os.access(path, os.X_OK)
    subprocess.run([shell.removeprefix("#!/usr/bin/env ").removeprefix("#!"), "-n", str(path)], check=True)


def test_ci_calls_exactly_the_test_script() -> None:
    lines = [line for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', 'exec ./scripts/test.sh "$@"']

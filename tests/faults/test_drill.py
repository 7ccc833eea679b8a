"""weaver drill as a person types it: it breaks a factory of its own, finds nothing lost, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.records import decode_strict
from tests.fakes import ROOT, make_home
from weaver.drill.faults import FAULTS
from weaver.drill.records import Drill, Trials, percentile

SEED = 20261121


def drill(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Type weaver drill with temporary files in a folder."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WEAVER")}
    argv = [sys.executable, "-m", "weaver", "drill", *words]
    return subprocess.run(
        argv, env={**environ, "TMPDIR": str(where), "PYTHONPATH": str(ROOT)}, cwd=where, capture_output=True, text=True
    )


@pytest.mark.timeout(900)
def test_short_drill_finds_nothing_lost_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """About 100 s: a real factory is started, each program of it killed and asked to stop, all at once too; all is trained."""
    done = drill(tmp_path, "--json", "--seed", str(SEED))
    found = decode_strict(Drill, done.stdout.encode(), "weaver drill")
    assert found.violations == [], done.stderr
    assert (found.ok, done.returncode, found.seed) == (True, 0, SEED)
    assert [fault.fault for fault in found.faults][len(FAULTS) :] == ["at rest"]
    judged = {fault.fault: set(fault.judged) for fault in found.faults}
    assert [fault for fault in judged if "I8" in judged[fault]] == ["at rest"], "where the champion is asked"
    assert [fault for fault in judged if "I5" in judged[fault]] == ["freeze", "at rest"], "where its beats are looked at"
    assert "I13" in judged["clock set"] and all({"I1", "I2", "I7", "I10"} <= names for names in judged.values())
    assert [fault.fault for fault in found.faults if fault.trials == 0] == []
    assert found.lines is not None and found.lines.unaccounted == 0
    assert found.lines.trained == found.lines.dropped > 500
    assert list(tmp_path.iterdir()) == [], "its home is gone"


def test_drill_in_a_home_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home").home
    before = sorted(home.rglob("*"))
    done = drill(home)
    assert done.returncode == 7 and "TMPDIR" in done.stderr
    assert sorted(home.rglob("*")) == before


def test_planned_drill_does_nothing(tmp_path: Path) -> None:
    done = drill(tmp_path, "--dry-run", "--full")
    assert done.returncode == 0 and "kill -9" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_trials_are_counted_by_percentiles() -> None:
    trials = Trials("kill", "note", count=20, recoveries=[float(number) for number in range(1, 21)], violations=["one"])
    found = trials.record()
    assert (found.p50_s, found.p95_s, found.max_s, found.violations) == (10.0, 19.0, 20.0, 1)
    assert percentile([3.0], 0.95) == 3.0
    assert Trials("none", "").record().p50_s is None

"""What benchmarks/faults.py makes of a drill: no violation is in no row, and no invariant is green that nobody judged."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from core.accounting.records import AuditLines
from tests.fakes import ROOT
from weaver.drill.records import Drill, Trials

LINES = AuditLines(
    dropped=10, trained=9, rejected=0, duplicate=0, pending=0, failed=0, removed=0, expired=0, reverted=0, unaccounted=1
)
GREEN, RED = "#2e7d32", "#c62828"


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give the benchmark as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("faults")


def drilled(*trials: Trials) -> Drill:
    """Give the record of a drill with these faults."""
    violations = [text for one in trials for text in one.violations]
    return Drill(
        ok=not violations, seed=1, full=True, seconds=1.0, lines=LINES, violations=violations,
        faults=[one.record() for one in trials],
    )  # fmt: skip


def colours(faults: ModuleType, found: Drill, where: Path) -> dict[str, list[str]]:
    """Draw the picture; give the colours of each row by the name of its fault."""
    path, rows, name = where / "picture.svg", dict[str, list[str]](), ""
    faults.draw(faults.drill_cells(found), path)
    for line in path.read_text(encoding="utf-8").splitlines():
        if "factory: " in line:
            name = line.partition("factory: ")[2].partition("<")[0]
        elif "<rect" in line and name:
            rows.setdefault(name, []).append(line.partition('fill="')[2].partition('"')[0])
    return rows


def test_verdict_at_rest_is_counted_and_is_red(faults: ModuleType, tmp_path: Path) -> None:
    rest = Trials("at rest", "", 1, judged={"I1", "I8"})
    rest.violations += [
        "at rest: kills-1.jsonl: 3 of 4 lines, 1 lost or doubled", "at rest: the champion is b, deployed was a",
        "at rest: not everything was trained within 300 s",
    ]  # fmt: skip
    found = drilled(Trials("storm", "", 5, judged={"I1"}), rest)
    cells = faults.drill_cells(found)
    assert faults.figures_of(cells, found)["violations"] == 3
    assert [(cell.fault, len(cell.violations)) for cell in cells] == [("factory: storm", 0), ("factory: at rest", 3)]
    rows = colours(faults, found, tmp_path)
    assert (rows["storm"].count(GREEN), rows["storm"].count(RED)) == (1, 0)
    assert (rows["at rest"].count(GREEN), rows["at rest"].count(RED)) == (0, 2)


def test_violation_of_no_known_fault_is_still_counted(faults: ModuleType) -> None:
    found = drilled(Trials("storm", "", 1, violations=["whatever: this is: I1"]), Trials("at rest", "", 1))
    assert faults.figures_of(faults.drill_cells(found), found)["violations"] == 1


def test_fault_that_could_not_be_made_is_red_and_never_green(faults: ModuleType, tmp_path: Path) -> None:
    never = Trials("freeze", "", 0, violations=["freeze: web did not live"], judged={"I5"})
    idle = Trials("storm", "", 0, judged={"I5"})
    found = drilled(never, idle, Trials("at rest", "", 1))
    assert faults.figures_of(faults.drill_cells(found), found)["violations"] == 1
    rows = colours(faults, found, tmp_path)
    assert rows["freeze"].count(RED) == 1 and not {GREEN, RED} & set(rows["storm"])


def test_column_is_painted_where_a_fault_judged_it_and_nowhere_else(faults: ModuleType, tmp_path: Path) -> None:
    broken = Trials("storm", "", 1, violations=["storm: I8: tiny/champion means b"], judged={"I1", "I2"})
    found = drilled(Trials("freeze", "", 4, judged={"I1", "I5"}), broken, Trials("at rest", "", 1, judged={"I8"}))
    columns = importlib.import_module("picture").INVARIANTS
    rows = {name: dict(zip(columns, row, strict=True)) for name, row in colours(faults, found, tmp_path).items()}
    assert {name for name, colour in rows["freeze"].items() if colour == GREEN} == {"I1", "I5"}
    assert {name for name, colour in rows["storm"].items() if colour == RED} == {"I8"}, "what is named is red, judged or not"
    assert {name for name, colour in rows["at rest"].items() if colour == GREEN} == {"I8"}

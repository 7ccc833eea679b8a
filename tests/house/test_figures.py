"""Every figure in README.md is the one that its benchmark measured.

How to cite a figure: write the number, its unit, and a mark that names the results file and the key, on one line:

    `weaver status` answers in 0.14 s <!-- figure: status.wall_s -->

A benchmark writes `benchmarks/results/<name>.json`:

    {"name": "status", "commit": "<git commit>", "date": "<iso utc>", "hardware": "2 cores, no GPU",
     "figures": {"wall_s": 0.1372}}

`name` is the file's name; every value of `figures` is a number, other keys are free. The number nearest before the mark must be
the measured one, rounded to the decimals that it is written with; 1000 may be written 1,000. A mark without its figure, a
figure that says something else, a results file that nobody cites, and a README without figures all fail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.house.tree import ROOT

README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
MARK = re.compile(r"<!--\s*figure:(.*?)-->")
NAME = re.compile(r"\s*([a-z0-9_-]+)\.([A-Za-z0-9_.-]+)\s*")
NUMBER = re.compile(r"(?<![\w.,])-?\d[\d,]*(?:\.\d+)?")


def differences(text: str, results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say of every marked figure of a text why it is not the measured one."""
    for line in text.splitlines():
        at = 0
        for mark in MARK.finditer(line):
            name = NAME.fullmatch(mark[1])
            numbers = NUMBER.findall(line[at : mark.start()])
            at = mark.end()
            if name is None or not numbers:
                yield f"{line!r}: expected NUMBER UNIT <!-- figure: name.key -->"
                continue
            measured = results.get(name[1], {}).get("figures", {}).get(name[2])
            if isinstance(measured, bool) or not isinstance(measured, int | float):
                yield f"benchmarks/results/{name[1]}.json has no figure {name[2]!r}"
            elif written(measured, numbers[-1]) != numbers[-1].replace(",", ""):
                yield f"{line!r} says {numbers[-1]}, measured was {measured}"


def written(measured: float, like: str) -> str:
    """Write a measured value with as many decimals as the text has."""
    return f"{measured:.{len(like.partition('.')[2])}f}"


def results() -> dict[str, dict[str, Any]]:
    """Read every results file."""
    return {path.stem: json.loads(path.read_bytes()) for path in sorted(RESULTS.glob("*.json"))}


def test_every_figure_in_the_readme_is_the_measured_one() -> None:
    text = README.read_text(encoding="utf-8")
    assert list(differences(text, results())) == []
    cited = {name[1] for mark in MARK.finditer(text) if (name := NAME.fullmatch(mark[1]))}
    assert cited, "README.md cites no figure"
    assert cited == results().keys()


def test_every_results_file_says_when_where_and_of_what() -> None:
    for name, result in results().items():
        assert result["name"] == name
        assert all(isinstance(result[key], str) and result[key] for key in ("commit", "date", "hardware")), name
        assert result["figures"] and all(isinstance(value, int | float) for value in result["figures"].values()), name


MEASURED = {"status": {"figures": {"wall_s": 0.1372, "lines": 1000, "none": None}}}


@pytest.mark.parametrize(
    "text",
    [
        "answers in 0.14 s <!-- figure: status.wall_s -->",
        "answers in 0.1372 s <!--figure:status.wall_s-->, all 1,000 <!-- figure: status.lines --> of 3",
        "| status (goal 0.2 s) | 0 s <!-- figure: status.wall_s --> |",
        "no figure at all, 12 of them",
    ],
)
def test_figure_as_measured_is_accepted(text: str) -> None:
    assert list(differences(text, MEASURED)) == []


@pytest.mark.parametrize(
    "text",
    [
        "answers in 0.15 s <!-- figure: status.wall_s -->",
        "answers in 0.137 s and 0.14 <!-- figure: status.lines -->",
        "answers soon <!-- figure: status.wall_s -->",
        "1,000 <!-- figure: status.lines --> lines <!-- figure: status.lines -->",
        "1 <!-- figure: status.other -->",
        "1 <!-- figure: other.wall_s -->",
        "0 <!-- figure: status.none -->",
        "0.14 <!-- figure: wall_s -->",
    ],
)
def test_figure_that_is_not_the_measured_one_is_refused(text: str) -> None:
    assert len(list(differences(text, MEASURED))) == 1

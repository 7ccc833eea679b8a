"""No tracked file promises later work, and none names a place that only one machine has."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.house.tree import text_of, tracked

LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK|placeholder|not implemented|NotImplemented(Error)?|coming soon)\b", re.IGNORECASE)
MACHINE = re.compile(r"(?<![\w.$}~])/(?:work|home|root|opt|Users|mnt|srv)/\w")
PACKAGE_HOST = re.compile(
    r"pypi\.org|pythonhosted|download\.pytorch|pypi/simple|anaconda|conda-forge|--(?:extra-)?index-url[ =]\S*//"
)
OTHERS_TEXT = ("tests/data/", "config/suites/", "LICENSE", "tests/house/test_words.py")


def findings(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """Give every line of a text in which a pattern occurs, with its number."""
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.search(line):
            yield f"{number}: {line.strip()[:120]}"


@pytest.mark.parametrize("pattern", [LATER, MACHINE, PACKAGE_HOST], ids=["later", "machine", "package-host"])
def test_no_tracked_file_says(pattern: re.Pattern[str]) -> None:
    names = [name for name in tracked() if not name.startswith(OTHERS_TEXT)]
    assert len(names) > 100
    found = {name: lines for name in names if (lines := list(findings(pattern, text_of(name))))}
    assert not found


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (LATER, "x = 1  # todo: mend"), (LATER, "raise NotImplementedError"), (LATER, "a Placeholder text"),
        (MACHINE, "open('/work/main/x')"), (MACHINE, "HOME=/home/me"), (MACHINE, "sys.path.insert(0, '/opt/x')"),
        (PACKAGE_HOST, "pip install --index-url https://example"), (PACKAGE_HOST, "https://pypi.org/simple"),
    ],
)  # fmt: skip
def test_finding_is_found(pattern: re.Pattern[str], line: str) -> None:
    assert list(findings(pattern, f"first\n{line}")) == [f"2: {line}"]


@pytest.mark.parametrize(
    ("pattern", "line"),
    [(LATER, "the hacker's method"), (MACHINE, "~/work/x"), (MACHINE, "$HOME/work/x"), (MACHINE, "a path (models/work/x)"),
     (MACHINE, "/data/Qwen3-0.6B"), (MACHINE, "/proc/1/stat")],
)  # fmt: skip
def test_ordinary_line_is_no_finding(pattern: re.Pattern[str], line: str) -> None:
    assert list(findings(pattern, line)) == []

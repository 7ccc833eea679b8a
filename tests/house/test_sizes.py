"""Modules stay under 300 lines and functions under 50, so that one fits a screen and a reader's head."""

from __future__ import annotations

import ast

import pytest

from tests.house.tree import ROOT, functions, modules

MODULE_LINES = 300
FUNCTION_LINES = 50


def too_long(tree: ast.AST) -> list[str]:
    """Name the functions over the limit with their length in lines, decorators not counted."""
    found = ((name, (node.end_lineno or node.lineno) - node.lineno + 1) for name, node in functions(tree))
    return [f"{name}: {lines} lines" for name, lines in found if lines > FUNCTION_LINES]


def test_every_module_is_at_most_300_lines() -> None:
    lengths = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in modules()}
    over = {name: length for name, length in lengths.items() if length > MODULE_LINES}
    assert not over, f"split these modules by what they are about: {over}"


def test_every_function_is_at_most_50_lines() -> None:
    over = {name: long for name, tree in modules().items() if (long := too_long(tree))}
    assert not over, f"split these functions: {over}"


@pytest.mark.parametrize(("lines", "found"), [(FUNCTION_LINES, 0), (FUNCTION_LINES + 1, 1)])
def test_function_at_and_over_the_limit_is_told_apart(lines: int, found: int) -> None:
    source = "class A:\n    @property\n    async def f(self):\n" + "        await g()\n" * (lines - 1)
    assert len(too_long(ast.parse(source))) == found


def test_packages_are_the_four_and_hold_code() -> None:
    counts = {
        package: sum(name.startswith(f"{package}/") for name in modules())
        for package in ("core", "daemons", "trainer", "weaver")
    }
    assert min(counts.values()) >= 5, counts

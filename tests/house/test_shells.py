"""Only the three shells may catch anything: the daemon loop, the supervisor, and what wraps a request of web or oracle.

Everywhere else an unexpected error is to end the tick, the request or the process that met it, with its traceback.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.house.tree import modules, places

BLIND = {"Exception", "BaseException"}
SHELLS = {
    "daemons/harness/loop.py: Loop._tick": "the daemon loop: a tick that raises costs one unit of the error budget",
    "weaver/supervisor.py: Supervisor._apart": "the supervisor: what fails in a step is logged, and the next step tries again",
    "trainer/serve/worker.py: Worker._run": "the oracle: fails the requests that wait for its thread, then raises again",
}


def names(node: ast.expr | None) -> set[str]:
    """Give the names of the exceptions that a handler lists."""
    if node is None:
        return {"BaseException"}
    if isinstance(node, ast.Tuple):
        return set().union(*(names(item) for item in node.elts))
    return {node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""}


def blind(tree: ast.Module) -> Iterator[str]:
    """Give the functions that catch, or suppress, every exception there is."""
    for place, node in places(tree):
        is_handler = isinstance(node, ast.ExceptHandler) and names(node.type) & BLIND
        is_suppress = (
            isinstance(node, ast.Call) and names(node.func) == {"suppress"} and set().union(*map(names, node.args)) & BLIND
        )
        if is_handler or is_suppress:
            yield place


def test_only_the_shells_catch_everything() -> None:
    found = {f"{name}: {place}" for name, tree in modules().items() for place in blind(tree)}
    assert found - SHELLS.keys() == set(), "catch the errors you expect, by name"
    assert SHELLS.keys() - found == set(), "these shells are gone: take them off the list"


@pytest.mark.parametrize(
    "handler",
    [
        "except:",
        "except Exception:",
        "except BaseException as e:",
        "except (OSError, Exception):",
        "except builtins.Exception:",
    ],
)
def test_blind_handler_is_found(handler: str) -> None:
    assert list(blind(ast.parse(f"def f():\n try:\n  g()\n {handler}\n  raise"))) == ["f"]


@pytest.mark.parametrize(
    "body", ["with suppress(Exception):\n  g()", "with contextlib.suppress(OSError, BaseException):\n  g()"]
)
def test_blind_suppress_is_found(body: str) -> None:
    assert list(blind(ast.parse(f"class A:\n def f(self):\n  {body.replace('g()', ' g()')}"))) == ["A.f"]


def test_named_errors_are_no_finding() -> None:
    assert (
        list(blind(ast.parse("try:\n g()\nexcept (OSError, errors.InvalidConfig):\n pass\nwith suppress(KeyError):\n g()")))
        == []
    )

"""The checkout as the house tests see it: its modules parsed once, its tracked files, its functions with their names."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "daemons", "trainer", "weaver")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """Parse every module of the four packages; the key is its path relative to the checkout."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            found[path.relative_to(ROOT).as_posix()] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Give every function below a node as ("Class.method", node), nested ones included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield prefix + node.name, node
            yield from functions(node, f"{prefix}{node.name}.")
        else:
            yield from functions(node, f"{prefix}{node.name}." if isinstance(node, ast.ClassDef) else prefix)


def places(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Give every node with the name of the innermost function around it; "module" outside of all functions."""
    owners = {node: name for name, node in functions(tree)}

    def walk(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST]]:
        place = owners[node] if isinstance(node, Function) else place
        yield place, node
        for child in ast.iter_child_nodes(node):
            yield from walk(child, place)

    return walk(tree, "module")


@cache
def tracked() -> tuple[str, ...]:
    """Give the paths of all files that git tracks and that are there."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    return tuple(name for name in names if name and (ROOT / name).is_file())


def text_of(name: str) -> str:
    """Give the text of a tracked file; a binary one gives no text."""
    try:
        return (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""

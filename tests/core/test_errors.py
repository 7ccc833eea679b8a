"""The tree of errors: every one fills its message from its facts, and every place that raises one gives them all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from string import Formatter

import pytest

import core.errors
from core.errors import AlreadyExists, NotFound, WeaverError
from tests.house.tree import modules

# DESIGN.md section 9; 78 is the exit code of a program that is misconfigured (CONTRACTS.md section 12).
EXIT_CODES = {1, 2, 3, 4, 5, 6, 7, 8, 78, 124}


def subclasses(kind: type[WeaverError]) -> Iterator[type[WeaverError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from subclasses(inner)


KINDS = {kind.__name__: kind for kind in subclasses(WeaverError) if kind.__module__ == core.errors.__name__}


def facts_of(kind: type[WeaverError]) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(kind.__doc__ or "") if name}


class Fact(int):
    """A fact that is text, and a number where a message wants one (a mode, a port)."""

    def __str__(self) -> str:
        return f"<fact {int(self)}>"

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec else str(self)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_message_is_the_docstring_with_every_fact_and_facts_are_attributes(kind: type[WeaverError]) -> None:
    assert kind.__doc__, "a message of its own"
    facts = {name: Fact(number) for number, name in enumerate(sorted(facts_of(kind)), 100)}
    error = kind(**facts)
    assert all(getattr(error, name) is fact for name, fact in facts.items()) and error.facts == facts
    assert str(error) and "{" not in str(error)
    assert all(str(fact) in str(error) or f"{fact:o}" in str(error) or repr(fact) in str(error) for fact in facts.values())
    assert kind.exit_code in EXIT_CODES


def test_fact_with_braces_is_text_and_no_template() -> None:
    assert "{x} {0} {detail!r}" in str(WeaverError(detail="{x} {0} {detail!r}"))


@pytest.mark.parametrize("name", ["\udcff", "a\ud800b"])
def test_message_with_a_name_that_is_not_unicode_can_be_printed_and_recorded(name: str) -> None:
    for error in (AlreadyExists(path=name), NotFound(kind="drop", name=name, known=name)):
        assert str(error).encode() and "\\ud" in str(error)


def raised(tree: ast.Module) -> Iterator[tuple[int, type[WeaverError], set[str]]]:
    """Give line, kind and the facts given of every error of the tree that is made with keywords written out."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        given = {one.arg for one in node.keywords}
        if name in KINDS and None not in given:
            assert not node.args, f"line {node.lineno}: facts have names"
            yield node.lineno, KINDS[name], {arg for arg in given if arg}


def test_every_place_that_makes_an_error_gives_all_its_facts() -> None:
    found = [(f"{path}:{line}", kind, given) for path, tree in modules().items() for line, kind, given in raised(tree)]
    assert len(found) > 150
    missing = {f"{place} {kind.__name__}": facts_of(kind) - given for place, kind, given in found if facts_of(kind) - given}
    assert not missing, "a fact that the message names is not given: it would be a KeyError instead"
    assert {kind.__name__ for _, kind, _ in found} >= {"InvalidConfig", "NotFound", "IllegalMove", "Unavailable"}
    assert not {name for _, _, given in found for name in given} & {"args", "message", "facts", "exit_code", "with_traceback"}


def test_a_fact_that_is_not_given_is_found() -> None:
    [(line, kind, given)] = raised(ast.parse("x = 1\nraise NotFound(kind='job', name=x)"))
    assert line == 2 and facts_of(kind) - given == {"known"}

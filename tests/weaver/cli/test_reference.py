"""weaver/cli/REFERENCE.md is what the code says, and its table of exit codes is that of the errors."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import core
import weaver
from core.errors import WeaverError
from tests.weaver.cli.tree import verbs
from weaver.cli.reference import EXIT_CODES, reference

FILE = Path(weaver.__file__).parent / "cli" / "REFERENCE.md"


def test_reference_is_the_one_made_from_the_code() -> None:
    is_the_same = FILE.read_text(encoding="utf-8") == reference() + "\n"
    assert is_the_same, "run: python -m weaver.cli.reference > weaver/cli/REFERENCE.md"


def test_reference_names_every_verb_and_option() -> None:
    text = reference()
    for path, (command, _) in verbs().items():
        assert f"### weaver {path}\n" in text
        for param in command.params:
            assert all(word in text for word in param.opts), (path, param.opts)


def errors(kind: type[WeaverError] = WeaverError) -> Iterator[type[WeaverError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from errors(below)


def test_every_exit_code_of_an_error_is_explained_and_no_other() -> None:
    for package in (core, weaver):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "__main__" not in module.name:
                import_module(module.name)
    assert EXIT_CODES.keys() == {0, 130} | {error.exit_code for error in errors()}

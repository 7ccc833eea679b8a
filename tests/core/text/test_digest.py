"""The digest of a problem text."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from core.text.digest import problem_digest


@pytest.mark.parametrize(
    ("one", "other"),
    [("101 + 011", "  101\t+ \n011 "), ("caf\u00e9", "cafe\u0301"), ("a\u00a0b", "a b"), ("", " \n")],
)
def test_same_text_in_other_white_space_or_composition_has_one_digest(one: str, other: str) -> None:
    assert problem_digest(one) == problem_digest(other)


@pytest.mark.parametrize(("one", "other"), [("101 + 011", "101 + 01"), ("①⓪", "10"), ("ka lo", "kalo"), ("Ka", "ka")])
def test_other_text_has_another_digest(one: str, other: str) -> None:
    assert problem_digest(one) != problem_digest(other)


def test_digest_is_sha256_of_the_folded_text() -> None:
    assert problem_digest(" ka  lo ") == hashlib.sha256(b"ka lo").hexdigest()


def test_lone_surrogate_has_a_digest_too() -> None:
    assert len(problem_digest("\ud800")) == 64


def test_importing_it_imports_no_transformers() -> None:
    heavy = "('transformers', 'tokenizers', 'torch', 'numpy')"
    code = f"import sys, core.text.digest; sys.exit(any(name in sys.modules for name in {heavy}))"
    subprocess.run([sys.executable, "-c", code], check=True)

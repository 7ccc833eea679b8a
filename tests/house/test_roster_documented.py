"""The daemons that exist, those of the roster, those that were promised and those that the documents name are the same."""

from __future__ import annotations

import ast
import re

import pytest

from daemons.roster import ROSTER, load
from tests.house.tree import ROOT, modules
from weaver.desired import PROGRAMS

PROMISED = {
    "generate_data", "watch_inbox", "train_next", "probe_checkpoints", "rank_checkpoints", "deploy_best", "reclaim_stale",
    "prune_checkpoints", "send_notices",
}  # fmt: skip
NOT_DAEMONS = {"__init__", "__main__", "roster"}


def test_every_daemon_module_is_in_the_roster() -> None:
    top = [name.removeprefix("daemons/").removesuffix(".py") for name in modules() if name.startswith("daemons/")]
    assert {name for name in top if "/" not in name} - NOT_DAEMONS == ROSTER.keys()


def test_every_promised_daemon_is_in_the_roster() -> None:
    assert not PROMISED - ROSTER.keys()


def test_every_daemon_is_a_program_of_the_weaver() -> None:
    started = {program.argv[2]: program.name for program in PROGRAMS if program.argv and program.argv[1] == "daemons"}
    assert started == {name: name for name in ROSTER}


@pytest.mark.parametrize("name", sorted(ROSTER))
def test_daemon_has_its_name_and_says_what_it_reads_and_writes(name: str) -> None:
    daemon = load(name)
    assert daemon.name == name
    assert 0 < daemon.patience_s <= 3600 and 0 <= daemon.nice <= 19 and daemon.every
    module, _, kind = ROSTER[name].partition(":")
    tree = modules()[f"{module.replace('.', '/')}.py"]
    docs = [ast.get_docstring(node) for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind]
    assert docs and docs[0] and ast.get_docstring(tree)


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md"])
def test_document_names_every_daemon(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert not {name for name in ROSTER if not re.search(rf"\b{name}\b", text)}

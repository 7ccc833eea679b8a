"""config/README.md describes every key that people can write: with its default, and none that does not exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

import msgspec
import pytest
import yaml

from core.config import EvalsConfig, SkillConfig, TrainingConfig, WeaverConfig
from core.config_files import load
from core.hosts import Hosts
from core.paths import Paths
from tests.house.tree import ROOT, modules

README = ROOT / "config" / "README.md"
SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "weaver.yaml": WeaverConfig,
    "training.yaml": TrainingConfig,
    "evals.yaml": EvalsConfig,
    r"skills/\<skill\>.yaml": SkillConfig,
    "hosts.json": Hosts,
}
REQUIRED = "required"
NAMES = {"models": "models.<name>", "hosts": "hosts.<id>", "hosts.<id>.services": "hosts.<id>.services.<name>"}
UNREAD = {
    "precision": "has one valid value; the check of the file is all that it needs",
    "hosts.<id>.models_dir": "for two hosts; its meaning says that it is not used yet",
    "hosts.<id>.ssh": "for two hosts; its meaning says that it is not used yet",
    "hosts.<id>.ssh.user": "as ssh",
}


def documented(section: str) -> dict[str, Any]:
    """Read the table below a heading of config/README.md: key -> default, parsed as YAML."""
    text = README.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    rows = [re.fullmatch(r"\| `([^`]+)` \| `([^`]+)` \|[^|]*\|[^|]+\|", line) for line in lines]
    assert lines and all(rows), f"{section} has rows that are not | `key` | `default` | unit | meaning |"
    return {row[1]: yaml.safe_load(row[2]) for row in rows if row}


def keys(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give every key that a person can write below a section, dotted, with its default as plain YAML types."""
    for field in msgspec.structs.fields(kind):
        name = prefix + field.encode_name
        inner = [part for part in (field.type, *get_args(field.type)) if _is_struct(part)]
        if get_origin(field.type) is dict and inner:
            yield from keys(inner[0], f"{NAMES[name]}.")
            continue
        if field.type not in inner:
            yield name, REQUIRED if field.required else msgspec.to_builtins(field.default)
        if inner:
            yield from keys(inner[0], f"{name}.")


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_with_its_default(section: str) -> None:
    plain = {key: list(default) if isinstance(default, tuple) else default for key, default in keys(SECTIONS[section])}
    assert documented(section) == plain


def test_every_file_that_is_shipped_is_valid_and_says_the_defaults() -> None:
    config = load(Paths(ROOT), environ={})
    assert (config.weaver, config.training, config.evals) == (WeaverConfig(), TrainingConfig(), EvalsConfig())
    assert config.skills and set(config.skills.values()) == {SkillConfig()}


def test_every_key_is_read_by_some_program() -> None:
    read = {node.attr for tree in modules().values() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    unread = {key for section in SECTIONS.values() for key, _ in keys(section) if key.rpartition(".")[2] not in read}
    assert unread == UNREAD.keys(), "a key without effect is a lie: read it or take it away"

"""The configuration: what the environment overrides, and errors that name file, variable and key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.config import load
from core.errors import InvalidConfig
from core.paths import Paths
from tests.house.tree import ROOT


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("local"))
    return Paths(tmp_path)


def test_environment_goes_before_every_file(paths: Paths) -> None:
    (paths.config / "weaver.yaml").write_text("queue: {retries: 9}\n")
    environ = {
        "WEAVER__QUEUE__RETRIES": "5", "WEAVER__MODELS__TINY__MAX_LENGTH": "77", "WEAVER__TRAINING__OPTIMIZER__LR": "0.5",
        "WEAVER__EVALS__PROOF_EVERY_S": "60", "WEAVER__SKILLS__BINARY__TARGET_LEVEL": "2",
        "WEAVER__MODELS__TINY__BASE": "builtin:tiny-qwen3",
    }  # fmt: skip
    config = load(paths, environ)
    assert (config.weaver.queue.retries, config.weaver.models["tiny"].max_length) == (5, 77)
    assert (config.training.optimizer.lr, config.evals.proof_every_s) == (0.5, 60)
    assert (config.skills["binary"].target_level, config.skills["syllables"].target_level) == (2, 3)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("WEAVER__QUEU__RETRIES", "5", "unknown key queu; did you mean 'queue'"),
        ("WEAVER__QUEUE__RETRIES", "[", "is not YAML"),
        ("WEAVER__QUEUE__RETRIES", "often", "Expected `int`"),
        ("WEAVER__SKILLS__BINARY", "5", "expected keys and values"),
        ("WEAVER__SKILLS__BINARY__TARGET", "5", "did you mean 'target_level'"),
        ("WEAVER__MODEL__NAME", "5", "model holds no keys"),
    ],
)
def test_bad_variable_is_an_error_that_names_it(paths: Paths, variable: str, value: str, said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(paths, {variable: value})
    assert caught.value.exit_code == 6
    assert variable in str(caught.value) and said in str(caught.value)


def test_unknown_key_of_a_file_names_the_file_and_the_nearest_key(paths: Paths) -> None:
    (paths.config / "skills" / "binary.yaml").write_text("wieght: 2\n")
    with pytest.raises(InvalidConfig, match=r"skills: binary: unknown key wieght; did you mean 'weight'"):
        load(paths, {})

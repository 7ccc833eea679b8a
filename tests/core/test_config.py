"""The configuration: what the environment overrides, and errors that name file, variable and key."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from core.config import Config, SkillConfig
from core.config_files import fingerprint, load
from core.errors import InvalidConfig
from core.paths import Paths
from core.skills.registry import enabled
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
        ("WEAVER__QUEU__RETRIES", "5", "unknown key queu; did you mean 'WEAVER__QUEUE__RETRIES'"),
        ("WEAVER__QUEUE__RETRIES", "[", "is not YAML"),
        ("WEAVER__QUEUE__RETRIES", "often", "Expected `int`"),
        ("WEAVER__SKILLS__BINARY", "5", "expected keys and values"),
        ("WEAVER__SKILLS__BINARY__TARGET", "5", "did you mean 'WEAVER__SKILLS__BINARY__TARGET_LEVEL'"),
        ("WEAVER__MODEL__NAME", "5", "model holds no keys"),
        ("WEAVER__MODEL", "", "got `null`"),
        ("WEAVER__MODEL", "huge", "model: 'huge' is not under models; valid: tiny"),
        ("WEAVER__MODELS__TINY__BASE", "builtin:tiny", "the only builtin is builtin:tiny-qwen3"),
        ("WEAVER__MODELS__TINY__BSE", "x", "models.tiny.bse; did you mean 'WEAVER__MODELS__TINY__BASE'"),
        ("WEAVER__GENERATION", "5", "generation: expected keys and values, got 5"),
        ("WEAVER__TRAINING__OPTIMIZER__LR", ".nan", "no finite number"),
        ("WEAVER__TRAINING", "5", "unknown key training"),
        ("WEAVER__", "5", "unknown key"),
        ("WEAVER__TRAINING__", "5", "unknown key"),
    ],
)
def test_bad_variable_is_an_error_that_names_it(paths: Paths, variable: str, value: str, said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(paths, {variable: value})
    assert caught.value.exit_code == 6
    assert variable in str(caught.value) and said in str(caught.value)


def test_unknown_key_of_a_file_names_the_file_and_the_nearest_key(paths: Paths) -> None:
    (paths.config / "skills" / "binary.yaml").write_text("wieght: 2\n")
    with pytest.raises(
        InvalidConfig, match=r"config/skills/binary\.yaml:1: unknown key skills\.binary\.wieght; did you mean 'weight'"
    ):
        load(paths, {})


def put(paths: Paths, name: str, text: str) -> None:
    (paths.config / name).write_text(text)


def refusal(paths: Paths) -> str:
    with pytest.raises(InvalidConfig) as caught:
        load(paths, {})
    assert caught.value.exit_code == 6
    return str(caught.value)


def test_missing_and_empty_files_mean_the_defaults(tmp_path: Path) -> None:
    bare = Paths(tmp_path)
    assert load(bare, {}) == Config()
    (bare.config / "skills").mkdir(parents=True)
    for name in ("weaver.yaml", "training.yaml", "evals.yaml", "skills/binary.yaml"):
        put(bare, name, "# nothing yet\n")
    assert load(bare, {}) == Config(skills={"binary": SkillConfig()})


@pytest.mark.parametrize(("text", "generates"), [("false", False), ("true", True), ("null", True)])
def test_generation_is_switched_by_the_environment(paths: Paths, text: str, generates: bool) -> None:
    assert load(paths, {"WEAVER__GENERATION__ENABLED": text}).generates("tiny") is generates


def test_generation_is_off_for_a_base_that_is_not_builtin_until_a_person_turns_it_on(paths: Paths, tmp_path: Path) -> None:
    base = tmp_path / "a base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    environ = {"WEAVER__MODELS__TINY__BASE": str(base)}
    assert not load(paths, environ).generates("tiny")
    assert load(paths, {**environ, "WEAVER__GENERATION__ENABLED": "true"}).generates("tiny")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("weaver.yaml", "modle: tiny", "unknown key modle; did you mean 'model'"),
        ("weaver.yaml", "intake: {setle_s: 1}", "unknown key intake.setle_s; did you mean 'settle_s'"),
        ("weaver.yaml", "models: {tiny: {bases: x}}", "unknown key models.tiny.bases; did you mean 'base'"),
        ("weaver.yaml", "zzz: 1", "valid keys: checkpoints, disk, generation"),
        ("weaver.yaml", "5: 1", "unknown key 5"),
        ("weaver.yaml", "models: {tiny: {max_length: 5}}", "models.tiny.base: is missing; valid: text"),
        ("weaver.yaml", "models: {Tiny: {base: builtin:tiny-qwen3}}\nmodel: Tiny", "'Tiny' is no name"),
        ("weaver.yaml", "models: {../x: {base: builtin:tiny-qwen3}}\nmodel: ../x", "'../x' is no name"),
        ("weaver.yaml", "model: other", "model: 'other' is not under models; valid: tiny"),
        ("weaver.yaml", "models: {tiny: {base: builtin:huge}}", "the only builtin is builtin:tiny-qwen3"),
        ("weaver.yaml", "queue: {retries: often}", "queue.retries: Expected `int`, got `str`; valid: a whole number >= 0"),
        ("weaver.yaml", "queue: {retries: 1.5}", "Expected `int`, got `float`"),
        ("weaver.yaml", "queue: {retries: true}", "Expected `int`, got `bool`"),
        ("weaver.yaml", "queue: {retries: -1}", "`int` >= 0"),
        ("weaver.yaml", "queue: 3", "queue: expected keys and values, got 3"),
        ("weaver.yaml", "queue:", "queue: expected keys and values, got null"),
        ("weaver.yaml", "sharing: {threads: 0}", "`int` >= 1"),
        ("weaver.yaml", "sharing: {threads: many}", "many"),
        ("weaver.yaml", "intake: {reject_share: 1.5}", "`float` <= 1"),
        ("weaver.yaml", "disk: {floor_gb: .inf}", "no finite number"),
        ("weaver.yaml", "model: tiny\nmodel: tiny", "model appears twice"),
        ("weaver.yaml", "model: [", "is not YAML"),
        ("weaver.yaml", "- model", "expected keys and values, got ['model']"),
        ("weaver.yaml", "!!python/object/apply:os.getpid []", "is not YAML"),
        ("training.yaml", "optimizer: {type: muon}", "optimizer.type: Invalid enum value 'muon'; valid: adamw"),
        ("training.yaml", "optimizer: {lr: 0}", "`float` > 0"),
        ("training.yaml", "optimizer: {betas: [0.9, 1.0]}", "`float` < 1"),
        ("training.yaml", "optimizer: {lr: 0.1}\nepochs: 2\noptimizer: {weight_decay: 0}", "optimizer appears twice"),
        ("training.yaml", "epochs: 0", "`int` >= 1"),
        ("training.yaml", "packing: maybe", "'maybe'; valid: auto, on, off"),
        ("training.yaml", "profile: {name: emoji}", "'emoji'"),
        ("evals.yaml", "significance: .nan", "no finite number"),
        ("skills/binary.yaml", "target_level: 0", "`int` >= 1"),
        ("skills/binary.yaml", "weight: -1", "`float` >= 0"),
    ],
)
def test_bad_file_is_an_error_that_names_it_and_the_key(paths: Paths, name: str, text: str, said: str) -> None:
    put(paths, name, text)
    message = refusal(paths)
    assert said in message
    assert message.startswith(f"config/{name}:")


def test_file_that_is_not_utf8_or_cannot_be_read_is_an_error_that_names_it(paths: Paths) -> None:
    (paths.config / "evals.yaml").write_bytes(b"significance: 0.05 # \xff")
    assert "evals.yaml" in refusal(paths)
    (paths.config / "evals.yaml").unlink()
    (paths.config / "evals.yaml").mkdir()
    assert "evals.yaml" in refusal(paths) and "directory" in refusal(paths)


@pytest.mark.parametrize("setting", ["auto", "on", "off"])
def test_packing_is_set_by_the_words_that_the_documentation_names(paths: Paths, setting: str) -> None:
    put(paths, "training.yaml", f"packing: {setting}\n")
    assert load(paths, {}).training.packing == setting


@pytest.mark.parametrize("text", ["2e-3", "2.0e-3", "0.002", "20e-4"])
def test_learning_rate_is_read_as_people_write_it(paths: Paths, text: str) -> None:
    put(paths, "training.yaml", f"optimizer: {{lr: {text}}}\n")
    assert load(paths, {}).training.optimizer.lr == 0.002
    assert load(paths, {"WEAVER__TRAINING__OPTIMIZER__LR": text}).training.optimizer.lr == 0.002


def test_merged_mappings_may_repeat_keys_of_what_they_merge(paths: Paths) -> None:
    put(
        paths,
        "weaver.yaml",
        "models:\n  tiny: &t {base: 'builtin:tiny-qwen3', max_length: 5}\n  more: {<<: *t, max_length: 6}\n",
    )
    models = load(paths, {}).weaver.models
    assert {name: model.max_length for name, model in models.items()} == {"tiny": 5, "more": 6}


def test_configured_skill_that_does_not_exist_is_refused_by_name(paths: Paths) -> None:
    put(paths, "skills/juggling.yaml", "target_level: 1\n")
    with pytest.raises(InvalidConfig, match=r"config/skills/juggling\.yaml: there is no skill 'juggling'; known: binary, syll"):
        enabled(load(paths, {}).skills)


def test_files_of_an_editor_beside_the_configuration_are_no_configuration(paths: Paths) -> None:
    before = load(paths, {})
    (paths.config / "skills" / ".#binary.yaml").symlink_to("anna@box.4711:1700000000")
    (paths.config / ".#weaver.yaml").symlink_to("anna@box.4711:1700000000")
    (paths.config / "skills" / ".binary.yaml.swp").write_bytes(b"\0\1")
    assert load(paths, {}) == before
    assert fingerprint(paths) == fingerprint(paths)


def test_fingerprint_changes_with_every_file_that_people_write_and_with_no_other(paths: Paths) -> None:
    marks = [fingerprint(paths)]

    def changed() -> bool:
        marks.append(fingerprint(paths))
        return marks[-1] not in marks[:-1]

    assert not changed()
    put(paths, "weaver.yaml", "model: tiny\n")
    assert changed()
    put(paths, "skills/binary.yaml", "target_level: 2\n")
    assert changed()
    os.utime(paths.config / "hosts.json", ns=(1, 1))
    assert changed()
    (paths.config / "evals.yaml").unlink()
    assert changed()
    put(paths, "suites/new@1.json", "{}")
    assert changed()
    elsewhere = paths.home / "elsewhere.yaml"
    elsewhere.write_text("significance: 0.05\n")
    (paths.config / "evals.yaml").symlink_to(elsewhere)
    assert changed()
    elsewhere.write_text("significance: 0.01\n")
    assert changed()
    paths.tokens.mkdir(parents=True)
    (paths.tokens / "web").write_text("a key")
    paths.desired.write_text("{}")
    assert not changed()

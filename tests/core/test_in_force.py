"""The configuration in force: one whole good set, over restarts, and what is said of a bad one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from core.errors import InvalidConfig
from core.files import replace_durable
from core.in_force import Following, judge, keep, read_in_force
from core.locked import ModelFacts
from core.paths import Paths, find_home
from core.records import encode_pretty
from tests.fakes import make_home

FILES = ("hosts.json", "weaver.yaml", "training.yaml", "evals.yaml", "skills/binary.yaml")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path)


def put(paths: Paths, name: str, text: str) -> None:
    (paths.config / name).write_text(text)


def kept(paths: Paths) -> Paths:
    """Keep a good set, as the Weaver does, whose values are none of the defaults."""
    put(paths, "weaver.yaml", "queue: {retries: 7}\n")
    put(paths, "training.yaml", "epochs: 3\n")
    keep(paths, read_in_force(paths, {}))
    return paths


def facts(paths: Paths, base: str = "builtin:tiny-qwen3", context: int = 1024) -> None:
    paths.model("tiny").root.mkdir(parents=True, exist_ok=True)
    record = ModelFacts(
        name="tiny", base=base, architecture="Qwen3ForCausalLM", context_length=context, vocab_size=320, tokenizer_sha256="0",
        base_sha256="0", created_at="2026-11-21T04:00:00.000Z",
    )  # fmt: skip
    replace_durable(paths.model("tiny").facts, encode_pretty(record))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", ["zzz: 1\n", "[", '{"schema": "weaver.hosts/1", "hosts": {}}', "\0"])
def test_bad_file_leaves_the_whole_last_good_set_in_force(paths: Paths, name: str, text: str) -> None:
    kept(paths)
    put(paths, "evals.yaml", "significance: 0.01\n")  # good, but newer than the set: not in force while another file is bad
    put(paths, name, text)
    now = read_in_force(paths, {})
    assert (now.config.weaver.queue.retries, now.config.training.epochs, now.config.evals.significance) == (7, 3, 0.05)
    assert now.here == "local" and set(now.config.skills) == {"binary", "syllables"}
    status = now.status()
    assert status.state == "refused" and status.where is not None and status.where.startswith(f"config/{name}")
    assert status.since is not None and status.in_force_at is not None and status.reason
    assert f"config/{name}" in now.problem and status.since[:19] in now.problem and status.in_force_at[:19] in now.problem


def test_missing_hosts_file_is_refused_and_the_home_is_still_one(paths: Paths) -> None:
    kept(paths)
    (paths.config / "hosts.json").unlink()
    assert find_home({"WEAVER_HOME": str(paths.home)}, Path("/"))[0] == paths.home
    now = read_in_force(paths, {})
    assert now.here == "local" and now.status().where == "config/hosts.json"


@pytest.mark.parametrize("name", FILES)
def test_without_any_good_set_a_bad_file_is_an_error(paths: Paths, name: str) -> None:
    put(paths, name, "[")
    with pytest.raises(InvalidConfig, match=name) as caught:
        read_in_force(paths, {})
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "text", ["", "{", '{"schema": "weaver.in-force/9"}', '{"schema": "weaver.in-force/1", "at": "", "files": {}}']
)
def test_damaged_copy_is_as_none(paths: Paths, text: str) -> None:
    paths.in_force.write_text(text)
    assert read_in_force(paths, {}).refusal is None
    put(paths, "weaver.yaml", "[")
    with pytest.raises(InvalidConfig, match=r"weaver\.yaml"):
        read_in_force(paths, {})


def test_mended_file_is_in_force_at_once_and_nothing_is_left_of_the_bad_one(paths: Paths) -> None:
    kept(paths)
    put(paths, "weaver.yaml", "quue: {retries: 9}\n")
    assert read_in_force(paths, {}).config.weaver.queue.retries == 7
    put(paths, "weaver.yaml", "queue: {retries: 9}\n")
    now = read_in_force(paths, {})
    assert (now.config.weaver.queue.retries, now.problem, now.status().state) == (9, "", "good")


def test_copy_holds_no_keys_and_only_its_owner_may_read_it(paths: Paths) -> None:
    (paths.tokens / "web").write_text("a secret key")
    kept(paths)
    assert "a secret key" not in paths.in_force.read_text()
    assert paths.in_force.stat().st_mode & 0o777 == 0o600 and paths.local.stat().st_mode & 0o777 == 0o700
    assert set(json.loads(paths.in_force.read_text())["files"]) == {*FILES, "skills/syllables.yaml"}


def test_refused_set_is_never_kept(paths: Paths) -> None:
    kept(paths)
    before = paths.in_force.read_bytes()
    put(paths, "weaver.yaml", "[")
    keep(paths, read_in_force(paths, {}))
    assert paths.in_force.read_bytes() == before


def test_bad_variable_is_an_error_whatever_was_kept(paths: Paths) -> None:
    kept(paths)
    with pytest.raises(InvalidConfig, match=r"WEAVER__QUEUE__RETRYS: .* did you mean 'WEAVER__QUEUE__RETRIES'"):
        read_in_force(paths, {"WEAVER__QUEUE__RETRYS": "1"})
    with pytest.raises(InvalidConfig, match=r"WEAVER_HOST: 'nobody' is not in hosts\.json"):
        read_in_force(paths, {"WEAVER_HOST": "nobody"})


def test_every_fault_of_every_file_is_found_with_its_line(paths: Paths) -> None:
    put(paths, "weaver.yaml", "quue: {}\nintake:\n  scan_s: zero\n  setle_s: 1\n")
    put(paths, "training.yaml", "[")
    put(paths, "skills/binary.yaml", "target_level: 99\n")
    put(
        paths,
        "hosts.json",
        '{"schema": "weaver.hosts/1",\n "hosts": {"local": {"address": "x", "roles": ["trainr"], "services": {}}}}',
    )
    good, _, faults = judge(paths, {"WEAVER__EVALS__SIGNIFICANC": "1"})
    assert good is None
    found = {(fault.where, fault.key, fault.suggestion) for fault in faults}
    assert found == {
        ("config/weaver.yaml:1", "quue", "queue"),
        ("config/weaver.yaml:3", "intake.scan_s", None),
        ("config/weaver.yaml:4", "intake.setle_s", "settle_s"),
        ("config/training.yaml", None, None),
        ("config/skills/binary.yaml:1", "skills.binary.target_level", None),
        ("config/hosts.json:2", "hosts.local.roles", "trainer"),
        ("WEAVER__EVALS__SIGNIFICANC", "evals.significanc", "WEAVER__EVALS__SIGNIFICANCE"),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {tiny: {base: /nowhere/at/all}}", "no local model folder"),
        ("models: {tiny: {base: hf:Qwen/Qwen3-0.6B}}", "no local model folder"),
        ("notify: {urls: [hooks.example.com]}", "is no URL"),
    ],
)
def test_what_the_machine_lacks_is_refused(paths: Paths, text: str, said: str) -> None:
    put(paths, "weaver.yaml", text)
    with pytest.raises(InvalidConfig, match=said):
        read_in_force(paths, {})


def test_unknown_skill_is_refused_by_name(paths: Paths) -> None:
    put(paths, "skills/juggling.yaml", "target_level: 1\n")
    with pytest.raises(InvalidConfig, match=r"config/skills/juggling\.yaml: .*there is no skill 'juggling'; known: binary, "):
        read_in_force(paths, {})


@pytest.mark.parametrize("is_variable", [False, True])
def test_base_of_a_model_that_exists_is_locked_and_both_are_named(paths: Paths, tmp_path: Path, is_variable: bool) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    facts(paths)
    environ = {"WEAVER__MODELS__TINY__BASE": str(other)} if is_variable else {}
    if not is_variable:
        put(paths, "weaver.yaml", f"models: {{tiny: {{base: {other}}}}}\n")
    with pytest.raises(InvalidConfig) as caught:
        read_in_force(paths, environ)
    assert str(other) in str(caught.value) and "builtin:tiny-qwen3" in str(caught.value) and "locked" in str(caught.value)
    assert ("WEAVER__MODELS__TINY__BASE" if is_variable else "config/weaver.yaml:1") in str(caught.value)


def test_context_of_a_model_that_exists_is_locked(paths: Paths) -> None:
    facts(paths, context=512)
    put(paths, "weaver.yaml", "models: {tiny: {base: 'builtin:tiny-qwen3', max_length: 513}}\n")
    with pytest.raises(InvalidConfig, match=r"max_length: is 513; the model's context, 512, is locked; valid: 1 to 512"):
        read_in_force(paths, {})


def test_folder_of_a_base_may_go_once_its_model_exists(paths: Paths) -> None:
    put(paths, "weaver.yaml", "models: {tiny: {base: /gone/meanwhile}}\n")
    facts(paths, base="/gone/meanwhile")
    assert read_in_force(paths, {}).problem == ""


def test_program_that_missed_a_good_set_takes_what_the_weaver_kept_of_it(paths: Paths) -> None:
    following = Following(paths, {})
    assert not following.look(0.0)
    kept(paths)
    put(paths, "evals.yaml", "[")
    assert not following.look(2.0) and following.look(4.0)
    assert following.now.config.weaver.queue.retries == 7 and "config/evals.yaml" in following.now.problem


def test_following_takes_a_change_that_stands_still_and_no_bad_one(paths: Paths) -> None:
    following, seconds = Following(paths, {}), 0.0

    def look() -> bool:
        nonlocal seconds
        seconds += 2.0
        return following.look(seconds)

    assert not look()
    put(paths, "weaver.yaml", "queue: {retries: 5}\n")
    assert not look(), "it may still be being written"
    put(paths, "weaver.yaml", "queue: {retries: 55}\n")
    assert not look(), "it was"
    assert look() and following.now.config.weaver.queue.retries == 55
    put(paths, "weaver.yaml", "queue: {retries: many}\n")
    assert not look() and following.now.problem == ""
    assert not look() and "many" not in following.now.problem and "queue.retries" in following.now.problem
    assert following.now.config.weaver.queue.retries == 55
    put(paths, "weaver.yaml", "queue: {retries: 6}\n")
    os.utime(paths.config / "weaver.yaml", ns=(1, 1))  # as an old copy that is put back
    assert not look() and look()
    assert following.now.problem == "" and following.now.config.weaver.queue.retries == 6
    assert not following.look(seconds + 1.9), "it is not looked at more often than every two seconds"

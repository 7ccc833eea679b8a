"""weaver config, as a person types it: what is in force and why, every fault at once, a schema for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs  # comes with schemathesis
import pytest
import yaml

from core.in_force import keep, read_in_force
from core.paths import Paths
from tests.core.home_files import healthy, make_home
from tests.weaver.cli.command import weaver


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path / "home")


def put(paths: Paths, name: str, text: str) -> None:
    (paths.config / name).write_text(text)


def shown(paths: Paths, *arguments: str, **environ: str) -> dict[str, dict[str, Any]]:
    done = weaver(paths.home, "config", "show", "--json", *arguments, **environ)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema"] == "weaver.config/1"
    return {one["key"]: one for one in answer["settings"]}


def test_show_says_of_each_value_where_it_came_from(paths: Paths) -> None:
    put(paths, "weaver.yaml", "# mine\nqueue: {retries: 9}\ndisk:\n  floor_gb: 1\n")
    environ = {"WEAVER__TRAINING__OPTIMIZER__LR": "0.5", "WEAVER_WEB_PORT": "0"}
    lines = weaver(paths.home, "config", "show", "--origin", **environ).stdout.splitlines()
    assert "queue.retries: 9   # config/weaver.yaml:2" in lines
    assert "disk.floor_gb: 1.0   # config/weaver.yaml:4" in lines
    assert "intake.scan_s: 2.0   # default" in lines
    assert "training.optimizer.lr: 0.5   # WEAVER__TRAINING__OPTIMIZER__LR" in lines
    assert "hosts.local.services.web.port: 0   # WEAVER_WEB_PORT" in lines
    found = shown(paths, **environ)
    assert found["training.optimizer.lr"] | {"line": 0} == {
        "key": "training.optimizer.lr", "value": 0.5, "origin": "environment", "file": None, "line": 0,
        "variable": "WEAVER__TRAINING__OPTIMIZER__LR",
    }  # fmt: skip
    assert (found["queue.retries"]["origin"], found["queue.retries"]["line"]) == ("file", 2)
    assert found["models.tiny.base"]["origin"] == "default"


def test_show_takes_a_key_or_the_beginning_of_some(paths: Paths) -> None:
    assert weaver(paths.home, "config", "show", "queue.retries").stdout == "queue.retries: 3\n"
    assert weaver(paths.home, "config", "show", "weaver.queue.retries").stdout == "queue.retries: 3\n"
    assert set(shown(paths, "training.optimizer")) == {
        f"training.optimizer.{key}" for key in ("type", "lr", "betas", "weight_decay")
    }
    done = weaver(paths.home, "config", "show", "queue.retrys")
    assert done.returncode == 5 and "queue.retries" in done.stderr


def test_show_masks_the_secrets_of_notices(paths: Paths) -> None:
    put(paths, "weaver.yaml", "notify: {urls: ['https://anna:pass@hooks.example.com/T0KEN', 'tgram://T0KEN/1']}\n")
    for arguments in (["--origin"], ["--json"]):
        done = weaver(paths.home, "config", "show", *arguments)
        assert "https://hooks.example.com/..." in done.stdout
        assert "T0KEN" not in done.stdout + done.stderr and "pass" not in done.stdout


def test_show_of_a_broken_file_gives_what_is_in_force(paths: Paths) -> None:
    put(paths, "weaver.yaml", "queue: {retries: 7}\n")
    keep(paths, read_in_force(paths, {}))
    put(paths, "weaver.yaml", "queue: {retries: many}\n")
    done = weaver(paths.home, "config", "show", "queue")
    assert (done.returncode, done.stdout) == (0, "queue.retries: 7\n")
    assert "config/weaver.yaml:1" in done.stderr and "Refused since" in done.stderr
    answer = json.loads(weaver(paths.home, "config", "show", "--json").stdout)
    assert answer["config"]["state"] == "refused" and answer["config"]["where"] == "config/weaver.yaml:1"


def test_validate_names_every_fault_at_once_and_exits_6(paths: Paths) -> None:
    put(paths, "weaver.yaml", "quue: {}\nintake: {scan_s: 0}\n")
    put(paths, "skills/binary.yaml", "target_level: 99\n")
    put(paths, "skills/juggling.yml", "")
    done = weaver(paths.home, "config", "validate", WEAVER__QUEUE__RETRYS="1")
    assert done.returncode == 6
    assert done.stdout.splitlines() == [
        "config/weaver.yaml:1: unknown key quue; did you mean 'queue'?",
        "config/weaver.yaml:2: intake.scan_s: Expected `float` > 0.0; valid: a number > 0",
        "WEAVER__QUEUE__RETRYS: unknown key queue.retrys; did you mean 'WEAVER__QUEUE__RETRIES'?",
        "config/skills/binary.yaml:1: skills.binary.target_level: 99 is no level of it; valid: 1, 2, 3, 4, 5, 6, 7",
        "config/skills/juggling.yml: is read by nobody; did you mean 'config/skills/juggling.yaml'?",
    ]
    answer = json.loads(weaver(paths.home, "config", "validate", "--json").stdout)
    assert (answer["schema"], answer["ok"], len(answer["faults"])) == ("weaver.config-check/1", False, 4)


def test_validate_of_good_files_is_0(paths: Paths) -> None:
    done = weaver(paths.home, "config", "validate")
    assert (done.returncode, done.stdout) == (0, "") and "weaver.yaml" in done.stderr
    assert json.loads(weaver(paths.home, "config", "validate", "--json").stdout)["ok"] is True


def test_validate_asks_apprise_about_its_urls_and_keeps_the_secret(paths: Paths) -> None:
    put(paths, "weaver.yaml", "notify: {urls: ['nosuchservice://T0KEN']}\n")
    done = weaver(paths.home, "config", "validate")
    assert done.returncode == 6 and "no URL that apprise knows" in done.stdout
    assert "T0KEN" not in done.stdout + done.stderr


def test_damaged_suite_is_a_fault(paths: Paths) -> None:
    (paths.suites).mkdir(exist_ok=True)
    put(paths, "suites/binary-1@1.json", "{")
    assert weaver(paths.home, "config", "validate").returncode == 6


@pytest.mark.parametrize("file", ["weaver.yaml", "training.yaml", "evals.yaml", "skills", "hosts.json", "sidecar"])
def test_schema_of_every_file_is_json_schema(tmp_path: Path, file: str) -> None:
    done = weaver(tmp_path / "nowhere", "config", "schema", file)
    assert done.returncode == 0, "it needs no home"
    schema = json.loads(done.stdout)
    assert "$defs" in schema
    everything = json.loads(weaver(tmp_path / "nowhere", "config", "schema").stdout)
    assert everything["schema"] == "weaver.config-schema/1" and everything["files"][file] == schema


def test_schema_tells_the_shipped_file_from_a_wrong_one(paths: Paths) -> None:
    schema = json.loads(weaver(paths.home, "config", "schema", "weaver.yaml").stdout)
    good = yaml.safe_load((paths.config / "weaver.yaml").read_text())
    assert jsonschema_rs.is_valid(schema, good)
    wrong: list[dict[str, Any]] = [{"quue": {}}, {"queue": {"retries": -1}}, {"models": {"x": {}}}]
    for bad in wrong:
        assert not jsonschema_rs.is_valid(schema, bad)


def test_schema_of_an_unknown_file_is_5(paths: Paths) -> None:
    done = weaver(paths.home, "config", "schema", "weaver.yml")
    assert done.returncode == 5 and "weaver.yaml" in done.stderr


def test_status_says_what_is_refused_since_when_and_what_is_in_force(paths: Paths) -> None:
    keep(paths, read_in_force(paths, {}))
    healthy(paths, "oracle", "web")
    good = json.loads(weaver(paths.home, "status", "--json").stdout)["config"]
    assert (good["state"], good["where"], good["reason"], good["since"]) == ("good", None, None, None) and good["in_force_at"]
    put(paths, "weaver.yaml", "quue: {retries: 3}\n")
    done = weaver(paths.home, "status")
    assert done.returncode == 0, "everything runs as it was told to last: a restart would mend nothing"
    text = " ".join(done.stdout.split())
    assert "problem config/weaver.yaml:1: unknown key quue; did you mean 'queue'?" in text
    assert "Refused since 20" in text and "in force: the files of 20" in text
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    bad = json.loads(weaver(paths.home, "status", "--json").stdout)["config"]
    assert (bad["state"], bad["where"]) == ("refused", "config/weaver.yaml:1") and bad["since"] and bad["in_force_at"]

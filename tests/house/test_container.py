"""The container files, by their text: what is built, as whom it runs, how it is asked and stopped. Docker is not started."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from core.config_files import compose as judge
from core.paths import Paths
from tests.fakes import home_environment, make_home
from tests.house.tree import ROOT
from weaver.systemd import longest_stop_s

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVICE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["weaver"]


def steps(word: str) -> list[str]:
    """Give the arguments of every instruction of the Dockerfile with this word, continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.split(None, 1)[1] for line in joined.splitlines() if line.startswith(f"{word} ")]


def test_image_is_pinned_and_is_built_by_the_projects_own_installer_as_no_root() -> None:
    assert steps("FROM") == ["python:3.11-slim"]
    assert steps("USER") == ["weaver"] and DOCKERFILE.index("USER weaver") < DOCKERFILE.index("install.sh")
    assert any(run.rstrip().endswith("./scripts/install.sh") for run in steps("RUN"))


def test_everything_that_is_installed_is_copied_and_nothing_private() -> None:
    copied = {name for copy in steps("COPY") for name in copy.split()[1:-1]}
    assert all((ROOT / name).exists() for name in copied)
    assert {"core", "daemons", "trainer", "weaver", "config", "scripts", "pyproject.toml", "constraints.txt"} <= copied
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*" and {line[1:] for line in ignored if line.startswith("!")} == copied
    assert "config/local" in ignored, "keys never go into an image"


def test_compose_has_an_init_a_health_check_a_volume_and_time_to_save() -> None:
    assert SERVICE["init"] is True and SERVICE["restart"] == "unless-stopped"
    assert SERVICE["healthcheck"]["test"] == ["CMD", "weaver", "status"]
    assert json.loads(steps("HEALTHCHECK")[0].partition("CMD ")[2]) == ["weaver", "status"]
    (volume,) = SERVICE["volumes"]
    home = volume.partition(":")[2]
    assert f"WEAVER_HOME={home}" in DOCKERFILE and steps("VOLUME") == [home]
    assert int(SERVICE["stop_grace_period"].removesuffix("s")) > longest_stop_s()
    assert "ports" not in SERVICE and SERVICE["network_mode"] == "host", "nothing listens on more than the loopback"


def test_what_a_person_stops_is_not_started_again_by_docker(tmp_path: Path) -> None:
    """`unless-stopped` undoes whatever ends the container from inside: so only the way from outside may stop it."""
    home = make_home(tmp_path / "home")
    variables = dict(item.split("=", 1) for item in steps("ENV")[0].split())
    environ = {**home_environment(home), "WEAVER_IN_CONTAINER": variables["WEAVER_IN_CONTAINER"]}
    done = subprocess.run([sys.executable, "-m", "weaver", "down"], env=environ, cwd=home.home, capture_output=True, text=True)
    assert done.returncode == 7 and "docker compose stop" in done.stderr
    assert not home.desired.exists()


def test_allowed_hosts_of_compose_are_a_valid_setting(tmp_path: Path) -> None:
    files = {path.name: path.read_text() for path in make_home(tmp_path / "home").config.glob("*.*")}
    files = {name: text for name, text in files.items() if name != "README.md"}
    for given, hosts in (("", ()), ("weaver.example,box", ("weaver.example", "box"))):
        value = re.sub(r"\$\{WEAVER_ALLOWED_HOSTS:-\}", given, SERVICE["environment"]["WEAVER__WEB__ALLOWED_HOSTS"])
        config, _, faults = judge(files, {"WEAVER__WEB__ALLOWED_HOSTS": value})
        assert faults == [] and config is not None and tuple(config.weaver.web.allowed_hosts) == hosts


def test_first_start_makes_the_home_and_a_later_one_leaves_its_configuration_alone(tmp_path: Path) -> None:
    fake, home = tmp_path / "bin" / "weaver", tmp_path / "factory"
    fake.parent.mkdir()
    home.mkdir()
    fake.write_text('#!/bin/sh\necho "$@" >>"$WEAVER_HOME/called"\n')
    fake.chmod(0o755)
    command = json.loads(steps("CMD")[0])
    environ = {**os.environ, "WEAVER_HOME": str(home), "PATH": f"{fake.parent}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run(command, cwd=ROOT, env=environ, check=True)
        (home / "config" / "weaver.yaml").write_text("model: tiny\n")
    assert (home / "called").read_text() == "supervise\nsupervise\n"
    assert (home / "config" / "weaver.yaml").read_text() == "model: tiny\n"
    assert (Paths(home).config / "hosts.json").exists() and not (home / "config" / "config").exists()

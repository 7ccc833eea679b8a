"""weaver logs: the end of one log or of all by time, and what comes after it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.log import open_log
from core.paths import Paths
from tests.core.home_files import make_home
from tests.weaver.cli.command import command, environment, weaver


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path / "home")


def write(paths: Paths, name: str, *messages: tuple[str, str], ending: str = "jsonl") -> None:
    with (paths.logs / f"{name}.{ending}").open("a") as file:
        for at, text in messages:
            file.write(json.dumps({"at": at, "level": "info", "program": name, "msg": text}) + "\n")


def test_logs_of_all_programs_are_merged_by_time(paths: Paths) -> None:
    write(paths, "web", ("2026-11-20T21:30:01Z", "second"), ("2026-11-20T21:30:04Z", "fourth"))
    write(paths, "oracle", ("2026-11-20T21:30:00Z", "first"), ("2026-11-20T21:30:03Z", "third"))
    done = weaver(paths.home, "logs")
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["first", "second", "third", "fourth"]
    assert weaver(paths.home, "logs", "-n", "1").stdout.split()[-1] == "fourth"


def test_one_program_s_log_and_its_json_are_what_the_program_wrote(paths: Paths) -> None:
    log = open_log(paths, "web")
    log.warning("looks odd", extra={"job": "20261120-x", "event": "odd"})
    write(paths, "oracle", ("2026", "other"))
    done = weaver(paths.home, "logs", "web")
    assert "warning looks odd  [job=20261120-x]" in done.stdout
    assert "other" not in done.stdout
    found = json.loads(weaver(paths.home, "logs", "web", "--json").stdout)["lines"][0]
    assert (found["msg"], found["event"], found["level"]) == ("looks odd", "odd", "warning")


def test_what_a_program_printed_is_shown_by_out(paths: Paths) -> None:
    (paths.logs / "web.out").write_text("Traceback (most recent call last):\n\x1b[31mBoom\x1b[0m\n")
    done = weaver(paths.home, "logs", "web", "--out")
    assert [line.split(maxsplit=2)[2] for line in done.stdout.splitlines()] == ["Traceback (most recent call last):", "Boom"]


def test_last_lines_are_found_across_blocks_of_the_file(paths: Paths) -> None:
    write(paths, "web", *((f"{number:06d}", "x" * 300) for number in range(2000)))
    done = weaver(paths.home, "logs", "web", "-n", "1500", "--json")
    assert [line["at"] for line in json.loads(done.stdout)["lines"]] == [f"{number:06d}" for number in range(500, 2000)]


@pytest.fixture
def following(paths: Paths) -> Iterator[subprocess.Popen[str]]:
    write(paths, "web", ("1", "old"))
    process = subprocess.Popen(
        command("logs", "-f", "-n", "1", "--json"), stdout=subprocess.PIPE, text=True, env=environment(paths.home)
    )
    yield process
    process.kill()
    process.communicate()


def message(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["msg"])


@pytest.mark.timeout(60)
def test_following_shows_new_lines_new_programs_and_both_sides_of_a_rotation(
    paths: Paths, following: subprocess.Popen[str]
) -> None:
    assert message(following) == "old"
    write(paths, "web", ("2", "new"))
    assert message(following) == "new"
    write(paths, "oracle", ("3", "another program"))
    assert message(following) == "another program"
    write(paths, "web", ("4", "last before the rotation"))
    (paths.logs / "web.jsonl").rename(paths.logs / "web.jsonl.1")
    write(paths, "web", ("5", "first after it"))
    assert [message(following), message(following)] == ["last before the rotation", "first after it"]
    following.send_signal(2)
    assert following.wait(timeout=60) == 130

"""Every exit code of DESIGN.md section 9 that the command line gives by itself, one by one; stdout is data, stderr messages.

78, of a key that others can read, is in test_chat.py.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.keys import make_keys
from core.paths import Paths
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.core.home_files import beat, healthy, make_home, put_job
from tests.weaver.cli.command import command, environment, weaver
from tests.weaver.cli.lived_in import lived_in


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path / "home")


def test_healthy_is_0_and_the_flag_is_the_verb(paths: Paths) -> None:
    healthy(paths, "oracle")
    for arguments in (["status"], ["--status"], ["status", "--json"], ["--status", "--json"]):
        done = weaver(paths.home, *arguments)
        assert (done.returncode, done.stderr) == (0, "")


def test_degraded_is_4(paths: Paths) -> None:
    beat(paths, "oracle")
    assert weaver(paths.home, "status").returncode == 4


def test_stopped_is_3(paths: Paths) -> None:
    done = weaver(paths.home, "status", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["schema"] == "weaver.status/1"


def test_no_home_is_6_whether_named_or_looked_for(tmp_path: Path) -> None:
    for environ in ({"WEAVER_HOME": str(tmp_path / "nowhere")}, {"WEAVER_HOME": ""}):
        done = weaver(tmp_path / "x", "status", **environ)
        assert (done.returncode, done.stdout) == (6, "")
        assert "WEAVER_HOME" in done.stderr


def test_home_is_the_nearest_parent_with_hosts_json(paths: Paths) -> None:
    inside = paths.home / "a" / "b"
    inside.mkdir(parents=True)
    done = subprocess.run(
        command("status", "--json"), capture_output=True, text=True, cwd=inside, check=False,
        env=environment(paths.home, WEAVER_HOME=""),
    )  # fmt: skip
    assert json.loads(done.stdout)["home"] == str(paths.home)


def test_invalid_hosts_file_is_6(paths: Paths) -> None:
    (paths.config / "hosts.json").write_text('{"schema": "weaver.hosts/1", "hosts": {}, "more": 1}')
    done = weaver(paths.home, "status")
    assert done.returncode == 6
    assert "hosts.json" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["status", "--bogus"], ["logs", "-n", "few"], ["restart"], ["ckpt", "show"], ["audit", "extra"]]
)
def test_usage_error_is_2_in_one_line(paths: Paths, arguments: list[str]) -> None:
    done = weaver(paths.home, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("weaver: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("has_run", [False, True])
@pytest.mark.parametrize("arguments", [["restart", "web"], ["open"], ["chat", "-m", "hello"]])
def test_what_needs_a_running_factory_is_3_without_one(paths: Paths, arguments: list[str], has_run: bool) -> None:
    if has_run:
        make_keys(paths)
    done = weaver(paths.home, *arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert "start_all.sh" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["ckpt", "show", "tiny@7"], ["ckpt", "verify", "nope"], ["ckpt", "ls", "other"], ["logs", "nope"]]
)
def test_unknown_thing_is_5_with_the_known_ones(paths: Paths, arguments: list[str]) -> None:
    make_checkpoint(paths, 3, None)
    (paths.logs / "web.jsonl").touch()
    done = weaver(paths.home, *arguments)
    assert (done.returncode, done.stdout) == (5, "")
    assert any(known in done.stderr for known in ("tiny/checkpoint-3-", "Known: tiny", "Known: web"))


def test_question_that_nobody_answers_is_2_and_does_nothing(tmp_path: Path) -> None:
    home = lived_in(tmp_path / "home", runs=False).paths
    done = weaver(home.home, "ckpt", "rm", "tiny@3", stdin="")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("Nothing was done; --yes answers beforehand.")
    assert len(list(home.model("tiny").root.glob("checkpoint-3-*"))) == 1


def test_unreachable_oracle_is_8(paths: Paths) -> None:
    make_keys(paths)
    healthy(paths)
    for port in ("1", "0"):
        done = weaver(paths.home, "chat", "-m", "hello", WEAVER_ORACLE_PORT=port)
        assert (done.returncode, done.stdout) == (8, "")
        assert f"127.0.0.1:{port}" in done.stderr


def test_damaged_checkpoint_is_6(paths: Paths) -> None:
    name = make_checkpoint(paths, 3, None)
    (paths.model("tiny").checkpoint(name) / "model.safetensors").write_bytes(b"other")
    done = weaver(paths.home, "ckpt", "verify", "--json")
    assert done.returncode == 6
    assert json.loads(done.stdout)["ok"] is False


def test_audit_is_0_when_it_holds_and_1_when_not(paths: Paths) -> None:
    assert weaver(paths.home, "audit").returncode == 0
    put_job(paths, "completed")
    done = weaver(paths.home, "audit", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["schema"], found["ok"], found["lines"]["unaccounted"]) == ("weaver.audit/1", False, 3)


def test_frozen_suite_with_other_items_is_7_and_stays(paths: Paths) -> None:
    assert weaver(paths.home, "suites", "build").returncode == 0
    again = weaver(paths.home, "suites", "build", "--json")
    assert (again.returncode, json.loads(again.stdout)["written"]) == (0, [])
    one, two = (paths.suites / f"binary-{level}@1.json" for level in (1, 2))
    changed = json.loads(two.read_text()) | {"name": "binary-1", "level": 1}
    one.write_text(json.dumps(changed))
    done = weaver(paths.home, "suites", "build")
    assert done.returncode == 7
    assert json.loads(one.read_text()) == changed


def test_second_weaver_of_a_home_is_7(paths: Paths) -> None:
    first = subprocess.Popen(command("supervise"), env=environment(paths.home, WEAVER_HOST="nobody"), stderr=subprocess.DEVNULL)
    assert first.wait(timeout=60) == 6  # an unknown host is refused before anything starts
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 2); print(); input()",
         str(paths.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        done = weaver(paths.home, "supervise")
        assert done.returncode == 7
    finally:
        holder.communicate("\n")


def test_what_does_not_happen_in_time_is_124(paths: Paths) -> None:
    healthy(paths, "train_next")
    job = put_job(paths, "normal")
    done = weaver(paths.home, "queue", "wait", job, "--timeout", "0.3")
    assert (done.returncode, done.stdout) == (124, "")
    assert "did not happen within 0.3 s" in done.stderr


def test_interrupt_is_130_without_a_traceback(paths: Paths) -> None:
    (paths.logs / "web.jsonl").write_text('{"at": "2026", "msg": "x"}\n')
    following = subprocess.Popen(
        command("logs", "-f"), env=environment(paths.home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert following.stdout is not None
    assert following.stdout.readline().endswith("x\n")
    following.send_signal(signal.SIGINT)
    _, messages = following.communicate(timeout=60)
    assert (following.returncode, messages) == (130, "")


@pytest.mark.parametrize("arguments", [["version"], ["version", "--json"], ["--version"]])
def test_version_needs_no_home(tmp_path: Path, arguments: list[str]) -> None:
    done = weaver(tmp_path / "x", *arguments, WEAVER_HOME="")
    assert (done.returncode, done.stderr) == (0, "")
    if "--json" in arguments:
        assert json.loads(done.stdout)["schema"] == "weaver.version/1"
    else:
        assert re.fullmatch(r"weaver \d+\.\d+\.\d+\n", done.stdout)


def test_script_and_module_are_the_same_program(paths: Paths) -> None:
    script = Path(sys.executable).with_name("weaver")
    for arguments in (["--help"], ["staus"], ["version"], ["queue", "ls"]):
        done = subprocess.run(
            [script, *arguments], capture_output=True, text=True, cwd=paths.home, env=environment(paths.home), check=False
        )
        module = weaver(paths.home, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (module.returncode, module.stdout, module.stderr)


def through_a_shell(paths: Paths, line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which $W is the program."""
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=paths.home.parent, timeout=60, check=False,
        env=environment(paths.home, W=" ".join(command()), **environ),
    )  # fmt: skip


def test_output_that_cannot_be_written_is_1_with_the_reason(paths: Paths) -> None:
    done = through_a_shell(paths, "$W version > /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("weaver: ") and "No space left" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$W version >&-", 0),
        ("$W status <&- >&- 2>&-", 3),
        ("$W bogus 2>&-", 2),
        ("$W bogus 2> /dev/full", 2),
        ("$W ckpt show nope 2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}", 5),
        ("$W version | true; exit ${PIPESTATUS[0]}", 0),
    ],
)
def test_stream_that_is_closed_full_or_left_changes_no_exit_code(paths: Paths, line: str, code: int) -> None:
    done = through_a_shell(paths, line)
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception" not in done.stdout + done.stderr


def test_terminal_that_knows_only_ascii_gets_question_marks(paths: Paths) -> None:
    (paths.logs / "web.jsonl").write_text('{"at": "2026", "msg": "漢字"}\n', encoding="utf-8")
    done = weaver(paths.home, "logs", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "??" in done.stdout
    assert through_a_shell(paths, "$W logs $'\\xff'").returncode == 5


def test_reader_that_leaves_early_is_no_error(paths: Paths) -> None:
    (paths.logs / "web.jsonl").write_text('{"at": "2026", "msg": "x"}\n' * 20000)
    logs = subprocess.Popen(
        command("logs", "-n", "20000"), env=environment(paths.home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert logs.stdout is not None and logs.stderr is not None
    logs.stdout.readline()
    logs.stdout.close()
    assert logs.stderr.read() == ""
    assert logs.wait(timeout=60) == 0


def test_error_text_from_a_file_name_cannot_drive_the_terminal(paths: Paths) -> None:
    done = weaver(paths.home, "logs", "\x1b]0;owned\x07\x1b[31mred")
    assert done.returncode == 5
    assert "\x1b" not in done.stderr.replace("\\x1b", "")
    assert "\x07" not in done.stderr

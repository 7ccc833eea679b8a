"""Tab completes verbs, options and what lies in the home; asked of a real bash with the printed script sourced."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.paths import Paths
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.core.home_files import make_home, put_job
from tests.weaver.cli.command import environment, weaver
from tests.weaver.cli.tree import verbs

ASK = """
source <(weaver completion bash)
COMP_LINE=$1 COMP_POINT=${#1}
read -r -a COMP_WORDS <<< "${1//[@=:]/ & }"   # as readline splits words
[[ $1 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_weaver_complete
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    paths = make_home(tmp_path / "home")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "weaver"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m weaver "$@"\n')
    program.chmod(0o755)
    yield paths


def ask_bash(paths: Paths, line: str, **environ: str) -> list[str]:
    """Give what Tab offers after a line in bash."""
    environ = {"PATH": f"{paths.home.parent / 'bin'}:{os.environ['PATH']}", **environ}
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "ask", line], capture_output=True, text=True, timeout=60, cwd=paths.home.parent,
        env=environment(paths.home, **environ), check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_verbs_are_completed(paths: Paths) -> None:
    assert ask_bash(paths, "weaver st") == ["status"]
    assert set(ask_bash(paths, "weaver ")) == {path.split()[0] for path in verbs()}
    assert set(ask_bash(paths, "weaver ckpt ")) >= {"ls", "show", "verify"}
    assert ask_bash(paths, f"{paths.home.parent / 'bin' / 'weaver'} vers") == ["version"]


def test_options_and_their_values_are_completed(paths: Paths) -> None:
    assert set(ask_bash(paths, "weaver logs --")) == {"--follow", "--lines", "--out", "--json", "--help"}
    assert ask_bash(paths, "weaver logs --lines ") == []
    assert ask_bash(paths, "weaver completion z") == ["zsh"]
    assert ask_bash(paths, "weaver queue promote --to h") == ["high"]
    assert ask_bash(paths, "weaver queue ls --state fa") == ["failed"]
    assert ask_bash(paths, "weaver queue ls --state=fa") == ["failed"]
    assert "failed" in ask_bash(paths, "weaver queue ls --state=")


def test_names_of_programs_are_completed(paths: Paths) -> None:
    assert ask_bash(paths, "weaver restart watch_") == ["watch_inbox"]
    assert ask_bash(paths, "weaver logs --json -n 5 dep") == ["deploy_best"]
    assert ask_bash(paths, "weaver logs web dep") == []
    assert ask_bash(paths, "weaver why rank_") == ["rank_checkpoints"]


def test_checkpoints_and_models_of_the_home_are_completed(paths: Paths) -> None:
    names = [make_checkpoint(paths, step, None) for step in (3, 20)]
    assert ask_bash(paths, "weaver ckpt show tiny/") == [f"tiny/{name}" for name in reversed(names)]
    assert ask_bash(paths, "weaver chat ch") == ["champion"]
    assert ask_bash(paths, "weaver chat tiny/checkpoint-3-") == [f"tiny/{names[0]}"]
    assert ask_bash(paths, "weaver ckpt ls t") == ["tiny"]
    assert ask_bash(paths, "weaver chat tiny@2") == []


def test_jobs_are_completed_and_only_those_that_the_verb_can_move(paths: Paths) -> None:
    waiting, failed = put_job(paths, "normal", "one"), put_job(paths, "failed", "two", number=1)
    movable = {"queue promote": {waiting}, "queue rm": {waiting}, "queue retry": {failed}}
    of_jobs = [path for path, (command, _) in verbs().items() if any(param.name in ("job", "jobs") for param in command.params)]
    assert set(movable) <= set(of_jobs)
    for path in of_jobs:
        assert set(ask_bash(paths, f"weaver {path} 2")) == movable.get(path, {waiting, failed}), path


def test_nothing_is_offered_without_a_home_and_nothing_is_written(paths: Paths) -> None:
    before = sorted(paths.home.rglob("*"))
    assert ask_bash(paths, "weaver ckpt show ", WEAVER_HOME="/nonexistent") == []
    assert ask_bash(paths, "weaver ckpt show ") == []
    shutil.rmtree(paths.queue)
    shutil.rmtree(paths.models, ignore_errors=True)
    assert ask_bash(paths, "weaver chat c") == ["champion"]
    assert ask_bash(paths, "weaver nope nope nope") == []
    assert [path for path in paths.home.rglob("*") if path not in before] == []


def test_every_shell_has_a_script_that_asks_the_program(tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = weaver(tmp_path / "x", "completion", shell, WEAVER_HOME="")
        assert done.returncode == 0
        assert "complete --" in done.stdout
    assert weaver(tmp_path / "x", "completion", "csh").returncode == 2


OTHERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "fish": ("weaver completion fish | source; complete -C $argv[1]", ()),
    "zsh": (
        "compdef() { : }; compadd() { print -l -- ${(P)2} }; _files() { print FILES }\n"
        "source <(weaver completion zsh); words=(${(z)1}); [[ $1 == *' ' ]] && words+=(''); CURRENT=$#words; _weaver_complete",
        ("ask",),
    ),
}


@pytest.mark.parametrize("shell", sorted(OTHERS))
def test_other_shells_complete_the_same(paths: Paths, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")

    def ask(line: str) -> list[str]:
        script, before = OTHERS[shell]
        done = subprocess.run(
            [shell, "-c", script, *before, line], capture_output=True, text=True, timeout=60, check=False,
            cwd=paths.home.parent, env=environment(paths.home, PATH=f"{paths.home.parent / 'bin'}:{os.environ['PATH']}"),
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.split()

    assert ask("weaver st") == ["status"]
    assert set(ask("weaver logs --")) == {"--follow", "--lines", "--out", "--json", "--help"}
    assert ask("weaver restart watch_") == ["watch_inbox"]

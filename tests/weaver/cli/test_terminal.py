"""Whatever stands in names, notes, logs, records and answers: no verb lets it drive the terminal, and colours are opt-out."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.weaver.cli.command import command, environment, weaver
from tests.weaver.cli.lived_in import HOSTILE, LivedIn, lived_in
from tests.weaver.cli.test_chat import FakeOracle, serving
from tests.weaver.cli.test_json import ACTING, READING
from weaver.cli.output import width

OUR_COLOURS = re.compile(r"\x1b\[\d+m")
OTHER_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f‪-‮⁦-⁩]")
HOSTILE_NAME = "home\x1b[31m\x1b]0;owned\x07\x9b5m‮"
CALLS = [(path, arguments) for path in sorted(READING) for arguments in READING[path]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> LivedIn:
    return lived_in(tmp_path_factory.mktemp("terminal") / HOSTILE_NAME, HOSTILE)


def on_a_terminal(home: Path, *arguments: str, until: str | None = None, **environ: str) -> str:
    """Run a command line on a pseudo-terminal and give what it showed there, the terminal's own carriage returns left out.

    With until it is interrupted as soon as it has shown that text twice.
    """
    ours, theirs = pty.openpty()
    environ = {"TERM": "xterm", **environ}
    running = subprocess.Popen(
        command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=environment(home, **environ), cwd=home.parent
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError as error:  # the other side is closed
            assert error.errno == errno.EIO
            break
        if not data:
            break
        text += data
        if until is not None and text.count(until.encode()) >= 2:
            running.send_signal(signal.SIGINT)
    os.close(ours)
    running.wait(timeout=60)
    return text.decode().replace("\r\n", "\n")


def ids(call: tuple[str, list[str]]) -> str:
    return " ".join([call[0], *call[1]])


@pytest.mark.parametrize("call", CALLS, ids=ids)
def test_only_our_colours_reach_a_terminal(home: LivedIn, call: tuple[str, list[str]]) -> None:
    path, arguments = call
    shown = on_a_terminal(home.paths.home, *path.split(), *home.fill(arguments))
    assert shown.strip()
    left = OUR_COLOURS.sub("", shown)
    assert not OTHER_CONTROLS.search(left), ascii(left)


@pytest.mark.parametrize("path", sorted(READING))
@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=["NO_COLOR", "dumb", "pipe"])
def test_no_escape_without_colours(home: LivedIn, path: str, environ: dict[str, str]) -> None:
    line = [*path.split(), *home.fill(READING[path][-1])]
    if environ:
        shown = on_a_terminal(home.paths.home, *line, **environ)
    else:
        done = weaver(home.paths.home, *line, TERM="xterm")
        shown = done.stdout + done.stderr
    assert shown.strip()
    assert "\x1b" not in shown
    assert not OTHER_CONTROLS.search(shown), ascii(shown)


@pytest.mark.parametrize("path", sorted(path for path, arguments in ACTING.items() if arguments is not None))
def test_acting_verb_lets_nothing_drive_the_terminal(tmp_path: Path, path: str) -> None:
    home = lived_in(tmp_path / HOSTILE_NAME, HOSTILE, runs=False)
    shown = on_a_terminal(home.paths.home, *path.split(), *home.fill(ACTING[path] or []))
    assert shown.strip()
    left = OUR_COLOURS.sub("", shown)
    assert not OTHER_CONTROLS.search(left), ascii(left)


@pytest.mark.parametrize("call", CALLS, ids=ids)
def test_json_on_a_terminal_is_lossless_and_cannot_drive_it(home: LivedIn, call: tuple[str, list[str]]) -> None:
    path, arguments = call
    shown = on_a_terminal(home.paths.home, *path.split(), *home.fill(arguments), "--json")
    assert not OTHER_CONTROLS.search(shown), ascii(shown)
    assert json.loads(shown)
    if path == "queue show":
        assert json.loads(shown)["job"]["name"] == HOSTILE


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=["NO_COLOR", "dumb", "colours"])
def test_watched_status_wipes_only_a_terminal_that_takes_colours(home: LivedIn, environ: dict[str, str]) -> None:
    shown = on_a_terminal(home.paths.home, "status", "-w", until="next     ", **environ)
    assert shown.count("next     ") >= 2
    assert ("\x1b[2J" in shown) == (environ == {})
    assert ("\x1b" in shown) == (environ == {})


@pytest.mark.parametrize("columns", ["", "1", "40", "100000", "nonsense"])
def test_width_of_the_terminal_fails_nothing(home: LivedIn, columns: str) -> None:
    for arguments in (["status"], ["queue", "ls"], ["logs", "--help"], ["ckpt", "-h"]):
        shown = on_a_terminal(home.paths.home, *arguments, NO_COLOR="1", COLUMNS=columns)
        assert "Traceback" not in shown
        assert len(shown) > 40


def test_status_of_a_hostile_home_fits_80_by_24(home: LivedIn) -> None:
    shown = on_a_terminal(home.paths.home, "status", NO_COLOR="1").splitlines()
    assert len(shown) <= 23
    assert max(map(width, shown)) <= 80


def test_queue_ls_of_a_hostile_home_fits_80_columns(home: LivedIn) -> None:
    shown = on_a_terminal(home.paths.home, "queue", "ls", "--limit", "0", NO_COLOR="1").splitlines()
    assert max(map(width, shown)) <= 80, shown


def test_answer_of_a_model_cannot_drive_the_terminal(tmp_path: Path) -> None:
    with serving(tmp_path / "home") as paths:
        shown = on_a_terminal(paths.home, "chat", "-m", HOSTILE)
        assert FakeOracle.asked[0]["messages"][-1]["content"] == HOSTILE
    assert "evil" in shown
    assert "\x1b" not in shown
    assert not OTHER_CONTROLS.search(shown), ascii(shown)


def test_error_that_quotes_a_hostile_name_cannot_drive_the_terminal(home: LivedIn) -> None:
    name = HOSTILE.replace("\x00", "")
    for arguments in (
        ["queue", "show", name],
        ["queue", "why", name],
        ["ckpt", "show", name],
        ["restart", name],
        ["logs", name],
    ):
        shown = on_a_terminal(home.paths.home, *arguments)
        assert shown.startswith("weaver: ")
        assert not OTHER_CONTROLS.search(shown), ascii(shown)

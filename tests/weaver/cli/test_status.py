"""weaver status: quick, small, and honest on a screen of 80 by 24."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import msgspec
import pytest

from core.checkpoints.places import Ranked
from core.clock import SystemClock
from core.overview import Overview, SkillLine, collect
from core.paths import Paths
from core.status import DaemonStatus, GpuStatus, ServingStatus, State, StatusReport, SupervisorStatus, TrainingStatus
from tests.core.home_files import beat, healthy, make_home
from tests.weaver.cli.command import command, environment, weaver
from weaver.cli.table import lines

PROGRAMS = (
    "oracle", "web", "watch_inbox", "generate_data", "train_next", "reclaim_stale", "prune_checkpoints", "rank_checkpoints",
    "probe_checkpoints", "deploy_best",
)  # fmt: skip
SGR = re.compile(r"\x1b\[\d+m")
HOSTILE = "\x1b[2J\x1b]0;t\x07‮evil\r\nnext 漢字" * 20


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path / "home")


def columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def overview(paths: Paths, **changes: object) -> Overview:
    """Give the overview of a home with parts of its status, and of itself, replaced."""
    found = collect(paths, {}, SystemClock())
    own = {key: value for key, value in changes.items() if key in Overview.__struct_fields__}
    status = {key: value for key, value in changes.items() if key in StatusReport.__struct_fields__}
    return msgspec.structs.replace(found, status=msgspec.structs.replace(found.status, **status), **own)


def full(paths: Paths, text: str = "works", state: State = State.RUNNING, count: int = len(PROGRAMS)) -> Overview:
    """Give an overview in which everything is there, with this text wherever a file could have put it."""
    row = DaemonStatus(
        name=text, state=state, pid=4194304, up_s=1e6, restarts=999, heartbeat_age_s=1e6, note=text, last_exit=-15
    )
    names = (PROGRAMS * 5)[:count]
    return overview(
        paths, state="degraded", daemons=[msgspec.structs.replace(row, name=name) for name in names],
        training=TrainingStatus(pid=1, phase=text, model=text, job=text, step=10**7, total_steps=10**7, loss=12.345,
                                tokens_per_s=123456.7, eta_s=1e5),
        serving=ServingStatus(checkpoint=text, host=text, verified_at="2026-11-20T21:30:00.000Z"), proof_age_s=7200.0,
        proof_is_late=True, gpus=[GpuStatus(index=0, name=text, memory_total_bytes=None, memory_used_bytes=1, utilisation=0.5)],
        skills=[
            SkillLine(skill=name, mastered_level=1, training_level=2, target_level=3, passes=1) for name in ("binary", text)
        ],
        ranking=[Ranked(place=1, checkpoint=text, accuracy=1.0, low=0, high=0, composite=None, eligible=True, reasons=[])] * 3,
        problems=[text] * 9, home=text, supervisor=SupervisorStatus(pid=1, up_s=1.0),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["works", HOSTILE, "x" * 500])
@pytest.mark.parametrize("count", [0, 10, 40])
def test_everything_at_once_fits_80_by_24_whatever_stands_in_the_files(paths: Paths, text: str, count: int) -> None:
    for colours in (False, True):
        shown = lines(full(paths, text, count=count), colours)
        assert len(shown) <= 23
        for line in shown:
            bare = SGR.sub("", line) if colours else line
            assert columns(bare) <= 80, bare
            assert bare.isprintable(), ascii(bare)


def test_program_that_is_not_running_is_shown_before_those_that_are(paths: Paths) -> None:
    found = full(paths, count=40)
    ill = msgspec.structs.replace(found.status.daemons[35], name="the_sick_one", state=State.FATAL)
    rows = [*found.status.daemons[:35], ill, *found.status.daemons[36:]]
    shown = lines(msgspec.structs.replace(found, status=msgspec.structs.replace(found.status, daemons=rows)), False)
    assert any(line.startswith("the_sick_one") for line in shown)
    assert any(line.endswith("more: weaver status --json") for line in shown)
    assert any(line.startswith("next     weaver logs the_sick_one") for line in shown)


def test_stale_heartbeat_is_not_shown_as_running(paths: Paths) -> None:
    healthy(paths, "oracle", "train_next")
    beat(paths, "train_next", due_in_s=-1, age_s=60)
    done = weaver(paths.home, "status")
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith(("oracle", "train_next"))}
    assert "RUNNING" in rows["oracle"]
    assert "RUNNING" not in rows["train_next"]
    assert "UNKNOWN" in rows["train_next"]
    assert done.stdout.startswith("DEGRADED")


def test_late_proof_a_missing_oracle_and_the_curriculum_are_said(paths: Paths) -> None:
    shown = "\n".join(lines(full(paths), False))
    assert "but the oracle is not up" in shown
    shown = "\n".join(lines(msgspec.structs.replace(full(paths), oracle_is_up=True), False))
    assert "NOT proved for 2h00m" in shown
    assert "binary level 2 (mastered 1)" in shown
    found = overview(paths, nothing_to_learn=True, skills=[
        SkillLine(skill="binary", mastered_level=3, training_level=3, target_level=3, passes=3)
    ])  # fmt: skip
    assert "learning nothing to learn: binary done (mastered 3)" in lines(found, False)


def test_json_is_the_contract_s_example(paths: Paths) -> None:
    healthy(paths, *PROGRAMS)
    found = json.loads(weaver(paths.home, "status", "--json").stdout)
    assert list(found) == [
        "schema", "host", "state", "checked_at", "home", "web", "oracle", "supervisor", "daemons", "queue", "training",
        "serving", "gpus", "disk", "hosts", "config",
    ]  # fmt: skip
    assert list(found["daemons"][0]) == [
        "name", "state", "pid", "up_s", "restarts", "heartbeat_age_s", "note", "last_exit",
    ]  # fmt: skip
    assert list(found["queue"]) == [
        "inbox", "high", "normal", "low", "processing", "completed", "failed", "rejected", "paused",
    ]  # fmt: skip
    assert (found["schema"], found["state"], len(found["daemons"])) == ("weaver.status/1", "healthy", len(PROGRAMS))


def on_a_terminal(paths: Paths, **environ: str) -> str:
    """Run `weaver status` on a pseudo-terminal and give what it printed."""
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        command("status"), stdout=theirs, stderr=theirs, env=environment(paths.home, TERM="xterm", **environ)
    )
    os.close(theirs)
    text = b""
    try:
        while data := os.read(ours, 65536):
            text += data
    except OSError:  # the other side is closed
        done.wait(timeout=60)
    os.close(ours)
    return text.decode()


def test_colours_only_on_a_terminal_and_never_with_no_color(paths: Paths) -> None:
    healthy(paths, "oracle")
    assert SGR.search(on_a_terminal(paths))
    assert not SGR.search(on_a_terminal(paths, NO_COLOR="1"))
    assert "\x1b" not in weaver(paths.home, "status", TERM="xterm").stdout


def test_watching_prints_again_and_ends_at_interrupt_with_the_state(paths: Paths) -> None:
    healthy(paths, "oracle")
    watching = subprocess.Popen(
        command("status", "-w", "--json"), stdout=subprocess.PIPE, text=True, env=environment(paths.home)
    )
    assert watching.stdout is not None
    seen = [json.loads(watching.stdout.readline()) for _ in range(2)]
    watching.send_signal(2)
    assert watching.wait(timeout=60) == 0
    assert seen[0]["checked_at"] < seen[1]["checked_at"]


def test_status_imports_neither_the_command_line_s_library_nor_a_server(paths: Paths) -> None:
    program = (
        "import sys; from weaver.__main__ import main\n"
        "try: main(['status'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('typer', 'rich', 'fastapi', 'numpy', 'requests', 'http.client') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(paths.home), check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"

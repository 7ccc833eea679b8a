"""A copy of a home, its views included, whose original runs: nothing of the original is taken for its own, or stopped."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import SystemClock, boot_id
from core.liveness import Liveness
from core.paths import Paths
from core.process import ProcessRef, start_ticks
from core.runs.child import living_trainer
from core.status import State, read_heartbeat, read_supervisor_view
from tests.core.home_files import beat, make_home, program, supervise
from tests.weaver.cli.command import weaver
from weaver.adoption import living, weaver_process

PROGRAMS = ("weaver", "oracle", "train_next", "trainer")


@pytest.fixture
def original(tmp_path: Path) -> Iterator[Paths]:
    """Give a home whose programs are one process that is not started by us as programs are, so that no mark tells."""
    paths = make_home(tmp_path / "original")
    child = subprocess.Popen(["sleep", "600"])
    ref = ProcessRef(pid=child.pid, start_ticks=start_ticks(child.pid) or 0, boot_id=boot_id())
    supervise(paths, [program("oracle", pid=ref.pid), program("train_next", pid=ref.pid)], process=ref)
    for name in PROGRAMS:
        beat(paths, name, process=ref)
    yield paths
    child.kill()
    child.wait()


def test_copy_of_a_running_home_is_stopped_and_stops_nothing(original: Paths, tmp_path: Path) -> None:
    copy = Paths(tmp_path / "copy")
    shutil.copytree(original.home, copy.home)
    assert weaver_process(original) is not None and set(living(original)) and living_trainer(original) is not None
    assert [read_heartbeat(copy, name) for name in PROGRAMS] == [None] * len(PROGRAMS)
    assert (read_supervisor_view(copy), weaver_process(copy), living(copy), living_trainer(copy)) == (None, None, {}, None)
    mono = SystemClock().mono()
    assert Liveness(original, mono).factory_state() == "healthy"
    assert Liveness(copy, mono).factory_state() == "stopped"
    assert {row.state for row in Liveness(copy, mono).rows()} == {State.STOPPED}
    assert weaver(copy.home, "status").returncode == 3
    done = weaver(copy.home, "down")
    assert (done.returncode, "Nothing runs" in done.stderr) == (0, True)
    assert Liveness(original, mono).factory_state() == "healthy"

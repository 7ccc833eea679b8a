"""Who runs a factory of its own and is asked to end leaves neither a process nor a folder behind: a drill, a benchmark."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import WeaverError
from core.paths import Paths
from core.process import spawned
from tests.fakes import ROOT, wait_for
from weaver.drill.ending import SIGNALS, ending_in_order

DRILL = ["-m", "weaver", "drill", "--seed", "1"]
USE = "    {}.weaver('up')\n    time.sleep(600)"
BENCHMARK = ["-c", "import factory, time\nwith factory.factory() as one:\n" + USE.format("one")]
TWO = ["-c", "import factory, time\nwith factory.factory() as one, factory.factory() as two:\n" + USE.format("two")]
SOME, ALL = 4, 11


@pytest.fixture(autouse=True)
def hearing() -> Iterator[None]:
    """Let this process and what it starts hear SIGHUP, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def belong_to(where: Path) -> list[int]:
    """Give the living processes whose home lies in a folder, whoever started them and whatever became of the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environ = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if any(item.startswith(b"WEAVER_HOME=" + os.fsencode(where)) for item in environ):
            found.append(int(entry.name))
    return found


def is_cleaning_up(where: Path) -> bool:
    """Say whether a `weaver down` runs for a home in a folder."""
    commands = []
    for pid in belong_to(where):
        with contextlib.suppress(OSError):
            commands.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return any(command.endswith(b"\0down\0") for command in commands)


def programs(where: Path) -> int:
    """Count the programs of all homes in a folder."""
    try:
        return sum(len(list(spawned(Paths(home).home_id))) for home in where.iterdir())
    except (OSError, WeaverError):
        return 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("words", "number", "wanted"),
    [
        (DRILL, signal.SIGTERM, ALL), (DRILL, signal.SIGHUP, 1), (BENCHMARK, signal.SIGTERM, SOME),
        (BENCHMARK, signal.SIGHUP, 1), (TWO, signal.SIGTERM, SOME), (BENCHMARK, signal.SIGINT, SOME),
    ],
    ids=["drill", "drill that begins", "benchmark", "benchmark that begins", "benchmark of two homes", "Ctrl-C"],
)  # fmt: skip
def test_factory_of_its_own_that_is_asked_to_end_leaves_nothing(
    tmp_path: Path, words: list[str], number: int, wanted: int
) -> None:
    """About 3 s each: asked as soon as so many of its programs live, and again while it cleans up."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WEAVER")}
    environ |= {"TMPDIR": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, *words], env=environ, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for("its programs", lambda: programs(tmp_path) >= wanted, 120.0)
        os.killpg(child.pid, number)  # as a terminal or `timeout` does: to all in front of it
        wait_for("the clean-up", lambda: is_cleaning_up(tmp_path), 60.0)
        for again in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.killpg(child.pid, again)
        said = child.communicate(timeout=240.0)[1]
        # Python ends by SIGINT itself when nobody catches that.
        assert child.returncode == (-number if number == signal.SIGINT else 128 + number), said
        assert belong_to(tmp_path) == []
        assert list(tmp_path.iterdir()) == [], "its homes are gone"
    finally:
        child.kill()
        child.wait()
        for pid in belong_to(tmp_path):
            os.kill(pid, signal.SIGKILL)


def raised(act: Callable[[], None]) -> object:
    """Give what ends an act: the exit code, or the kind of another end."""
    try:
        act()
    except SystemExit as end:
        return end.code
    except KeyboardInterrupt as end:
        return type(end)
    return None


@pytest.mark.parametrize(("number", "end"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, KeyboardInterrupt)])
def test_first_signal_ends_and_no_later_one_does_until_all_is_cleaned_up(number: int, end: object) -> None:
    before, done = {one: signal.getsignal(one) for one in SIGNALS}, list[str]()

    def act() -> None:
        with ending_in_order():
            try:
                with ending_in_order():
                    try:
                        os.kill(os.getpid(), number)
                        done.append("not ended")
                    finally:
                        os.kill(os.getpid(), signal.SIGTERM)
                        done.append("inner")
            finally:
                os.kill(os.getpid(), signal.SIGHUP)
                os.kill(os.getpid(), signal.SIGINT)
                done.append("outer")

    assert raised(act) == end
    assert done == ["inner", "outer"]
    assert {one: signal.getsignal(one) for one in SIGNALS} == before


def test_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_in_order():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

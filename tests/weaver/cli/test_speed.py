"""Every answer at once: processor time, not wall time, which on a loaded test machine would measure the load."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.core.home_files import healthy, make_home, put_job
from tests.weaver.cli.command import environment, weaver
from tests.weaver.cli.tree import verbs

GOAL_S = 0.2
BARE_S = 0.018
"""`python -c pass` on an idle core of the machine on which the goal was set."""
HEAVY = ("rich", "pydantic", "numpy", "transformers", "tokenizers", "fastapi", "pyarrow", "requests", "torch")


def cpu_s(run: Callable[[], object]) -> float:
    """Give the processor time of the processes that a call waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def is_quick(home: Path, *arguments: str, runs: int = 8) -> bool:
    """Say whether a command line takes less than the goal, as often tried as needed.

    On a core that is shared everything takes longer, the bare interpreter too: the goal is that many times its time then.
    """

    def bare() -> None:
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    def ours() -> None:
        assert weaver(home, *arguments).returncode == 0

    return any(cpu_s(ours) < max(GOAL_S, GOAL_S * cpu_s(bare) / BARE_S) for _ in range(runs))


@pytest.fixture(scope="module")
def home_of_1000_jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    paths = make_home(tmp_path_factory.mktemp("speed") / "home")
    healthy(paths, "oracle")
    states = ("high", "normal", "normal", "low", "completed", "rejected")
    for number in range(1000):
        put_job(paths, states[number % len(states)], f"drop-{number}", number=number)
    return paths.home


@pytest.mark.parametrize(
    "line", ["status", "status --json", "queue ls", "queue ls --limit 0 --json", "--help", "complete -- queue show 2"]
)
def test_answer_with_1000_jobs_takes_less_than_a_fifth_of_a_second(home_of_1000_jobs: Path, line: str) -> None:
    assert is_quick(home_of_1000_jobs, *line.split())


@pytest.mark.parametrize("path", sorted(verbs()))
def test_help_of_every_verb_takes_less_than_a_fifth_of_a_second(tmp_path: Path, path: str) -> None:
    assert is_quick(tmp_path / "x", *path.split(), "--help")


def modules_after(program: str) -> set[str]:
    """Give which heavy modules a fresh interpreter has imported after a program."""
    ask = f"import sys\n{program}\nprint(*(name for name in {(*HEAVY, 'typer')!r} if name in sys.modules))"
    environ = environment(Path("/nonexistent"))
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, env=environ, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_loading_every_verb_imports_nothing_heavy() -> None:
    found = modules_after(
        "from tests.weaver.cli.tree import verbs\nfor command, ctx in verbs().values(): command.get_help(ctx)"
    )
    assert found == {"typer"}


def test_overview_does_not_import_the_command_line_s_library() -> None:
    assert modules_after("from weaver.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass") == set()

"""weaver deploy, as a person types it: an order that is obeyed, and words for everything that stands in its way."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.orders import Order, answer, pending
from core.paths import Paths
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.core.home_files import beat, dead_process, healthy
from tests.fakes import wait_for
from tests.weaver.cli.command import command, environment, weaver
from tests.weaver.cli.oracle_stub import oracle_with
from tests.weaver.cli.test_checkpoints import names, paths  # noqa: F401


@pytest.fixture
def running(paths: Paths, names: list[str]) -> Iterator[Paths]:  # noqa: F811
    """A home in which everything needed seems to run; nobody obeys."""
    healthy(paths, "oracle", "deploy_best")
    with oracle_with(paths):
        yield paths


@contextmanager
def obedient(paths: Paths, ok: bool, message: str) -> Iterator[list[Order]]:  # noqa: F811
    """Answer the first order to deploy_best, as that daemon does."""
    seen: list[Order] = []

    def obey() -> None:
        [order] = wait_for("an order", lambda: pending(paths, "deploy_best"), 50)
        seen.append(order)
        answer(paths, "deploy_best", order, ok, message)

    thread = threading.Thread(target=obey)
    thread.start()
    yield seen
    thread.join()


def test_deploy_now_orders_and_waits_for_the_answer(running: Paths, names: list[str]) -> None:  # noqa: F811
    with obedient(running, True, "tiny/x is served: proved") as seen:
        done = weaver(running.home, "deploy", "now", "tiny@10", "--reason", "I like it", "--wait")
    assert (done.returncode, done.stdout) == (0, "tiny/x is served: proved\n"), done.stderr
    [order] = seen
    assert (order.verb, order.args) == ("deploy", {"checkpoint": f"tiny/{names[1]}", "reason": "I like it"})


def test_rollback_that_is_refused_is_7_with_the_reason(running: Paths) -> None:
    with obedient(running, False, "its proof failed\x1b[31m") as seen:
        done = weaver(running.home, "deploy", "rollback", "--wait")
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "weaver: its proof failed\n")
    assert (seen[0].verb, seen[0].args) == ("rollback", {})


def test_without_wait_the_order_lies_there_and_the_way_to_follow_it_is_said(running: Paths) -> None:
    done = weaver(running.home, "deploy", "rollback")
    assert (done.returncode, done.stdout) == (0, "") and "weaver deploy history" in done.stderr
    assert [order.verb for order in pending(running, "deploy_best")] == ["rollback"]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("tiny@77", 5, "There is no checkpoint"),
        ("tiny@20", 7, "served already"),
        ("tiny@50", 7, "off-chain"),
        ("other@5", 7, "default model"),
    ],
)
def test_what_is_certain_to_be_refused_is_refused_at_once(running: Paths, text: str, code: int, words: str) -> None:
    make_checkpoint(running, 5, None, model="other")
    done = weaver(running.home, "deploy", "now", text, "--wait")
    assert (done.returncode, done.stdout) == (code, "") and words in done.stderr
    assert pending(running, "deploy_best") == []


def test_rollback_with_nothing_behind_it_is_7(paths: Paths) -> None:  # noqa: F811
    done = weaver(paths.home, "deploy", "rollback")
    assert done.returncode == 7 and "nothing to roll back to" in done.stderr


@pytest.mark.parametrize("arguments", [["now", "tiny@10"], ["rollback"]])
def test_stopped_factory_is_3_and_an_oracle_that_is_away_is_8(
    paths: Paths, names: list[str], arguments: list[str]  # noqa: F811
) -> None:  # fmt: skip
    done = weaver(paths.home, "deploy", *arguments)
    assert (done.returncode, done.stdout) == (3, "") and "start_all.sh" in done.stderr
    healthy(paths, "deploy_best")
    done = weaver(paths.home, "deploy", *arguments)
    assert (done.returncode, done.stdout) == (8, "") and "the oracle" in done.stderr
    beat(paths, "deploy_best", process=dead_process())
    done = weaver(paths.home, "deploy", *arguments)
    assert (done.returncode, done.stdout) == (4, "") and "weaver restart deploy_best" in done.stderr
    assert pending(paths, "deploy_best") == []


def test_factory_that_stops_while_somebody_waits_is_3(running: Paths) -> None:
    waiting = subprocess.Popen(
        command("deploy", "rollback", "--wait"), env=environment(running.home), stderr=subprocess.PIPE, text=True
    )
    wait_for("the order", lambda: pending(running, "deploy_best"), 50)
    for name in ("weaver", "oracle", "deploy_best"):
        beat(running, name, process=dead_process())
    running.supervisor.unlink()
    _, said = waiting.communicate(timeout=50)
    assert waiting.returncode == 3 and "is not running" in said


def test_history_shows_every_decision_newest_first(running: Paths, names: list[str]) -> None:  # noqa: F811
    found = json.loads(weaver(running.home, "deploy", "history", "--json").stdout)
    assert (found["schema"], found["serving"], found["previous"]) == ("weaver.deployments/1", names[2], names[1])
    assert [one["checkpoint"] for one in found["deployments"]] == [names[2], names[1]]
    assert {one["schema"] for one in found["deployments"]} == {"weaver.deployment/1"}
    lines = weaver(running.home, "deploy", "history", "-n", "1").stdout.splitlines()
    assert len(lines) == 2 and lines[1].split()[1:4] == ["deployed", names[2], "deploy_best"]


def test_history_of_nothing_says_so(tmp_path: Path, paths: Paths) -> None:  # noqa: F811
    done = weaver(paths.home, "deploy", "history")
    assert (done.returncode, done.stdout) == (0, "") and "Nothing was deployed" in done.stderr

"""Hints from watched folders: what wakes, what does not, folders that come and go, and no inotify."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.files import append_record, replace_durable
from daemons.harness.watcher import Watcher
from tests.fakes import wait_for

QUIET_S = 0.5


class Hints:
    """Counts hints."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> None:
        self._event.set()

    def came(self) -> bool:
        """Say whether a hint came since the last call, giving it a moment."""
        came = self._event.wait(QUIET_S)
        self._event.clear()
        return came


Watch = Callable[..., tuple[Watcher, Hints]]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    watchers: list[Watcher] = []

    def start(*globs: str, **options: Any) -> tuple[Watcher, Hints]:
        hints = Hints()
        watcher = Watcher(tmp_path, globs, hints, **options)
        watchers.append(watcher)
        watcher.refresh()
        hints.came()  # starting to watch is a hint itself
        return watcher, hints

    yield start
    for watcher in watchers:
        watcher.close()


def no_inotify() -> Any:
    raise OSError(errno.EMFILE, "Too many open files")


OPTIONS = [pytest.param({}, id="inotify"), pytest.param({"new_observer": no_inotify}, id="scan")]


@pytest.mark.parametrize("options", OPTIONS)
def test_file_published_below_a_watched_folder_wakes(watch: Watch, tmp_path: Path, options: Any) -> None:
    (tmp_path / "queue" / "inbox" / "high").mkdir(parents=True)
    watcher, hints = watch("queue/inbox", **options)
    replace_durable(tmp_path / "queue" / "inbox" / "high" / "a.jsonl", b"{}")
    watcher.refresh()
    assert hints.came()


@pytest.mark.parametrize("options", OPTIONS)
def test_private_names_and_other_folders_do_not_wake(watch: Watch, tmp_path: Path, options: Any) -> None:
    for name in ("queue/inbox/.part", "queue/done", "status"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "status" / "ranking.json").write_bytes(b"{}")
    watcher, hints = watch("queue/inbox", "status/ranking.json", **options)
    (tmp_path / "queue" / "inbox" / ".part" / "a").write_bytes(b"x")
    (tmp_path / "queue" / "done" / "a").write_bytes(b"x")
    replace_durable(tmp_path / "status" / "other.json", b"{}")
    watcher.refresh()
    assert not hints.came()


@pytest.mark.parametrize("options", OPTIONS)
def test_replaced_and_appended_files_wake(watch: Watch, tmp_path: Path, options: Any) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    watcher, hints = watch("models/*/head.json", "models/*/deployments.jsonl", **options)
    for _ in range(2):
        replace_durable(tmp_path / "models" / "tiny" / "head.json", b"{}")
        watcher.refresh()
        assert hints.came()
    append_record(tmp_path / "models" / "tiny" / "deployments.jsonl", b"{}")
    watcher.refresh()
    assert hints.came()


@pytest.mark.parametrize("options", OPTIONS)
def test_folder_that_vanishes_and_comes_again_is_followed(watch: Watch, tmp_path: Path, options: Any) -> None:
    watcher, hints = watch("models/*/scores", **options)
    for _ in range(2):
        (tmp_path / "models" / "tiny" / "scores").mkdir(parents=True)
        watcher.refresh()
        assert hints.came(), "a folder that appears may hold something already"
        (tmp_path / "models" / "tiny" / "scores" / "checkpoint-0").mkdir()
        replace_durable(tmp_path / "models" / "tiny" / "scores" / "checkpoint-0" / "a.json", b"{}")
        watcher.refresh()
        assert hints.came()
        shutil.rmtree(tmp_path / "models")
        watcher.refresh()
        hints.came()


def test_folder_replaced_between_two_looks_is_watched_anew(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    watcher, hints = watch("queue")
    (tmp_path / "queue").rename(tmp_path / "old")
    (tmp_path / "queue").mkdir()
    watcher.refresh()
    hints.came()
    replace_durable(tmp_path / "queue" / "a", b"x")
    assert hints.came()


@pytest.mark.parametrize("options", OPTIONS)
def test_folder_of_two_watched_files_may_vanish_and_come_again(watch: Watch, tmp_path: Path, options: Any) -> None:
    (tmp_path / "status").mkdir()
    watcher, hints = watch("status/ranking.json", "status/deployment.json", **options)
    for _ in range(2):
        shutil.rmtree(tmp_path / "status")
        watcher.refresh()
        (tmp_path / "status").mkdir()
        watcher.refresh()
        hints.came()
        for name in ("ranking.json", "deployment.json"):
            replace_durable(tmp_path / "status" / name, b"{}")
            watcher.refresh()
            assert hints.came(), name


def test_missing_inotify_is_said_and_does_not_raise(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    watcher, _ = watch("queue", new_observer=no_inotify)
    assert "Too many open files" in watcher.problem
    ok, _ = watch("queue")
    assert ok.problem == ""


def test_closed_watcher_leaves_no_thread_behind(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    before = threading.active_count()
    watcher = Watcher(tmp_path, ("queue",), lambda: None)
    watcher.refresh()
    assert threading.active_count() > before
    watcher.close()
    wait_for("the end of the observer's threads", lambda: threading.active_count() <= before + 1)  # one per process stays

"""The shelf follows the scores on the disk and forgets their answers."""

from __future__ import annotations

import shutil
from pathlib import Path

from core.evals.score import pair, read_scores
from core.evals.shelf import ScoreShelf
from core.paths import Paths
from tests.core.checkpoints.score_builder import put_score

OLD, NEW = "checkpoint-100-20261120-2130", "checkpoint-200-20261120-2130"


def test_shelf_gives_the_scores_on_disk_without_answers_and_pairs_them_alike(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    put_score(paths, "binary-1", NEW, wrong=range(5), second=2)
    put_score(paths, "binary-1", OLD, wrong=range(3, 9), failed=range(2), second=1)
    found = ScoreShelf(paths.model("tiny")).read({OLD, NEW})
    full = read_scores(paths.model("tiny")).scores
    assert [(score.checkpoint, score.correct, score.low) for score in found] == [
        (score.checkpoint, score.correct, score.low) for score in full
    ]
    assert pair(found[1], found[0]) == pair(full[1], full[0])
    assert {item.answer for score in found for item in score.items} == {None}


def test_new_scores_of_live_checkpoints_and_of_new_folders_are_seen(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    shelf = ScoreShelf(paths.model("tiny"))
    assert shelf.read({OLD}) == []
    put_score(paths, "binary-1", OLD)
    assert [score.suite for score in shelf.read({OLD})] == ["binary-1"]
    put_score(paths, "binary-2", OLD)
    put_score(paths, "binary-1", NEW)
    assert [(score.checkpoint, score.suite) for score in shelf.read({OLD})] == [
        (OLD, "binary-1"), (OLD, "binary-2"), (NEW, "binary-1"),
    ]  # fmt: skip


def test_unchanged_scores_are_the_same_list_and_a_deleted_file_makes_another(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    shelf = ScoreShelf(paths.model("tiny"))
    put_score(paths, "binary-1", OLD)
    put_score(paths, "binary-2", OLD)
    first = shelf.read({OLD})
    assert shelf.read({OLD}) is first
    next(paths.model("tiny").scores(OLD).glob("binary-1-*")).unlink()
    assert [score.suite for score in shelf.read({OLD})] == ["binary-2"]


def test_removed_scores_vanish(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    shelf = ScoreShelf(paths.model("tiny"))
    put_score(paths, "binary-1", OLD)
    put_score(paths, "binary-1", NEW)
    assert len(shelf.read(set())) == 2
    shutil.rmtree(paths.model("tiny").scores(OLD))
    assert [score.checkpoint for score in shelf.read(set())] == [NEW]


def test_torn_file_is_reported_and_others_are_read(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    put_score(paths, "binary-1", OLD)
    torn = paths.model("tiny").scores(OLD) / "binary-2-20261120-213000000-local.json"
    torn.write_bytes(b'{"schema":"weaver.sc')
    (paths.model("tiny").scores(OLD) / ".hidden.json").write_bytes(b"")
    shelf = ScoreShelf(paths.model("tiny"))
    assert len(shelf.read({OLD})) == 1
    assert list(shelf.unread) == [torn]

"""The scores of a model, kept ready: each write-once file is read once per process and its answers are dropped.

Place in the flow: the daemons that decide by scores look here at every tick; core.evals.score reads the same files in full.
Reads models/<model>/scores/. Invariant: what it gives is what lies on the disk, but for items of a checkpoint that can no
longer be probed (its weights are gone); deleting the shelf loses nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from core.errors import InvalidData
from core.evals.score import Score, ScoreItem
from core.names import checkpoint_order, is_checkpoint
from core.paths import ModelPaths
from core.records import read


class ScoreShelf:
    """The scores of one model without answers, timings and log-probabilities: about 2 kB each, whatever the suite's size."""

    def __init__(self, model: ModelPaths) -> None:
        self._root = model.scores("checkpoint").parent
        self._folders: dict[str, dict[str, Score | None]] = {}
        self._items: dict[tuple[str, bool | None], ScoreItem] = {}
        self._sorted: list[Score] | None = None
        self.unread: dict[Path, str] = {}

    def read(self, live: Collection[str]) -> list[Score]:
        """Give every score, by step and then by time. live: the checkpoints with weights, the only ones that get new scores.

        The same list object as before if nothing has changed: it is not to be altered.
        """
        there = [name for name in _names(self._root) if is_checkpoint(name)]
        for name in self._folders.keys() - set(there):
            del self._folders[name]
            self._sorted = None
        for name in there:
            if name in live or name not in self._folders:
                self._look(name)
        if self._sorted is None:
            scores = (score for folder in self._folders.values() for score in folder.values() if score is not None)
            self._sorted = sorted(scores, key=_order)
        return self._sorted

    def _look(self, name: str) -> None:
        known = self._folders.get(name)
        files = [file for file in _names(self._root / name) if file.endswith(".json") and not file.startswith(".")]
        if known is None or known.keys() != set(files):
            known, folder = known or {}, self._root / name
            self._folders[name] = {file: known[file] if file in known else self._load(folder / file) for file in files}
            self._sorted = None

    def _load(self, path: Path) -> Score | None:
        try:
            score = read(Score, path)
            if score.checkpoint != path.parent.name:
                raise InvalidData(where=str(path), detail=f"is a score of {score.checkpoint}, expected {path.parent.name}")
        except (FileNotFoundError, InvalidData) as error:
            self.unread[path] = str(error)
            return None
        return msgspec.structs.replace(score, items=tuple(self._plain(item) for item in score.items))

    def _plain(self, item: ScoreItem) -> ScoreItem:
        """Give the one shared item of this question and verdict."""
        key = (item.digest, item.correct)
        if key not in self._items:
            self._items[key] = msgspec.structs.replace(item, answer=None, logprob=None, tokens=None, ms=None, error=None)
        return self._items[key]


def _order(score: Score) -> tuple[tuple[int, str, str, int], str, str]:
    return checkpoint_order(score.checkpoint), score.finished_at, score.suite


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []

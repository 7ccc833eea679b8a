"""Hints that a watched folder changed, by watchdog's observer; where inotify fails, by a look at the folders every beat.

Reads the folders that the daemon's wakes_on names: globs under the home. A last part with a dot ("status/ranking.json",
"models/*/head.json") names files, whose parents are watched; any other names folders, watched with all below them. Names with a
leading dot are private and never wake anybody. Invariant: folders may vanish and appear; refresh() follows them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent


class Spot(NamedTuple):
    """One folder to watch: the names that matter in it ("" = everything, with all below), and which folder it is now."""

    path: str
    names: str
    inode: int


def _new_observer() -> Any:
    from watchdog.observers import Observer

    return Observer()


class Watcher:
    """Watches the spots of one daemon and calls hint() when something changes there."""

    def __init__(
        self, home: Path, globs: Sequence[str], hint: Callable[[], None], new_observer: Callable[[], Any] = _new_observer
    ) -> None:
        self._home, self._globs, self._hint = home, tuple(globs), hint
        self._new_observer = new_observer
        self._observer: Any = None
        self._watches: dict[Spot, Any] = {}
        self._marks: frozenset[tuple[str, int]] | None = None
        self.problem = ""

    def refresh(self) -> None:
        """Follow folders that vanished or appeared; where the observer fails, look for changes instead."""
        if not self._globs:
            return
        if not self.problem:
            try:
                self._follow()
                return
            except OSError as error:
                self.close()
                self.problem = f"no file events ({error.strerror or error}): folders are looked at every beat instead"
        self._look()

    def close(self) -> None:
        """Stop watching."""
        observer, self._observer, self._watches = self._observer, None, {}
        if observer is not None:
            observer.stop()
            observer.join(5.0)

    def _follow(self) -> None:
        spots = set(self._spots())
        if self._observer is None and spots:
            self._observer = self._new_observer()
            self._observer.start()
        gone = {self._watches.pop(spot) for spot in set(self._watches) - spots}
        for watch in gone - set(self._watches.values()):  # two names in one folder share a watch
            self._observer.unschedule(watch)
        for spot in spots - set(self._watches):
            try:
                self._watches[spot] = self._observer.schedule(
                    _Handler(spot, self._hint), spot.path, recursive=not spot.names, event_filter=_events()
                )
            except FileNotFoundError:
                continue  # gone again already; the next refresh looks anew
            self._hint()  # what arrived before the watch would have been missed

    def _look(self) -> None:
        marks = frozenset(mark for spot in self._spots() for mark in _marks(spot))
        if marks != self._marks:
            self._marks = marks
            self._hint()

    def _spots(self) -> Iterator[Spot]:
        for pattern in self._globs:
            folder, _, last = pattern.rpartition("/")
            names = last if "." in last else ""
            for path in self._home.glob(folder if names and folder else pattern) if folder or not names else (self._home,):
                try:
                    if path.is_dir():
                        yield Spot(str(path), names, path.stat().st_ino)
                except FileNotFoundError:
                    continue


def _events() -> list[type[FileSystemEvent]]:
    from watchdog import events as on

    files = [on.FileCreatedEvent, on.FileMovedEvent, on.FileClosedEvent, on.FileDeletedEvent]
    return [*files, on.DirCreatedEvent, on.DirMovedEvent, on.DirDeletedEvent]


class _Handler:
    """What watchdog calls, in its own thread, for each event of one spot."""

    def __init__(self, spot: Spot, hint: Callable[[], None]) -> None:
        self._spot, self._hint = spot, hint

    def dispatch(self, event: FileSystemEvent) -> None:
        """Hint if the event concerns a name that matters."""
        if any(self._matters(os.fsdecode(path)) for path in (event.src_path, event.dest_path) if path):
            self._hint()

    def _matters(self, path: str) -> bool:
        inside = path.removeprefix(self._spot.path).lstrip("/")
        if not inside or any(part.startswith(".") for part in inside.split("/")):
            return False
        return not self._spot.names or fnmatchcase(inside, self._spot.names)


def _marks(spot: Spot) -> Iterator[tuple[str, int]]:
    for base, folders, files in os.walk(spot.path):
        folders[:] = [] if spot.names else [name for name in folders if not name.startswith(".")]
        for path in (base, *(f"{base}/{name}" for name in files if not name.startswith("."))):
            if spot.names and (path == base or not fnmatchcase(path.rpartition("/")[2], spot.names)):
                continue
            try:
                yield path, os.stat(path).st_mtime_ns  # noqa: PTH116 - called every beat
            except FileNotFoundError:
                continue

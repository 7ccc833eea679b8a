"""A disk that forgets at a power cut what was not flushed: real system calls, with a note of what each would lose.

Every change of a folder (a name that appears, goes or moves) is one change of a journal, a rename one of both its folders, a
new folder one of itself and of the folder it lies in; flushing a folder flushes the changes that touch it, flushing a file its
content and not its name. What writes beside `Ops` is seen by looking at the tree before and after each call, and counts as not
flushed until a call flushes it. Changes of one inode reach the disk in their order; nothing else is in any order.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.files import Ops

Key = tuple[int, str]
"""A name in a folder: (inode of the folder, name)."""


class PowerLost(BaseException):
    """The machine is off."""


@dataclass
class _Node:
    """One inode; fd keeps its number from being used again. durable: what of a file is on the disk for certain."""

    fd: int
    is_folder: bool
    durable: bytes = b""

    def content(self) -> bytes:
        return os.pread(self.fd, os.fstat(self.fd).st_size, 0)


@dataclass
class _Change:
    """Names that change together: what each meant before and means after."""

    names: dict[Key, int | None]
    inodes: set[int]
    touches: set[int]
    is_flushed: bool = False


@dataclass(frozen=True)
class Cut:
    """One possible disk: which of the changes that were not flushed are on it, and what is in each file that was not."""

    kept: tuple[bool, ...]
    contents: tuple[str, ...]


@dataclass
class PowerCut(Ops):
    """The real system calls below a folder; the power goes out in call number `at` (from 0), or never.

    skip: names in the folder that are neither looked at nor ever changed.
    """

    root: Path
    at: float = math.inf
    skip: frozenset[str] = frozenset({"config"})
    calls: int = 0
    _nodes: dict[int, _Node] = field(default_factory=dict)
    _seen: dict[Key, int] = field(default_factory=dict)
    _durable: dict[Key, int] = field(default_factory=dict)
    _changes: list[_Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._top = self._node(self.root)
        self._look()
        self._durable, self._changes = dict(self._seen), []
        for node in self._nodes.values():
            node.durable = b"" if node.is_folder else node.content()

    def close(self) -> None:
        """Let go of every inode."""
        for node in self._nodes.values():
            os.close(node.fd)
        self._nodes.clear()

    # -- the system calls ------------------------------------------------------------------------------------------

    def _do(self, act: Callable[[], None], flushes: Path | None = None) -> None:
        is_last = self.calls == self.at
        self.calls += 1
        self._look()
        if not (is_last and flushes is not None):
            act()
        self._look()
        if is_last:
            raise PowerLost
        if flushes is not None:
            self._flush(flushes)

    def write_new(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        write = super().write_new
        self._do(lambda: write(path, data, mode))

    def append(self, path: Path, data: bytes) -> None:
        def write() -> None:
            with path.open("ab", buffering=0) as file:
                file.write(data)

        self._do(write)
        self._flush(path)

    def fsync(self, path: Path) -> None:
        self._do(lambda: None, flushes=path)

    def replace(self, source: Path, target: Path) -> None:
        replace = super().replace
        self._do(lambda: replace(source, target))

    def rename_new(self, source: Path, target: Path) -> None:
        rename = super().rename_new
        self._do(lambda: rename(source, target))

    def unlink(self, path: Path) -> None:
        unlink = super().unlink
        self._do(lambda: unlink(path))

    # -- what is on the disk ---------------------------------------------------------------------------------------

    def _node(self, path: Path) -> int:
        facts = path.lstat()
        if facts.st_ino not in self._nodes:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._nodes[facts.st_ino] = _Node(fd, stat.S_ISDIR(facts.st_mode))
        return facts.st_ino

    def _walk(self, folder: Path, number: int) -> Iterator[tuple[Key, int]]:
        for name in os.listdir(folder):  # noqa: PTH208 - names only, hundreds of times
            if number == self._top and name in self.skip:
                continue
            path = folder / name
            inner = self._node(path)
            yield (number, name), inner
            if self._nodes[inner].is_folder:
                yield from self._walk(path, inner)

    def _look(self) -> None:
        """Note how the names differ from the last look."""
        before, self._seen = self._seen, dict(self._walk(self.root, self._top))
        differ = [key for key in {**before, **self._seen} if before.get(key) != self._seen.get(key)]
        came = {self._seen[key]: key for key in differ if key in self._seen}
        moved = {key: came[before[key]] for key in differ if key in before and before[key] in came}
        for key in differ:
            if key in moved and key not in moved.values():
                continue  # told by the name that it got
            sources = [source for source, target in moved.items() if target == key]
            names = {key: self._seen.get(key), **{source: self._seen.get(source) for source in sources}}
            inodes = {number for name in names for number in (before.get(name), self._seen.get(name)) if number is not None}
            new = self._seen.get(key)
            is_made = new is not None and not sources and self._nodes[new].is_folder
            self._changes.append(_Change(names, inodes, {name[0] for name in names} | ({new} if is_made and new else set())))

    def _flush(self, path: Path) -> None:
        number = self._node(path)
        node = self._nodes[number]
        if not node.is_folder:
            node.durable = node.content()
            return
        inodes = set[int]()
        for change in reversed(self._changes):
            if number in change.touches or inodes & change.inodes:
                change.is_flushed = True
                inodes |= change.inodes

    # -- after the cut ---------------------------------------------------------------------------------------------

    def cuts(self, most: int, rng: random.Random) -> list[Cut]:
        """Give the disks that may be left: all of them when there are at most `most`, else so many drawn ones.

        Among the drawn ones are always: nothing of it there; all names there and every file empty; everything there.
        """
        self._look()
        self._pending = [change for change in self._changes if not change.is_flushed]
        self._torn = [n for n, node in self._nodes.items() if not node.is_folder and node.content() != node.durable]
        names, files = len(self._pending), len(self._torn)
        if 2**names * 3**files <= most:
            kept = itertools.product((False, True), repeat=names)
            return [Cut(bits, how) for bits in kept for how in itertools.product(("old", "half", "new"), repeat=files)]
        drawn = [Cut((is_kept,) * names, (how,) * files) for is_kept, how in ((False, "old"), (True, "old"), (True, "new"))]
        while len(drawn) < most:
            bits = tuple(rng.random() < 0.5 for _ in range(names))
            drawn.append(Cut(bits, tuple(rng.choice(("old", "half", "new")) for _ in range(files))))
        return drawn

    def restore(self, cut: Cut, into: Path) -> None:
        """Write the disk that a cut leaves into a new folder; what was skipped is linked."""
        names = self._names(cut)
        children: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), number in names.items():
            children.setdefault(folder, []).append((name, number))
        contents = dict(zip(self._torn, cut.contents, strict=True))
        self._write(self._top, into, children, contents)
        for name in self.skip:
            if (self.root / name).exists():
                (into / name).symlink_to(self.root / name)

    def _names(self, cut: Cut) -> dict[Key, int]:
        kept = dict(zip(map(id, self._pending), cut.kept, strict=True))
        lost, names = set[int](), dict(self._durable)
        for change in self._changes:
            if not change.is_flushed and (not kept[id(change)] or lost & change.inodes):
                lost |= change.inodes
                continue
            for key, number in change.names.items():
                if number is None:
                    names.pop(key, None)
                else:
                    names[key] = number
        return names

    def _write(self, folder: int, into: Path, children: dict[int, list[tuple[str, int]]], contents: dict[int, str]) -> None:
        into.mkdir()
        for name, number in children.get(folder, ()):
            node, path = self._nodes[number], into / name
            if node.is_folder:
                self._write(number, path, children, contents)
                continue
            now, how = node.content(), contents.get(number, "new")
            begins = len(node.durable) if now.startswith(node.durable) else 0
            middle = now[: (begins + len(now)) // 2]
            path.write_bytes({"old": node.durable, "half": middle, "new": now}[how])
            facts = os.fstat(node.fd)
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def every_cut(
    make: Callable[[], Path], act: Callable[[Path, Ops], object], judge: Callable[[Path, str, bool], Sequence[str]], *,
    most: int, rng: random.Random,
) -> tuple[int, list[str]]:  # fmt: skip
    """Cut the power in every call of act(), each time on a new stage, and judge the disks that may be left.

    make() gives the folder of a new stage; judge(folder, what, is_done) says what is wrong, is_done: act() had returned. Give
    how many disks were judged, and what was wrong.
    """
    count, found, is_done, at = 0, list[str](), False, -1
    while not is_done:
        at += 1
        root = make()
        ops = PowerCut(root, at)
        try:
            act(root, ops)
            is_done = True
        except PowerLost:
            is_done = False
        for cut in ops.cuts(most, rng):
            count += 1
            into = root.with_name(f"{root.name}-{count}")
            ops.restore(cut, into)
            found += judge(into, f"call {at}, {cut}", is_done)
        ops.close()
    return count, found

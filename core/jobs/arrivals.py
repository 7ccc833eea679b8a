"""What lies in the inbox, and which of it is final.

Place in the flow: watch_inbox asks at every scan and takes what is ready. Reads folders and /proc, opens no drop, writes
nothing. Invariants: a regular file is ready only when it arrived by rename or inode, size and mtime stood still, and no process
that we may look at has it open for writing; anything else is ready at once, with the reason to refuse it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from core.jobs.drop import printable
from core.jobs.inbox import KINDS, PACKINGS, PLACES, SIDECAR_ENDING, UNFINISHED, reading_of
from core.jobs.job import Reason
from core.paths import Paths

ALONE_S = 60.0
"""A sidecar waits so long for its file to appear."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One thing in the inbox that may be taken; refusal: why it will not be read."""

    place: str
    name: str
    facts: os.stat_result
    refusal: Reason | None

    @property
    def mark(self) -> tuple[int, int, int]:
        """Give what stands still while nobody writes."""
        return self.facts.st_ino, self.facts.st_size, self.facts.st_mtime_ns

    @property
    def is_regular(self) -> bool:
        """Say whether it is a plain file."""
        return stat.S_ISREG(self.facts.st_mode)

    @property
    def arrived_by_rename(self) -> bool:
        """Say whether the name is younger than the last write: a rename changes ctime only, a write both."""
        return self.facts.st_ctime_ns > self.facts.st_mtime_ns


class Arrivals:
    """Looks at the inbox again and again, and remembers since when each file has stood still (monotonic seconds)."""

    def __init__(self) -> None:
        self._still: dict[tuple[str, str], tuple[tuple[int, int, int], float]] = {}

    def look(self, paths: Paths, mono: float, settle_s: float, largest: int) -> tuple[list[Arrival], list[str]]:
        """Give what is ready, in order of arrival, and the names that are still being written."""
        found = [arrival for place in PLACES for arrival in _scan(paths.inbox / place, place, largest)]
        sidecars = {(arrival.place, arrival.name): arrival for arrival in found if _is_sidecar(arrival)}
        drops = [arrival for arrival in found if not _is_sidecar(arrival)]
        before, self._still = self._still, {}
        for arrival in found:
            key = (arrival.place, arrival.name)
            mark, since = before.get(key, (arrival.mark, mono))
            self._still[key] = (arrival.mark, since if mark == arrival.mark else mono)
        ready: list[Arrival] = []
        waiting: list[Arrival] = []
        for drop in sorted(drops, key=lambda drop: (drop.facts.st_ctime_ns, drop.name)):
            sidecar = sidecars.get((drop.place, drop.name + SIDECAR_ENDING))
            parts = [drop] if sidecar is None else [drop, sidecar]
            is_final = not drop.is_regular or all(self._is_final(part, mono, settle_s) for part in parts)
            (ready if is_final else waiting).append(drop)
        ready += self._left_alone(paths.inbox, sidecars.values(), mono)
        written = open_for_writing(paths.inbox / drop.place / drop.name for drop in ready if drop.is_regular)
        open_now = [drop for drop in ready if str(paths.inbox / drop.place / drop.name) in written]
        return [drop for drop in ready if drop not in open_now], [printable(drop.name) for drop in (*waiting, *open_now)]

    def _left_alone(self, inbox: Path, sidecars: Iterable[Arrival], mono: float) -> Iterator[Arrival]:
        """Give, as drops that are refused, the sidecars whose file has not appeared, nor an unfinished copy of it."""
        for sidecar in sidecars:
            name = sidecar.name[: -len(SIDECAR_ENDING)]
            since = self._still[(sidecar.place, sidecar.name)][1]
            if mono - since >= ALONE_S and not _is_coming(inbox / sidecar.place, name, sidecar.name):
                message = (
                    f"this is the sidecar of {printable(name)!r}, which did not come within {ALONE_S:.0f} s; "
                    "drop the sidecar and then its file"
                )
                yield replace(sidecar, refusal=Reason(code="empty_file", message=message))

    def _is_final(self, arrival: Arrival, mono: float, settle_s: float) -> bool:
        since = self._still[(arrival.place, arrival.name)][1]
        return arrival.arrived_by_rename or mono - since >= settle_s


def _is_coming(folder: Path, name: str, sidecar: str) -> bool:
    """Say whether a file is there, or begins to be: copying programs put a dot before its name, or more after it."""
    return any(path.name != sidecar and path.name.lstrip(".").startswith(name) for path in folder.iterdir())


def _is_sidecar(arrival: Arrival) -> bool:
    return arrival.name.endswith(SIDECAR_ENDING) and arrival.refusal is None


def _scan(folder: Path, place: str, largest: int) -> Iterator[Arrival]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.endswith(UNFINISHED):
                    continue
                try:
                    facts = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                is_place = not place and entry.name in PLACES and stat.S_ISDIR(facts.st_mode)
                if not is_place:
                    refusal = refusal_of(folder / entry.name, facts, largest)
                    yield Arrival(place=place, name=entry.name, facts=facts, refusal=refusal)
    except (FileNotFoundError, NotADirectoryError):
        return


def refusal_of(path: Path, facts: os.stat_result, largest: int) -> Reason | None:
    """Say why a thing in the inbox will not be read, without opening it."""
    if not stat.S_ISREG(facts.st_mode):
        what = _kind(facts.st_mode)
        return Reason(code="not_a_regular_file", message=f"this is {what}; drop plain files, one by one")
    name = path.name.lower()
    if name.endswith(SIDECAR_ENDING):
        return None
    if reading_of(name) is None:
        return Reason(
            code="unknown_ending",
            message=f"expected a name that ends in {', '.join(KINDS)}, or in one of these and {' or '.join(PACKINGS)}; "
            "name the file as what it is",
        )
    if facts.st_size > largest:
        return Reason(
            code="too_big",
            message=f"the file has {facts.st_size} bytes, {largest} are allowed (intake.max_file_bytes); split it",
        )
    if not os.access(path, os.R_OK, effective_ids=True):
        return Reason(code="unreadable", message="the file may not be read by Weaver; make it readable and drop it again")
    return None


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "no regular file")


def open_for_writing(wanted: Iterable[Path]) -> set[str]:
    """Give those paths that a process we may look at (the same user's) has open for writing, by its name in /proc."""
    names = {os.path.realpath(path.parent) + "/" + path.name: str(path) for path in wanted}
    if not names:
        return set()
    processes = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - hundreds of names at each arrival
    return {names[target] for process in processes for target in _written_by(process, names)}


def _written_by(process: str, names: Container[str]) -> Iterator[str]:
    """Give those names that a process has open for writing; nothing for another user's process or one that ended."""
    folder = f"/proc/{process}/fd"
    try:
        descriptors = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(f"{folder}/{descriptor}")  # noqa: PTH115
            if target in names and _writes(process, descriptor):
                yield target
        except OSError:  # closed since
            continue


def _writes(process: str, descriptor: str) -> bool:
    """Say whether a descriptor is open for writing: `flags:` in /proc/<pid>/fdinfo/<fd> is octal."""
    text = Path(f"/proc/{process}/fdinfo/{descriptor}").read_text(encoding="ascii")
    flags = next(int(line.split()[1], 8) for line in text.splitlines() if line.startswith("flags:"))
    return flags & os.O_ACCMODE != os.O_RDONLY

"""System calls of core/files of which number `at` ends the process, or fails as on a full or a broken disk.

Shared by test_protocols, tests/trainer/test_killed_saves.py and benchmarks/faults.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from core.files import Ops


class Killed(BaseException):
    """The process ends here."""


class BrokenAt(Ops):
    """The real system calls; call number `at` (from 0) fails with `error`, or the process ends before or after it.

    A write that fails, or during which the process ends, has half of its data on the disk.
    """

    def __init__(self, at: int, error: int | None = None, is_after: bool = False) -> None:
        super().__init__()
        self.calls = 0
        self._at, self._error, self._is_after = at, error, is_after

    @property
    def was_reached(self) -> bool:
        """Say whether the call was made."""
        return self.calls > self._at

    def _do(self, path: Path, act: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        is_it, self.calls = self.calls == self._at, self.calls + 1
        if is_it and not self._is_after:
            if half is not None:
                half()
            raise Killed if self._error is None else OSError(self._error, os.strerror(self._error), str(path))
        act()
        if is_it:
            raise Killed

    def write_new(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        write = super().write_new
        self._do(path, lambda: write(path, data, mode), lambda: write(path, data[: len(data) // 2], mode))

    def append(self, path: Path, data: bytes) -> None:
        append = super().append
        self._do(path, lambda: append(path, data), lambda: append(path, data[: len(data) // 2]))

    def fsync(self, path: Path) -> None:
        fsync = super().fsync
        self._do(path, lambda: fsync(path))

    def replace(self, source: Path, target: Path) -> None:
        replace = super().replace
        self._do(source, lambda: replace(source, target))

    def rename_new(self, source: Path, target: Path) -> None:
        rename = super().rename_new
        self._do(source, lambda: rename(source, target))

    def unlink(self, path: Path) -> None:
        unlink = super().unlink
        self._do(path, lambda: unlink(path))

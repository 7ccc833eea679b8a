"""What checking a file needs from outside: the home's configuration, tokenizer and suites, a private folder, patience.

Place in the flow: the verbs of `weaver data` open their files here. Reads config/, models/ and queue/; writes only into a
temporary folder outside of the home. Invariant: a model whose base is not built yet is checked with the very tokenizer that it
will have.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.clock import SystemClock
from core.config import WeaverConfig
from core.errors import StartFailed, Unavailable
from core.evals.line_checks import LineChecks
from core.in_force import read_in_force
from core.jobs.building import Place
from core.jobs.check import Check, Checked
from core.jobs.spool import Spool
from core.jobs.verdict import Contents
from core.paths import Paths
from weaver.cli.output import plain, print_message
from weaver.cli.sidecar_options import Said, check_said, sidecar_as_dropped, whole_path

BUILTIN = "builtin:tiny-qwen3"
POLL_S = 0.05
SAID_S = 2.0


class Desk:
    """One home and one temporary folder in which files of a person are checked."""

    def __init__(self, paths: Paths, said: Said, folder: Path) -> None:
        self._paths, self._said, self._folder = paths, said, folder
        self.config: WeaverConfig = read_in_force(paths, os.environ).config.weaver
        check_said(said, sorted(self.config.models))
        self.checks = LineChecks(paths, self._unbuilt)
        self._known = Contents(Spool(paths), paths)
        self._clock = SystemClock()
        self._opened = 0
        self._last_said = self._clock.mono() + SAID_S

    def open(self, file: Path) -> Check:
        """Open a file for checking, with the sidecar that it would be dropped with. Raises InvalidData, NoRoom."""
        file = whole_path(file)
        self._opened += 1
        folder = self._folder / str(self._opened)
        folder.mkdir()
        return Check(file, sidecar_as_dropped(file, self._said), folder, self._place(), self._clock.now())

    def check(self, file: Path) -> Checked:
        """Check a file to its end. Raises InvalidData, NoRoom, Unavailable, TemplateRefused."""
        check = self.open(file)
        while not check.advance(float("inf")):
            time.sleep(POLL_S)
        return check.so_far()

    def _place(self) -> Place:
        return Place(
            paths=Paths(self._folder), config=self.config, mono=self._clock.mono, is_stopping=lambda: False, beat=self._say,
            setting=lambda model, spec, sidecar: self.checks.setting(self.config, model, spec, sidecar),
            known=self._known.job_with,
        )  # fmt: skip

    def _say(self, note: str) -> None:
        """Tell a person who waits at a terminal how far it is."""
        if sys.stderr.isatty() and self._clock.mono() - self._last_said >= SAID_S:
            self._last_said = self._clock.mono()
            print_message(plain(note))

    def _unbuilt(self, model: str) -> Path:
        """Give a folder with the tokenizer of a model whose base is not built yet. Raises Unavailable, StartFailed."""
        base = self.config.models[model].base
        if base != BUILTIN:
            if (Path(base) / "tokenizer.json").is_file():
                return Path(base)
            raise Unavailable(
                service=f"the base of model {model}", url=base, detail="it is not there yet; `weaver up` makes it"
            )
        folder = self._folder / "tokenizer"
        if not folder.exists():
            argv = [sys.executable, "-m", "trainer.tiny", str(folder)]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
                raise StartFailed(program="python -m trainer.tiny", code=done.returncode, detail=last)
        return folder


@contextmanager
def desk(paths: Paths, said: Said) -> Iterator[Desk]:
    """Open a desk; everything that was written for it is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="weaver-data-") as folder:
        yield Desk(paths, said, Path(folder))

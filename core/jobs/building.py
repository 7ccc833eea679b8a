"""One drop between its arrival and its verdict: opened, unpacked, validated in slices, watched for somebody who still writes.

Place in the flow: watch_inbox opens every folder of .building here and brings it forward until job.json is there; core/jobs/
unpack makes lines of what is no plain JSON Lines, core/jobs/intake reads them, core/jobs/verdict judges. Files written: theirs,
in the drop's private folder. Invariant: a drop gets its verdict only from content that stood still while it was read.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from core.config import WeaverConfig
from core.files import OPS, Ops
from core.jobs.arrivals import open_for_writing
from core.jobs.drop import Taken, read_sidecar, resume_taking, retaken
from core.jobs.formats import DropRefused
from core.jobs.intake import Intake, Rules
from core.jobs.job import Sidecar, Spec
from core.jobs.unpack.child import Unpackers, needs_unpacking
from core.jobs.unpack.order import ANSWER, LINES, Order, bounds_of
from core.jobs.validate import Setting, clipped
from core.jobs.verdict import decide, has_verdict, refused, write_job
from core.paths import Paths


@dataclass(frozen=True)
class Place:
    """What validating a drop needs from outside. mono in seconds.

    setting(model, spec, sidecar) gives the checks; known(model, content_sha256) the earlier job with the same lines.
    """

    paths: Paths
    config: WeaverConfig
    setting: Callable[[str, Spec, Sidecar], Setting]
    known: Callable[[str, str], str | None]
    mono: Callable[[], float]
    is_stopping: Callable[[], bool]
    beat: Callable[[str], None]
    unpackers: Unpackers = field(default_factory=Unpackers)
    ops: Ops = OPS


class Building:
    """A drop that waits for its verdict. Everything in here can be made again from its folder by open_drop()."""

    def __init__(self, folder: Path, taken: Taken, sidecar: Sidecar, model: str, place: Place) -> None:
        self.folder = folder
        self.taken = taken
        self.slices = 0
        self.waits_for = ""
        self._sidecar, self._model = sidecar, model
        self._intake: Intake | None = None
        self._refusal: DropRefused | None = None
        self._is_read = False
        self._bytes = taken.bytes
        self._changed_mono: float | None = None
        if not needs_unpacking(taken.name):
            self._intake = self._read_from(place, "raw", "line")

    @property
    def is_unpacking(self) -> bool:
        """Say whether it waits for the child that unpacks it."""
        return self._intake is None and self._refusal is None

    @property
    def share_read(self) -> float:
        """Give the part of the drop that was read, 0 to 1."""
        if self._intake is None:
            return 0.0
        return self._intake.tally.offset / self._bytes if self._bytes else 1.0

    def advance(self, place: Place, until: float) -> bool:
        """Unpack or validate until the monotonic time `until`; True when job.json holds the verdict.

        After False, waits_for says what is waited for, if anything. Raises Unavailable, TemplateRefused, InvalidData when the
        checks cannot be had, OSError when nothing can be written (open the drop again then).
        """
        self.slices += 1
        self.waits_for = self._changes(place)
        if self.waits_for or (self.is_unpacking and not self._is_unpacked(place)):
            return False
        if not self._is_read:
            self._is_read = self._intake is None or self._validate(self._intake, place, until)
        if self._is_read:
            self.waits_for = self._changes(place)
            if not self.waits_for and open_for_writing([self.folder / "raw"]):
                self.waits_for = "a program still has it open for writing"
        if not self._is_read or self.waits_for:
            return False
        self._judge(place)
        return True

    def _is_unpacked(self, place: Place) -> bool:
        """Look whether the child has its answer; from then on there are lines to read, or a refusal."""
        self._refusal = _unfit(self.folder / "raw")
        if self._refusal is not None:
            return True
        order = Order(
            raw=str(self.folder / "raw"), name=self.taken.name, folder=str(self.folder), bounds=bounds_of(place.config),
            columns=self._sidecar.columns or {},
        )  # fmt: skip
        found = place.unpackers.bring(order, self.taken.bytes, place.mono())
        if found is None:
            return False
        if found.refusal is None:
            self._intake, self._bytes = self._read_from(place, LINES, found.unit), found.bytes
        else:
            self._refusal = DropRefused(code=found.refusal.code, detail=found.refusal.message)
        return True

    def _read_from(self, place: Place, file: str, unit: str) -> Intake:
        rules = Rules(
            sidecar=self._sidecar, max_line_bytes=place.config.intake.max_line_bytes, file=file, unit=unit,
            setting=lambda spec: place.setting(self._model, spec, self._sidecar),
        )  # fmt: skip
        return Intake(self.folder, rules, place.ops)

    def _validate(self, intake: Intake, place: Place, until: float) -> bool:
        return intake.advance(
            is_enough=lambda: place.mono() >= until or place.is_stopping(),
            mono=place.mono,
            beat=lambda: place.beat(f"validating {self.taken.name!r}, line {intake.tally.line}"),
        )

    def _judge(self, place: Place) -> None:
        if self._intake is not None:
            share = place.config.intake.reject_share
            job = decide(self.taken, self._sidecar, self._model, self._intake, share, place.known)
        else:
            assert self._refusal is not None
            reason = clipped(self._refusal.code, self._refusal.detail)
            job = refused(self.taken, self._sidecar, self._model, reason)
        write_job(self.folder, job, place.ops)

    def _changes(self, place: Place) -> str:
        """Say that somebody wrote to the drop after it was taken, until it stands still; what was read of it is forgotten."""
        try:
            facts = (self.folder / "raw").lstat()
        except FileNotFoundError:  # taken away from .building/ by hand: reading it gives the verdict
            return ""
        if (facts.st_size, facts.st_mtime_ns) != (self.taken.bytes, self.taken.mtime_ns):
            self._start_over(place)
            self.taken = retaken(self.folder, self.taken, facts, place.ops)
            self._bytes = facts.st_size
            self._changed_mono, self._is_read = place.mono(), False
        if self._changed_mono is not None and place.mono() - self._changed_mono < place.config.intake.settle_s:
            return "it was written to after it was taken; it is read again when it stands still"
        return ""

    def _start_over(self, place: Place) -> None:
        """Forget what was read of the drop, and what was unpacked."""
        place.unpackers.stop(self.folder)
        if self._intake is not None:
            self._intake.start_over()
        self._refusal = None
        if needs_unpacking(self.taken.name):
            self._intake = None
            (self.folder / ANSWER).unlink(missing_ok=True)


def _unfit(raw: Path) -> DropRefused | None:
    """Say why a drop cannot be given to a child: it is gone, or somebody put something else in its place."""
    try:
        facts = raw.lstat()
    except OSError as error:
        return DropRefused(code="unreadable", detail=f"the file cannot be opened: {error.strerror}")
    if not stat.S_ISREG(facts.st_mode):
        return DropRefused(code="not_a_regular_file", detail="this is no regular file; drop plain files")
    return None


def open_drop(place: Place, folder: Path) -> Building | None:
    """Open a folder of .building afresh; None when it has its verdict in job.json already, or was empty and is gone."""
    taken = None if has_verdict(folder) else resume_taking(place.paths, folder, place.ops)
    if taken is None:
        return None
    try:
        if taken.refusal is not None:
            raise DropRefused(code=taken.refusal.code, detail=taken.refusal.message)
        sidecar = read_sidecar(folder, place.config.models)
    except DropRefused as error:
        write_job(folder, refused(taken, Sidecar(), place.config.model, clipped(error.code, error.detail)), place.ops)
        return None
    return Building(folder, taken, sidecar, sidecar.model or place.config.model, place)

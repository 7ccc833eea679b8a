"""One drop between its arrival and its verdict: opened, validated in slices, watched for somebody who still writes into it.

Place in the flow: watch_inbox opens every folder of .building here and brings it forward until job.json is there; core/jobs/
intake does the reading, core/jobs/verdict the judging. Files written: what those write, in the drop's private folder.
Invariant: a drop gets its verdict only from content that stood still while it was read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.config import WeaverConfig
from core.jobs.arrivals import open_for_writing
from core.jobs.drop import Taken, read_sidecar, resume_taking, retaken
from core.jobs.formats import DropRefused
from core.jobs.intake import Intake, Rules
from core.jobs.job import Sidecar, Spec
from core.jobs.validate import Setting, clipped
from core.jobs.verdict import decide, refused, write_job
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


class Building:
    """A drop that waits for its verdict. Everything in here can be made again from its folder by open_drop()."""

    def __init__(self, folder: Path, taken: Taken, sidecar: Sidecar, model: str, intake: Intake) -> None:
        self.folder = folder
        self.taken = taken
        self.slices = 0
        self.waits_for = ""
        self._sidecar, self._model, self._intake = sidecar, model, intake
        self._is_read = False
        self._changed_mono: float | None = None

    @property
    def share_read(self) -> float:
        """Give the part of the drop that was read, 0 to 1."""
        return self._intake.tally.offset / self.taken.bytes if self.taken.bytes else 1.0

    def advance(self, place: Place, until: float) -> bool:
        """Validate until the monotonic time `until`; True when job.json holds the verdict.

        After False, waits_for says what is waited for, if anything. Raises Unavailable, TemplateRefused, InvalidData when the
        checks cannot be had, OSError when nothing can be written (open the drop again then).
        """
        self.slices += 1
        self.waits_for = self._changes(place)
        if self.waits_for:
            return False
        if not self._is_read:
            self._is_read = self._intake.advance(
                is_enough=lambda: place.mono() >= until or place.is_stopping(),
                mono=place.mono,
                beat=lambda: place.beat(f"validating {self.taken.name!r}, line {self._intake.tally.line}"),
            )
        if self._is_read:
            self.waits_for = self._changes(place)
            if not self.waits_for and open_for_writing([self.folder / "raw"]):
                self.waits_for = "a program still has it open for writing"
        if not self._is_read or self.waits_for:
            return False
        share = place.config.intake.reject_share
        write_job(self.folder, decide(self.taken, self._sidecar, self._model, self._intake, share, place.known))
        return True

    def _changes(self, place: Place) -> str:
        """Say that somebody wrote to the drop after it was taken, until it stands still; what was read of it is forgotten."""
        try:
            facts = (self.folder / "raw").lstat()
        except FileNotFoundError:  # taken away from .building/ by hand: reading it gives the verdict
            return ""
        if (facts.st_size, facts.st_mtime_ns) != (self.taken.bytes, self.taken.mtime_ns):
            self._intake.start_over()
            self.taken = retaken(self.folder, self.taken, facts)
            self._changed_mono, self._is_read = place.mono(), False
        if self._changed_mono is not None and place.mono() - self._changed_mono < place.config.intake.settle_s:
            return "it was written to after it was taken; it is read again when it stands still"
        return ""


def open_drop(place: Place, folder: Path) -> Building | None:
    """Open a folder of .building afresh; None when it has its verdict in job.json already, or was empty and is gone."""
    taken = None if (folder / "job.json").exists() else resume_taking(place.paths, folder)
    if taken is None:
        return None
    try:
        if taken.refusal is not None:
            raise DropRefused(code=taken.refusal.code, detail=taken.refusal.message)
        sidecar = read_sidecar(folder, place.config.models)
    except DropRefused as error:
        write_job(folder, refused(taken, Sidecar(), place.config.model, clipped(error.code, error.detail)))
        return None
    model = sidecar.model or place.config.model

    def setting(spec: Spec) -> Setting:
        return place.setting(model, spec, sidecar)

    rules = Rules(sidecar=sidecar, max_line_bytes=place.config.intake.max_line_bytes, setting=setting)
    return Building(folder, taken, sidecar, model, Intake(folder, rules))

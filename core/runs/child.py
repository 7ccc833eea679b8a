"""Finding the trainer child of a home: by its heartbeat, or by its mark in /proc when the view is gone or too young."""

from __future__ import annotations

from core.paths import Paths
from core.process import ProcessRef, is_alive, spawned
from core.status import read_heartbeat

TRAINER = "trainer"


def living_trainer(paths: Paths) -> ProcessRef | None:
    """Give the living trainer of this home; None when there is none. status/ may be deleted at any moment."""
    beat = read_heartbeat(paths, TRAINER)
    if beat is not None and is_alive(beat.process):
        return beat.process
    return next((ref for program, ref in spawned(paths.home_id) if program == TRAINER), None)

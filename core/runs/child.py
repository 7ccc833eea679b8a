"""Finding the trainer child of a home: by its heartbeat, or by its mark in /proc when the view is gone or too young."""

from __future__ import annotations

from core.paths import Paths
from core.process import ProcessRef, is_alive, spawned
from core.status import read_heartbeat

TRAINER = "trainer"


def living_trainer(paths: Paths) -> ProcessRef | None:
    """Give the living trainer of this home; None when there is none. status/ may be deleted at any moment."""
    beat = read_heartbeat(paths, TRAINER)
    if beat is not None:
        ref = ProcessRef(pid=beat.pid, start_ticks=beat.start_ticks, boot_id=beat.boot_id)
        if is_alive(ref):
            return ref
    return next((ref for program, ref in spawned(paths.home_id) if program == TRAINER), None)

"""Saying that a checkpoint is kept and removing one exclude each other: one lock a model, for moments.

Place in the flow: pins, reset and switching hold it while they see that a checkpoint is there and say that it stays; removal
holds it from asking what must stay to the rename out of sight. Locked: the folder models/<model>/ itself; the kernel lets go
when a holder dies. Invariant: no removal that looked before takes what was pinned, served or reset to since.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.files import exclusive
from core.paths import ModelPaths


@contextmanager
def deciding(model: ModelPaths) -> Iterator[None]:
    """Be the only one who decides what of a model stays; waits for whoever does. Nothing slow belongs inside."""
    with exclusive(model.root):
        yield

"""Names in the inbox: which are drops, which belong to a drop, which are not finished.

Place in the flow: the spool counts by it, watch_inbox takes by it, generators and the web process name by it. Reads folders,
writes nothing. Invariant: what is no drop is neither counted nor taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SIDECAR_ENDING = ".meta.json"
UNFINISHED = (".part", ".tmp", ".crdownload", ".filepart", "~", ".swp")
PLACES = ("", "high", "low")


def waiting(inbox: Path) -> Iterator[str]:
    """Give the names of the drops that were not taken yet; a missing folder has none."""
    for place in PLACES:
        try:
            with os.scandir(inbox / place) as entries:
                for entry in entries:
                    is_place = not place and entry.name in PLACES
                    if (
                        not is_place
                        and not entry.name.startswith(".")
                        and not entry.name.endswith((SIDECAR_ENDING, *UNFINISHED))
                    ):
                        yield entry.name
        except FileNotFoundError:
            continue

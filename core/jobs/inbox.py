"""Names in the inbox: which are drops and how they are read, which belong to a drop, which are not finished.

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
KINDS = (".jsonl", ".json", ".csv", ".parquet")
PACKINGS = (".gz", ".zst")


def reading_of(name: str) -> tuple[str, str] | None:
    """Give how a drop is read by its name: (one of KINDS, one of PACKINGS or ""); None when it cannot be."""
    name = name.lower()
    packing = next((ending for ending in PACKINGS if name.endswith(ending)), "")
    kind = next((ending for ending in KINDS if name.removesuffix(packing).endswith(ending)), None)
    return None if kind is None else (kind, packing)


def stem(name: str) -> str:
    """Give a drop's name without the endings that say how it is read."""
    reading = reading_of(name)
    return name if reading is None else name[: -len("".join(reading))]


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

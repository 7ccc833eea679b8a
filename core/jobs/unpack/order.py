"""What the child that unpacks a drop is asked, and what it answers.

Place in the flow: core/jobs/unpack/child starts the child with an Order as its argument; core/jobs/unpack/__main__ obeys it.
Files: <folder>/lines.jsonl and then <folder>/unpacked.json, both private. Invariant: unpacked.json is there only when
lines.jsonl is whole, and names the very file that was unpacked.
"""

from __future__ import annotations

import os

from core.config import WeaverConfig
from core.jobs.job import Reason
from core.records import Part, Record

LINES = "lines.jsonl"
ANSWER = "unpacked.json"
REFUSED = b"!"
"""Begins a line of lines.jsonl that is no JSON but a Refused: this record could not be made a line."""


class Bounds(Part, frozen=True):
    """How large things may be, in bytes; ratio: unpacked to packed; floor_bytes: free space that is left on the disk."""

    max_line_bytes: int
    max_file_bytes: int
    max_json_bytes: int
    max_unpack_ratio: int
    floor_bytes: int


class Order(Part, frozen=True):
    """Unpack the file raw, which was dropped as name, into folder. columns: as the sidecar maps them; parent: a pid."""

    raw: str
    name: str
    folder: str
    bounds: Bounds
    columns: dict[str, str] = {}
    parent: int = 0


class Unpacked(Record, frozen=True, tag="weaver.unpacked/1"):
    """unpacked.json: lines.jsonl is whole and has so many bytes, or the file is refused.

    unit: what the person counts, one a line of lines.jsonl: line, record (CSV), row (Parquet), element (JSON). raw_*: the file.
    """

    unit: str
    bytes: int
    refusal: Reason | None
    raw_bytes: int
    raw_mtime_ns: int
    raw_inode: int

    def is_of(self, facts: os.stat_result) -> bool:
        """Say whether it was made from the file that has these facts."""
        return (self.raw_bytes, self.raw_mtime_ns, self.raw_inode) == (facts.st_size, facts.st_mtime_ns, facts.st_ino)


class Refused(Part, frozen=True):
    """A record that could not be made a line: why, and its text as far as it has one."""

    code: str
    reason: str
    raw: str


def bounds_of(config: WeaverConfig) -> Bounds:
    """Give the bounds that the configuration sets."""
    intake = config.intake
    return Bounds(
        max_line_bytes=intake.max_line_bytes, max_file_bytes=intake.max_file_bytes, max_json_bytes=intake.max_json_bytes,
        max_unpack_ratio=intake.max_unpack_ratio, floor_bytes=config.disk.floor_bytes,
    )  # fmt: skip

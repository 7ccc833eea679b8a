"""One line of a drop -> one canonical line with its token length, or the reason why not. The same verdict for every caller.

Place in the flow: intake (watch_inbox and `weaver data check`) asks here for every line: check_line for one, check_plain for
those that core/jobs/plain found fine. Reads and writes no file. Invariants: pure: one line, one setting, one verdict; what
passes went through both stages, QUICK and STANDARD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from core.errors import LineRefused
from core.jobs import quick, standard
from core.jobs.job import Line, Reason
from core.jobs.quick import LONGEST_REASON, Grader, Setting, clipped, parse_line
from core.jobs.standard import Measured

__all__ = ["LONGEST_REASON", "Accepted", "Grader", "Setting", "check_line", "check_plain", "clipped", "parse_line"]

_DECODER = msgspec.json.Decoder(Line)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line that will be trained. data: the canonical line as JSON, no newline; longest: tokens of its longest example."""

    data: bytes
    longest: int
    tokens: int


def check_line(data: bytes, setting: Setting) -> Accepted | Reason:
    """Give the canonical form of a line, or why it is refused. Raises nothing for what a line may hold."""
    try:
        line = quick.check(data, setting)
    except LineRefused as error:
        return clipped(error.code, error.detail)
    return _verdict(line, standard.measure([line], setting)[0])


def check_plain(lines: Sequence[bytes], setting: Setting) -> list[Accepted | Reason]:
    """Give for each line, found plain by stage QUICK, what check_line gives for it."""
    decoded = [_DECODER.decode(data) for data in lines]
    return [_verdict(line, found) for line, found in zip(decoded, standard.measure(decoded, setting), strict=True)]


def _verdict(line: Line, found: Measured | LineRefused) -> Accepted | Reason:
    if isinstance(found, LineRefused):
        return clipped(found.code, found.detail)
    return Accepted(data=msgspec.json.encode(line), longest=found.longest, tokens=found.total)

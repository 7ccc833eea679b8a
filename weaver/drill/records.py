"""What a drill finds: the record that `weaver drill --json` prints, and what is collected on the way to it.

Place in the flow: weaver/drill/faults.py fills Trials, weaver/drill/run.py makes the record of them. No files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from core.accounting.records import AuditLines
from core.records import Part, Record


class DrilledFault(Part, frozen=True):
    """One kind of fault: how often it was made, what broke a rule, and the seconds until all was well again.

    The percentiles are null where nothing was to recover; note says what was done, or why nothing was; judged: the invariants
    that were judged after it.
    """

    fault: str
    trials: int
    violations: int
    p50_s: float | None
    p95_s: float | None
    max_s: float | None
    note: str
    judged: list[str]


class Drill(Record, frozen=True, tag="weaver.drill/1"):
    """`weaver drill --json`. lines: what became of what was dropped; null when nothing was done (--dry-run).

    Every violation begins with the name of its fault and a colon; the last of the faults is the verdict at rest.
    """

    ok: bool
    seed: int
    full: bool
    seconds: float
    faults: list[DrilledFault]
    lines: AuditLines | None
    violations: list[str]


@dataclass
class Trials:
    """The trials of one fault."""

    fault: str
    note: str
    count: int = 0
    recoveries: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    judged: set[str] = field(default_factory=set)

    def record(self) -> DrilledFault:
        """Give it as a record."""
        times = self.recoveries
        shares = [percentile(times, share) if times else None for share in (0.5, 0.95, 1.0)]
        return DrilledFault(
            fault=self.fault, trials=self.count, violations=len(self.violations), p50_s=shares[0], p95_s=shares[1],
            max_s=shares[2], note=self.note, judged=sorted(self.judged, key=lambda name: int(name[1:])),
        )  # fmt: skip


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that this share of the values does not exceed."""
    return sorted(values)[max(0, -(-len(values) * round(share * 100) // 100) - 1)]

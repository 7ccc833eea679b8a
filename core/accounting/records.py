"""What an audit finds: the records that `weaver audit --json` prints, and the list in which its parts collect violations.

Place in the flow: every module of core/accounting makes Findings; core/accounting/audit.py puts them together. No files.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.records import Part, Record

SHOWN = 100


class AuditLines(Part, frozen=True):
    """How many lines became what. dropped is the sum of all the others."""

    dropped: int
    trained: int
    rejected: int
    duplicate: int
    pending: int
    failed: int
    removed: int
    expired: int
    reverted: int
    unaccounted: int


class Invariant(Part, frozen=True):
    """One rule: how many things were checked and what breaks it (the first of many)."""

    id: str
    ok: bool
    checked: int
    violations: list[str]


class Audit(Record, frozen=True, tag="weaver.audit/1"):
    """`weaver audit --json` (CONTRACTS.md section 9)."""

    ok: bool
    lines: AuditLines
    invariants: list[Invariant]


@dataclass
class Findings:
    """What breaks a rule; the texts beyond SHOWN are only counted."""

    checked: int = 0
    count: int = 0

    def __post_init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        """Note a violation."""
        self.count += 1
        if self.count <= SHOWN:
            self.texts.append(text)

    def invariant(self, name: str) -> Invariant:
        """Give what was found as the record of one invariant."""
        more = [f"and {self.count - SHOWN} more"] if self.count > SHOWN else []
        return Invariant(id=name, ok=self.count == 0, checked=self.checked, violations=self.texts + more)

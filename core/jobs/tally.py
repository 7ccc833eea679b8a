"""What validation has counted so far, and the verdict on the whole file that follows from it.

Place in the flow: intake counts here line by line and keeps the tally as cursor.json in the drop's private folder, so that a
kill costs nothing. Reads and writes no file. Invariant: lines = accepted + rejected + duplicate; blank lines are no lines.
"""

from __future__ import annotations

import msgspec

from core.jobs.job import LineCounts, Reason, Spec, TokenCounts

FORGIVEN = ("over_length", "eval_leak")
"""Codes that do not count towards the share of refused lines above which a file is rejected."""


class Tally(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="schema", tag="weaver.intake-cursor/1"):
    """cursor.json: validation goes on at `offset` of the drop; data and quarantine are whole up to these sizes (bytes).

    refusal: the verdict on the whole file was found already, the rest is only counted. failed_at, failures: a line on which
    checking itself broke, and how often; singly: checking several at once broke, so it is done one by one. codes, first:
    refused lines per code, and the first line of each with its reason. lengths: accepted lines per token length.
    """

    line: int = 0
    offset: int = 0
    data_bytes: int = 0
    quarantine_bytes: int = 0
    blank: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    tokens: int = 0
    spec: Spec | None = None
    format: str | None = None
    refusal: Reason | None = None
    needs_raw: bool = False
    failed_at: int = 0
    failures: int = 0
    singly: bool = False
    codes: dict[str, int] = {}
    first: dict[str, str] = {}
    lengths: dict[int, int] = {}

    def accept(self, longest: int, tokens: int) -> None:
        """Count a line that will be trained; lengths in tokens."""
        self.accepted += 1
        self.tokens += tokens
        self.lengths[longest] = self.lengths.get(longest, 0) + 1

    def refuse(self, line: int, reason: Reason, unit: str = "line") -> None:
        """Count a line that is left out with a reason of its own. unit: what a line of this drop is called."""
        if reason.code == "duplicate":
            self.duplicate += 1
        else:
            self.rejected += 1
        self.codes[reason.code] = self.codes.get(reason.code, 0) + 1
        self.first.setdefault(reason.code, f"{unit} {line}: {reason.message}")

    @property
    def lines(self) -> int:
        """Give the number of lines so far, blank ones not counted."""
        return self.accepted + self.rejected + self.duplicate

    def counts(self) -> LineCounts:
        """Give the lines as the job records them."""
        return LineCounts(dropped=self.lines, accepted=self.accepted, rejected=self.rejected, duplicate=self.duplicate)

    def token_counts(self) -> TokenCounts | None:
        """Give the token lengths of the accepted lines; None when there is none."""
        if not self.lengths:
            return None
        ordered = sorted(self.lengths.items())
        return TokenCounts(
            min=ordered[0][0], median=self._length_of(0.5), p95=self._length_of(0.95), p99=self._length_of(0.99),
            max=ordered[-1][0], total=self.tokens,
        )  # fmt: skip

    def _length_of(self, share: float) -> int:
        """Give the smallest length that at least this share of the accepted lines do not exceed (nearest rank)."""
        seen = 0
        for length, lines in sorted(self.lengths.items()):
            seen += lines
            if seen >= share * self.accepted:
                return length
        raise ValueError("no line was accepted")

    def verdict(self, reject_share: float) -> Reason | None:
        """Say why the whole file is rejected, None when its accepted lines are trained."""
        if self.refusal is not None:
            return self.refusal
        if self.lines == 0:
            blank = f"it has {self.blank} blank lines and nothing else" if self.blank else "it holds nothing"
            return Reason(code="empty_file", message=f"{blank}; expected one JSON object a line")
        counted = {code: lines for code, lines in self.codes.items() if code not in (*FORGIVEN, "duplicate")}
        bad = sum(counted.values())
        if bad > reject_share * self.lines:
            why = f"more than {reject_share:.0%} of the lines must not be refused"
            return self._rejected(counted, f"{bad} of {self.lines} lines ({bad / self.lines:.1%}) are refused, {why}")
        if self.accepted == 0:
            return self._rejected(self.codes, f"none of the {self.lines} lines is left to train")
        return None

    def _rejected(self, codes: dict[str, int], what: str) -> Reason:
        code = max(sorted(codes), key=lambda code: codes[code])
        others = ", ".join(f"{name} {codes[name]}" for name in sorted(codes, key=lambda name: -codes[name]))
        return Reason(
            code=code,
            message=f"{what} ({others}). {self.first[code]}. quarantine.jsonl has every line, raw is the file as dropped",
        )

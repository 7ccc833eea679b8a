"""weaver data stats: what a file holds, in numbers.

Place in the flow: core.jobs.check judges the lines, core.text.labels tells which tokens are trained. Reads file and home.
Invariant: every number is of the lines that would be trained, but for those that say that they count the others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from core.jobs.check import Checked
from core.jobs.job import Line, LineCounts, Reason, TokenCounts
from core.paths import Paths
from core.records import Part, Record
from weaver.cli.data_check import tokens_text
from weaver.cli.data_place import Desk, desk
from weaver.cli.data_preview import examples_of, trained_tokens
from weaver.cli.output import plain, print_data, print_record
from weaver.cli.sidecar_options import Said


class Turns(Part, frozen=True):
    """Messages of a line, system messages not counted."""

    min: int
    median: int
    max: int


class DataStats(Record, frozen=True, tag="weaver.data-stats/1"):
    """`weaver data stats --json`. lines: null when the file was never read as lines; repeated: accepted lines that repeat one.

    trained_share: of the tokens, those with a label; codes: refused lines, over_length among them; reason: why it is rejected.
    """

    file: str
    spec: str | None
    model: str
    lines: LineCounts | None
    blank: int
    roles: dict[str, int]
    turns: Turns | None
    tokens: TokenCounts | None
    trained_tokens: int
    trained_share: float | None
    over_length: int
    repeated: int
    codes: dict[str, int]
    reason: Reason | None


def measure_file(paths: Paths, file: Path, said: Said, as_json: bool) -> int:
    """Print what a file holds and give the exit code 0, also when it would be rejected."""
    with desk(paths, said) as place:
        found = _measure(place, file, place.check(file))
    if as_json:
        print_record(found)
    else:
        print_data("\n".join(_rows(found)))
    return 0


def _measure(place: Desk, file: Path, checked: Checked) -> DataStats:
    job, tally = checked.job, checked.tally
    assert job is not None
    roles, sizes, seen = Counter[str](), list[int](), set[bytes]()
    trained = total = repeated = 0
    for line in checked.accepted():
        roles.update(str(message["role"]) for message in line.messages)
        sizes.append(sum(message["role"] not in ("system", "developer") for message in line.messages))
        for example in examples_of(place.checks.tokenizer(job.model), line):
            trained += trained_tokens(example)
            total += len(example.ids)
        digest = _digest(line)
        repeated += digest in seen
        seen.add(digest)
    return DataStats(
        file=str(file), spec=tally.spec, model=job.model, lines=job.lines, blank=tally.blank, roles=dict(roles.most_common()),
        turns=_turns(sizes), tokens=job.tokens, trained_tokens=trained,
        trained_share=round(trained / total, 4) if total else None,
        over_length=tally.codes.get("over_length", 0), repeated=repeated, codes=dict(tally.codes), reason=job.reason,
    )  # fmt: skip


def _digest(line: Line) -> bytes:
    """Tell lines apart by what is trained, not by what is only kept with them."""
    return hashlib.blake2b(msgspec.json.encode((line.messages, line.tools)), digest_size=16).digest()


def _turns(sizes: Iterable[int]) -> Turns | None:
    ordered = sorted(sizes)
    return Turns(min=ordered[0], median=ordered[(len(ordered) - 1) // 2], max=ordered[-1]) if ordered else None


def _rows(found: DataStats) -> list[str]:
    lines, turns = found.lines, found.turns
    rows = {
        "file": plain(found.file),
        "format": f"{found.spec or 'none'}, for {plain(found.model)}",
        "lines": f"{lines.dropped}: {lines.accepted} accepted, {lines.rejected} refused, {found.blank} blank" if lines else "-",
        "repeated": f"{found.repeated} accepted lines repeat an earlier one",
        "roles": ", ".join(f"{plain(role)} {count}" for role, count in found.roles.items()) or "-",
        "turns": f"min {turns.min}, median {turns.median}, max {turns.max} a line" if turns else "-",
        "tokens": tokens_text(found.tokens) if found.tokens else "-",
        "trained": f"{found.trained_tokens} tokens, {found.trained_share:.1%}" if found.trained_share is not None else "-",
        "over length": str(found.over_length),
        "refused": ", ".join(f"{plain(code)} {count}" for code, count in found.codes.items()) or "none",
    }
    verdict = "accepted" if found.reason is None else f"rejected, {plain(found.reason.code)}: {plain(found.reason.message)}"
    return [f"{name:<12} {value}" for name, value in (rows | {"verdict": verdict}).items()]

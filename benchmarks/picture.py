"""A picture of faults by invariants: green where trials broke nothing, red where they did, with the numbers of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

INVARIANTS = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I13")
LEFT, TOP, WIDE, HIGH = 270, 46, 44, 22
GOOD, BAD, EMPTY = "#2e7d32", "#c62828", "#eceff1"


@dataclass(frozen=True)
class Cell:
    """One fault: which invariants were judged (ids with spaces between), how many trials, what broke."""

    fault: str
    invariants: str
    trials: int
    violations: Sequence[str]


def draw(cells: Sequence[Cell], path: Path) -> None:
    """Write the picture as SVG."""
    width, height = LEFT + WIDE * len(INVARIANTS) + 100, TOP + HIGH * len(cells) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" role="img">',
        "<title>Faults that were injected, and the invariants that were checked after each</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *(_text(LEFT + WIDE * at + WIDE / 2, TOP - 10, name, "middle") for at, name in enumerate(INVARIANTS)),
        _text(width - 10, TOP - 10, "trials", "end"),
    ]
    for row, cell in enumerate(cells):
        y = TOP + HIGH * row
        parts.append(_text(LEFT - 10, y + 15, cell.fault, "end"))
        for at, name in enumerate(INVARIANTS):
            colour = _colour(cell, name)
            parts.append(
                f'<rect x="{LEFT + WIDE * at + 2}" y="{y + 2}" width="{WIDE - 4}" height="{HIGH - 4}" rx="3" fill="{colour}"/>'
            )
        parts.append(_text(width - 10, y + 15, f"{cell.trials:,}", "end"))
    total, broken = sum(cell.trials for cell in cells), sum(len(cell.violations) for cell in cells)
    parts.append(
        _text(LEFT, height - 10, f"{total:,} trials, {broken} violations. Grey: not judged of this fault alone.", "start")
    )
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _colour(cell: Cell, invariant: str) -> str:
    """Give a fault's colour under an invariant: a violation that names none counts against all that were judged."""
    is_judged = invariant in cell.invariants.split()
    named = [[name for name in INVARIANTS if f"{name}:" in text] for text in cell.violations]
    if any(invariant in names or (is_judged and not names) for names in named):
        return BAD
    return GOOD if is_judged and cell.trials else EMPTY


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="#263238">{escape(text)}</text>'

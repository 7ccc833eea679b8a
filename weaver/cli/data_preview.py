"""weaver data preview: lines as the model will see them, with what is trained marked.

Place in the flow: core.jobs.check judges the lines, core.text.labels makes the very ids and labels that the trainer makes.
Reads the file and the home. Invariants: no more of a file is checked than is shown; what is marked is what has labels.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from core.errors import NotFound
from core.jobs.check import Check, Checked, Fate, fates
from core.jobs.job import Line, Reason
from core.paths import Paths
from core.records import Part, Record
from core.text.labels import Example, encode_conversation, trained_regions
from core.text.tokens import decode_ids
from weaver.cli.data_place import POLL_S, Desk, desk
from weaver.cli.output import paint, plain, print_data, print_message, print_record, use_colour
from weaver.cli.sidecar_options import Said

INVALID = 6
SLICE_S = 1.0
MARKS = ("[[", "]]")


class Span(Part, frozen=True):
    """A stretch of rendered text, all of it trained or none."""

    text: str
    trained: bool


class PreviewedLine(Part, frozen=True):
    """One line: its examples as they are trained, or why it is left out. tokens and trained: of all its examples together."""

    line: int
    tokens: int = 0
    trained: int = 0
    examples: list[list[Span]] = []
    reason: Reason | None = None


class Preview(Record, frozen=True, tag="weaver.data-preview/1"):
    """`weaver data preview --json`. refusal: why the whole file is refused, if it is known by then."""

    file: str
    spec: str | None
    lines: list[PreviewedLine]
    refusal: Reason | None


def preview_file(paths: Paths, file: Path, said: Said, most: int, only: int | None, as_json: bool) -> int:
    """Show the first lines of a file, or one, and give the exit code: 6 when the whole file is refused. Raises NotFound."""
    with desk(paths, said) as place:
        checked = _check_some(place.open(file), most, only)
        found = Preview(
            file=str(file), spec=checked.tally.spec, refusal=_refusal(checked),
            lines=[_previewed(place, checked, fate) for fate in _shown(place, checked, most, only)],
        )  # fmt: skip
    if only is not None and not found.lines and found.refusal is None:
        last = f"1 to {checked.tally.line}, blank lines are none"
        raise NotFound(kind=f"line in {file.name}", name=str(only), known=last)
    if as_json:
        print_record(found)
    else:
        _print(found)
    return INVALID if found.refusal is not None else 0


def _check_some(check: Check, most: int, only: int | None) -> Checked:
    """Check as many lines as are wanted; of a file that is rejected for its bad lines only the end would tell."""
    while True:
        before = check.so_far()
        tally = before.tally
        if before.job is not None or (tally.lines >= most if only is None else tally.line >= only):
            return before
        is_done = check.advance(0.0 if only is None else time.monotonic() + SLICE_S)
        if not is_done and check.so_far().tally.line == tally.line:
            time.sleep(POLL_S)


def _shown(place: Desk, checked: Checked, most: int, only: int | None) -> Iterator[Fate]:
    judged = (
        fate
        for fate in fates(checked, place.config.intake.max_line_bytes)
        if (fate.line is not None or fate.refused is not None) and only in (None, fate.number)
    )
    return islice(judged, most if only is None else 1)


def _refusal(checked: Checked) -> Reason | None:
    """Say why nothing of the file would be trained whatever its other lines are; bad lines are marked one by one instead."""
    if checked.tally.refusal is not None:
        return checked.tally.refusal
    job = checked.job
    return job.reason if job is not None and checked.tally.lines == 0 else None


def _previewed(place: Desk, checked: Checked, fate: Fate) -> PreviewedLine:
    if fate.refused is not None:
        return PreviewedLine(line=fate.number, reason=Reason(code=fate.refused.code, message=fate.refused.reason))
    assert fate.line is not None
    tokenizer = place.checks.tokenizer(checked.model)
    examples = examples_of(tokenizer, fate.line)
    return PreviewedLine(
        line=fate.number, tokens=sum(len(example.ids) for example in examples),
        trained=sum(trained_tokens(example) for example in examples),
        examples=[list(_spans(tokenizer, example)) for example in examples],
    )  # fmt: skip


def examples_of(tokenizer: Any, line: Line) -> list[Example]:
    """Give the ids and labels of an accepted line, as the trainer makes them."""
    return encode_conversation(tokenizer, line.messages, line.tools, raw=line.meta.get("raw") is True)


def trained_tokens(example: Example) -> int:
    """Count the tokens that have labels."""
    return sum(end - start for start, end in trained_regions(example.labels))


def _spans(tokenizer: Any, example: Example) -> Iterator[Span]:
    place = 0
    for start, end in [*trained_regions(example.labels), (len(example.ids), len(example.ids))]:
        if place < start:
            yield Span(text=decode_ids(tokenizer, example.ids[place:start]), trained=False)
        if start < end:
            yield Span(text=decode_ids(tokenizer, example.ids[start:end]), trained=True)
        place = end


def _print(found: Preview) -> None:
    colours = use_colour(sys.stdout)
    for line in found.lines:
        if line.reason is not None:
            text = f"line {line.line}: left out, {plain(line.reason.code)}: {plain(line.reason.message)}"
            print_data(paint(text, "yellow", colours))
            continue
        several = f" in {len(line.examples)} examples" if len(line.examples) > 1 else ""
        print_data(paint(f"line {line.line}: {line.tokens} tokens{several}, {line.trained} trained", "bold", colours))
        for spans in line.examples:
            print_data("".join(_marked(span, colours) for span in spans).rstrip("\n"))
    if found.refusal is not None:
        print_message(f"weaver: {plain(found.file)} would be rejected, {found.refusal.code}: {plain(found.refusal.message)}")


def _marked(span: Span, colours: bool) -> str:
    text = plain(span.text, keep_newlines=True)
    if not span.trained:
        return text
    return paint(text, "green", True) if colours else f"{MARKS[0]}{text}{MARKS[1]}"

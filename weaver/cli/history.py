"""weaver events, trace and why: what happened, what became of a line, and why a thing is as it is.

Place in the flow: reads logs/events/, queue/ and models/ through core; writes nothing. Invariant: only what a record says is
said; text from files reaches the terminal as plain text.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from core.accounting.trace import Trace, TracedLine
from core.clock import SystemClock
from core.log import Event, read_events
from core.records import Record
from weaver.cli.home import this_home
from weaver.cli.output import fit, plain, print_data, print_message, print_record
from weaver.explained import Explanation, explain

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class EventList(Record, frozen=True, tag="weaver.events/1"):
    """`weaver events --json`: what happened, oldest first."""

    events: list[Event]


def events(
    about: Annotated[
        str | None, typer.Argument(help="A job, a checkpoint, a program or an event's name; part of it will do.")
    ] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many of the last.")] = 50,
    json: Json = False,
) -> None:
    """Show what happened in the factory, from the append-only record of events.

    Examples:
      weaver events
      weaver events deployed -n 10
    """
    found = [event for event in read_events(this_home()) if about is None or _is_about(event, about)][-lines:]
    if json:
        print_record(EventList(events=found))
        return
    if not found:
        print_message("No event yet." if about is None else f"No event names {plain(about)}.")
    for event in found:
        print_data(_event_line(event))


def _event_line(event: Event) -> str:
    facts = " ".join(f"{key}={_text(value)}" for key, value in event.facts.items())
    return plain(f"{event.at} {event.program:<18} {event.event:<12} {facts}")


def _is_about(event: Event, about: str) -> bool:
    return about in (event.program, event.event) or any(about in str(value) for value in event.facts.values())


def _text(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and " " in value else str(value)


def trace(
    line: Annotated[str, typer.Argument(help="<job>:<line of its data.jsonl>, or a text that the line holds.")],
    most: Annotated[int, typer.Option("-n", "--most", min=1, help="How many lines at most.")] = 20,
    json: Json = False,
) -> None:
    """Follow a line from the drop to the checkpoints that hold it.

    Examples:
      weaver trace 'the capital of France'
      weaver trace 20261120-213005123-9f2c01ab-my-file:17
    """
    from core.accounting.trace import trace as follow

    found = follow(this_home(), line, most)
    if json:
        print_record(found)
    else:
        _print_trace(found)


def _print_trace(found: Trace) -> None:
    for line in found.lines:
        where = f"line {line.line} of data.jsonl" if line.line is not None else f"line {line.drop_line} of the drop"
        print_data(f"{line.fate:<10} {line.job} ({plain(line.name)}, {line.state}), {where}")
        print_data(f"           {fit(plain(line.text), 100)}")
        if line.reason:
            print_data(f"           {plain(line.reason)}")
        for text in _passed(line):
            print_data(f"           {text}")
    if found.is_cut:
        print_data("There are more; -n shows more of them.")


def _passed(line: TracedLine) -> list[str]:
    return [
        f"epoch {passage.epoch}: steps {passage.steps_from}-{passage.steps_to}, {passage.checkpoint}"
        + ("" if passage.is_surviving else " (off the surviving history)")
        for passage in line.passages
    ]


def why(
    about: Annotated[str, typer.Argument(help="A job, a checkpoint or a program; a unique part of a job's name will do.")],
    json: Json = False,
) -> None:
    """Say why a job, a checkpoint or a program is as it is, and what happened to it.

    Examples:
      weaver why my-file
      weaver why tiny@120
    """
    found = explain(this_home(), about, os.environ, SystemClock())
    if json:
        print_record(found)
        return
    print_explanation(found)


def print_explanation(found: Explanation) -> None:
    """Print what is known of a thing, then what happened to it."""
    print_data(plain(f"{found.kind} {found.id}: {found.says}"))
    for reason in found.because:
        print_data(f"  - {plain(reason)}")
    if found.events:
        print_data("what happened:")
    for event in found.events:
        print_data(f"  {_event_line(event)}")

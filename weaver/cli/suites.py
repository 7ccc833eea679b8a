"""weaver suites build: freeze the suite of every level of every skill.

Place in the flow: writes config/suites/<name>@<version>.json through core.evals.suite. Invariant: a frozen suite is never
overwritten; other items under the same version are a conflict.
"""

from __future__ import annotations

from typing import Annotated

import typer

from core.clock import SystemClock, iso
from core.records import Record
from weaver.cli.home import this_home
from weaver.cli.output import plain, print_data, print_message, print_record

app = typer.Typer(no_args_is_help=True, help="Frozen examination suites.")


class SuitesBuilt(Record, frozen=True, tag="weaver.suites-build/1"):
    """`weaver suites build --json`: the file names of the suites frozen now, and of all that are there."""

    written: list[str]
    suites: list[str]


@app.callback()
def suites() -> None:
    """Frozen examination suites."""


@app.command("build")
def build(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Build the missing suites of all skills; refuses to change one that is frozen.

    Examples:
      weaver suites build
      weaver suites build --json
    """
    from core.evals.suite import load_suites, publish_all_suites

    folder = this_home().suites
    written = publish_all_suites(folder, iso(SystemClock().now()))
    there = sorted(suite.file_name for suite in load_suites(folder).values())
    if json:
        print_record(SuitesBuilt(written=written, suites=there))
        return
    for name in written:
        print_data(f"frozen {name}")
    print_message(f"{len(written)} suites frozen, {len(there) - len(written)} were there already, in {plain(str(folder))}.")

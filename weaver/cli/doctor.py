"""weaver doctor: what is wrong here, and which command helps.

Place in the flow: prints what weaver/doctor.py finds. Invariant: writes nothing; exit 0 when nothing fails, else 1.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from weaver.cli.output import paint, plain, print_data, print_record, use_colour

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check machine, installation, home and programs; say what is wrong and what helps; exit 1 when something fails.

    Examples:
      weaver doctor
      weaver doctor --json
    """
    import sys

    from weaver.doctor import examine

    found = examine(os.environ, Path.cwd())
    if json:
        print_record(found)
    else:
        colours = use_colour(sys.stdout)
        for finding in found.checks:
            result = paint(f"{finding.result:<4}", _COLOURS[finding.result], colours)
            print_data(f"{result} {finding.name:<12} {plain(finding.found)}")
            if finding.fix:
                print_data(f"{'':<17} -> {plain(finding.fix)}")
    raise typer.Exit(0 if found.ok else 1)

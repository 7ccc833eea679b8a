"""weaver status: the factory on one screen, or as JSON, from files alone.

Place in the flow: core.overview collects, weaver/cli/table.py lays out. Invariant: the exit code is the state: 0 healthy,
4 degraded, 3 stopped; nothing here imports Typer, Rich or a network client.
"""

from __future__ import annotations

import os
import sys
import time

from core.clock import SystemClock
from core.overview import Overview, collect
from core.paths import Paths
from weaver.cli.output import print_data, print_record, use_colour
from weaver.cli.table import lines

WATCH_S = 2.0
EXIT_CODES = {"healthy": 0, "degraded": 4, "stopped": 3}


def run_status(paths: Paths, as_json: bool, watch: bool) -> int:
    """Print the status once, or every 2 s until interrupted, and give the exit code of the last state seen."""
    overview = collect(paths, os.environ, SystemClock())
    try:
        while watch:
            _print(overview, as_json, again=True)
            time.sleep(WATCH_S)
            overview = collect(paths, os.environ, SystemClock())
    except KeyboardInterrupt:
        return EXIT_CODES[overview.status.state]
    _print(overview, as_json, again=False)
    return EXIT_CODES[overview.status.state]


def _print(overview: Overview, as_json: bool, again: bool) -> None:
    """Print one status; when it is printed again and again, JSON takes one line and a terminal is wiped first."""
    if as_json:
        print_record(overview.status, in_one_line=again)
    else:
        colours = use_colour(sys.stdout)  # a terminal that takes no colours takes no other escapes either
        print_data(("\x1b[H\x1b[2J" if again and colours else "") + "\n".join(lines(overview, colours)))

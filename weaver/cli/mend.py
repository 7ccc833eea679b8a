"""weaver mend: put right what can be put right safely, or say what that would be.

Place in the flow: prints the steps of weaver/mend.py. Invariant: with --dry-run nothing changes; exit 1 when a step failed.
"""

from __future__ import annotations

from typing import Annotated

import typer

from weaver.cli.home import this_home
from weaver.cli.output import plain, print_data, print_message, print_record


def mend(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check and mend: folders, keys, left-overs, dead views, stale claims, given-up programs, a dead Weaver.

    Examples:
      weaver mend --dry-run
      weaver mend
    """
    from weaver.mend import Action
    from weaver.mend import mend as take_steps

    def say(action: Action) -> None:
        if not json:
            print_data(f"{plain(action.what)}: {plain(action.why)}")
            if action.error:
                print_data(f"  FAILED: {plain(action.error)}")

    found = take_steps(this_home(), dry_run, say)
    if json:
        print_record(found)
    elif not found.actions:
        print_message("Nothing to mend. `weaver doctor` looks at more.")
    elif dry_run:
        print_message(f"{len(found.actions)} to do; nothing was changed.")
    raise typer.Exit(0 if found.ok else 1)

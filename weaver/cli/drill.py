"""weaver drill: break a factory of its own in every way, and prove that nothing is lost.

Place in the flow: prints what weaver/drill/run.py finds. Files written: none outside the drill's own temporary folder.
Invariant: exit 1 when anything broke a rule, 129 or 143 when SIGHUP or SIGTERM ended it and its factory, 0 otherwise.
"""

from __future__ import annotations

import random
from typing import Annotated

import typer

from weaver.cli.output import pad, plain, print_data, print_message, print_record


def drill(
    full: Annotated[bool, typer.Option("--full", help="Many trials of each fault: about 10 minutes, not 3.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Draw the same moments again.", min=0)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Kill, freeze, fill and tear a factory made for it in a temporary folder, and check that no line is lost or trained twice.

    Examples:
      weaver drill
      weaver drill --full --seed 7
    """
    from weaver.drill.run import planned, run

    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    print_message(f"seed {seed}")
    found = planned(full, seed) if dry_run else run(full, seed, lambda trials: None, lambda text: print_message(plain(text)))
    if json:
        print_record(found)
        raise typer.Exit(0 if found.ok else 1)
    print_data(f"{'fault':<16} {'trials':>6} {'violations':>10} {'p50 s':>7} {'p95 s':>7} {'max s':>7}")
    for fault in found.faults:
        times = "".join(f"{'-' if value is None else f'{value:.2f}':>8}" for value in (fault.p50_s, fault.p95_s, fault.max_s))
        print_data(f"{pad(fault.fault, 16)} {fault.trials:>6} {fault.violations:>10}{times}")
        if fault.trials == 0 or dry_run:
            print_data(f"  {plain(fault.note)}")
    for text in found.violations:
        print_data(f"VIOLATION {plain(text)}")
    if found.lines is not None:
        print_message(f"{found.lines.dropped} lines dropped, {found.lines.unaccounted} unaccounted; {found.seconds:.0f} s")
    raise typer.Exit(0 if found.ok else 1)

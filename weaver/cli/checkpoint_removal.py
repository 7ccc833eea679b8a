"""weaver ckpt rm: remove the weights and training states of checkpoints that nothing needs.

Place in the flow: core.checkpoints.removal says what must stay and removes the rest, as prune_checkpoints does. Invariants: it
removes all that were named or none; what the oracle has in memory stays; the records stay in the ledger for ever.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from core.checkpoints.ledger import Ledger
from core.checkpoints.removal import bytes_in, folders_of, must_stay, removing, take_state, take_weights
from core.clock import SystemClock
from core.errors import Conflict
from core.liveness import Liveness
from core.paths import Paths
from core.records import Part, Record
from weaver.cli.home import this_home
from weaver.cli.output import bytes_text, plain, print_data, print_message, print_record


class Removable(Part, frozen=True):
    """One checkpoint that was named: the bytes that its removal frees, or why it stays."""

    id: str
    bytes: int
    stays: str | None


class Removal(Record, frozen=True, tag="weaver.removal/1"):
    """`weaver ckpt rm --json`. bytes: what was freed, or with dry_run what would be."""

    dry_run: bool
    bytes: int
    checkpoints: list[Removable]


def rm(
    checkpoints: Annotated[list[str], typer.Argument(help="<model>/<checkpoint>, <model>@<step>, or unique names.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, and how much that frees.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove checkpoints: weights and training state go, the record in the ledger stays, and what is needed is refused.

    Examples:
      weaver ckpt rm tiny@40 tiny@60 --dry-run
      weaver ckpt rm checkpoint-40-20261120-2130 --yes
    """
    paths = this_home()
    ledger = Ledger(paths)
    chosen = list(dict.fromkeys(ledger.resolve(text) for text in checkpoints))
    looked_at = _look(paths, ledger, chosen)
    staying = [row for row in looked_at if row.stays is not None]
    total = sum(row.bytes for row in looked_at if row.stays is None)
    if not json:
        _say(looked_at, total)
    if staying and not dry_run:
        raise Conflict(detail=f"Nothing was removed: {'; '.join(f'{row.id} stays: {row.stays}' for row in staying)}.")
    if not dry_run:
        if not yes and not typer.confirm(f"Remove {len(chosen)} for good?", err=True):
            print_message("Nothing was removed.")
            raise typer.Exit(1)
        _remove(paths, ledger, chosen)
    if json:
        print_record(Removal(dry_run=dry_run, bytes=total, checkpoints=looked_at))
    if staying:
        raise typer.Exit(Conflict.exit_code)


def _look(paths: Paths, ledger: Ledger, chosen: list[tuple[str, str]]) -> list[Removable]:
    reasons = {model: must_stay(paths, ledger, model) for model, _ in chosen}
    loaded = _loaded(paths)
    rows = []
    for model, name in chosen:
        id_ = f"{model}/{name}"
        why = reasons[model].get(name) or ("the oracle has it in memory" if id_ in loaded else None)
        rows.append(Removable(id=id_, bytes=bytes_in(folders_of(paths, model, name)), stays=why))
    return rows


def _loaded(paths: Paths) -> set[str]:
    """Give what the oracle has in memory. Raises Unavailable when it is alive and does not say."""
    if not Liveness(paths, SystemClock().mono()).seen("oracle").alive:
        return set()
    from core.evals.ask import connect

    oracle = connect(paths, os.environ)
    try:
        return {row.weaver.checkpoint for row in oracle.models() if row.weaver.loaded}
    finally:
        oracle.close()


def _say(rows: list[Removable], total: int) -> None:
    for row in rows:
        print_data(f"{row.id:<42} {bytes_text(row.bytes):>9}  {'stays: ' + plain(row.stays) if row.stays else 'goes'}")
    print_data(f"{'frees':<42} {bytes_text(total):>9}")


def _remove(paths: Paths, ledger: Ledger, chosen: list[tuple[str, str]]) -> None:
    """Remove what was looked at and is still not needed: it may have been deployed while a person thought it over."""
    for model in {model for model, _ in chosen}:
        ledger.keep_copies(model)
    for model, name in chosen:
        with removing(paths, model):
            why = must_stay(paths, ledger, model).get(name)
            if why is not None:
                raise Conflict(detail=f"{model}/{name} stays: {why}.")
            take_state(paths, model, name)
            if not take_weights(paths, model, name):
                raise Conflict(detail=f"The weights of {model}/{name} stay: there is no ledger copy of its record.")
        print_message(f"{model}/{name} is removed.")

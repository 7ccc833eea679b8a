"""weaver ckpt ls | show | verify: the ledger of checkpoints, for people.

Place in the flow: reads models/<model>/ through core.checkpoints.ledger. Invariant: only reads; verify hashes every byte and
says ok only when all of them match the manifest.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from core.checkpoints.ledger import Ledger
from core.errors import InvalidData
from core.names import checkpoint_order, is_checkpoint
from core.paths import Paths
from core.records import to_builtins
from weaver.checkpoint_rows import checkpoint_rows, verdict_of
from weaver.cli.home import this_home
from weaver.cli.output import bytes_text, plain, print_data, print_json, print_message

app = typer.Typer(no_args_is_help=True, help="Checkpoints: list, show, verify.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("ls")
def ls(model: Annotated[str | None, typer.Argument(help="Only this model.")] = None, json: Json = False) -> None:
    """List the checkpoints whose weights are on this disk."""
    rows = checkpoint_rows(this_home(), model)
    if json:
        print_json("weaver.checkpoints/1", checkpoints=rows)
        return
    if not rows:
        print_message("No checkpoints yet: the first one, the base, is made when training starts.")
        return
    print_data(f"{'CHECKPOINT':<42} {'WEIGHTS':<16} {'LOSS':>7} {'TOKENS':>10} {'SIZE':>9}  MARKS")
    for row in rows:
        marks = [mark for mark in ("head", "pinned") if row[mark]] + ([] if row["on_chain"] else ["off-chain"])
        loss = "-" if row["train_loss"] is None else f"{row['train_loss']:.4f}"
        print_data(
            f"{row['id']:<42} {row['weights_id']:<16} {loss:>7} {row['tokens_seen']:>10} {bytes_text(row['bytes']):>9}  "
            + " ".join(marks)
        )


@app.command("show")
def show(
    checkpoint: Annotated[str, typer.Argument(help="<model>/<checkpoint>, <model>@<step>, or a unique name.")],
    json: Json = False,
) -> None:
    """Show the record of one checkpoint, also of one whose weights were removed."""
    ledger = Ledger(this_home())
    model, name = ledger.resolve(checkpoint, removed=True)
    record = ledger.get(model, name)
    weights_id = ledger.weights_id(model, name) if ledger.is_complete(model, name) else None
    facts = {**to_builtins(record), "weights_id": weights_id, "on_chain": name in ledger.chain(model)}
    if json:
        print_data(msgspec.json.format(msgspec.json.encode(facts), indent=1).decode())
        return
    for key, value in facts.items():
        if key == "consumed":
            spans = (f"{span.job}: {len(span.lines)} lines, rows {span.rows_from}-{span.rows_to}" for span in record.consumed)
            value = "; ".join(spans) or "nothing"
        print_data(f"{key:<21} {plain(str('unknown' if value is None else value))}")


def folders(paths: Paths, model: str) -> list[str]:
    """Give every folder of a model that has a checkpoint's name, the damaged ones included, by step."""
    names = (path.name for path in paths.model(model).root.iterdir())
    return sorted((name for name in names if is_checkpoint(name)), key=checkpoint_order)


@app.command("verify")
def verify_checkpoints(
    checkpoint: Annotated[str | None, typer.Argument(help="One checkpoint; without it, all of them.")] = None,
    json: Json = False,
) -> None:
    """Hash every file of a checkpoint against its manifest; exit 6 when anything differs."""
    paths = this_home()
    there = [(model, name) for model in Ledger(paths).models() for name in folders(paths, model)]
    chosen = [pair for pair in there if checkpoint in (None, pair[1], "/".join(pair))]
    if checkpoint is not None and len(chosen) != 1:
        chosen = [Ledger(paths).resolve(checkpoint)]
    results = [verdict_of(paths, model, name) for model, name in chosen]
    if json:
        print_json("weaver.verification/1", checkpoints=results, ok=all(row["ok"] for row in results))
    else:
        for row in results:
            print_data(f"{row['id']:<42} {'ok ' + row['weights_id'] if row['ok'] else 'BAD ' + plain(row['detail'])}")
    if not all(row["ok"] for row in results):
        raise typer.Exit(InvalidData.exit_code)

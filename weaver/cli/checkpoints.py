"""weaver ckpt ls | show | verify | best | pin | unpin | rm: the ledger of checkpoints, for people.

Place in the flow: reads models/<model>/ through core.checkpoints.ledger; pins and removals go through core.checkpoints.
Invariant: verify hashes every byte and says ok only when all match the manifest; what must stay is never removed.
"""

from __future__ import annotations

from typing import Annotated

import typer

from core.checkpoints.checkpoint import Checkpoint
from core.checkpoints.ledger import Ledger
from core.checkpoints.pins import pin as put_pin
from core.checkpoints.pins import unpin as take_pin
from core.clock import SystemClock, iso
from core.errors import InvalidData
from core.names import checkpoint_order, is_checkpoint
from core.paths import Paths
from core.records import Record, to_builtins
from weaver.best import BestOf, best_checkpoints
from weaver.checkpoint_rows import CheckpointRow, Verdict, checkpoint_rows, verdict_of
from weaver.cli.checkpoint_removal import rm
from weaver.cli.checkpoint_reset import reset
from weaver.cli.home import this_home
from weaver.cli.output import bytes_text, plain, print_data, print_message, print_record

app = typer.Typer(no_args_is_help=True, help="Checkpoints: list, show, verify, pin and remove them; which one is best.")
app.command("rm")(rm)
app.command("reset")(reset)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
One = Annotated[str, typer.Argument(help="<model>/<checkpoint>, <model>@<step>, or a unique name.")]


class CheckpointList(Record, frozen=True, tag="weaver.checkpoints/1"):
    """`weaver ckpt ls --json`."""

    checkpoints: list[CheckpointRow]


class ShownCheckpoint(Checkpoint, frozen=True, kw_only=True, tag="weaver.checkpoint/1"):
    """`weaver ckpt show --json`: its record, and where it stands."""

    weights_id: str | None
    on_chain: bool


class Verification(Record, frozen=True, tag="weaver.verification/1"):
    """`weaver ckpt verify --json`."""

    ok: bool
    checkpoints: list[Verdict]


class Best(Record, frozen=True, tag="weaver.best/1"):
    """`weaver ckpt best --json`."""

    metric: str
    best: list[BestOf]


@app.command("ls")
def ls(model: Annotated[str | None, typer.Argument(help="Only this model.")] = None, json: Json = False) -> None:
    """List the checkpoints whose weights are on this disk.

    Examples:
      weaver ckpt ls
      weaver ckpt ls tiny --json
    """
    rows = checkpoint_rows(this_home(), model)
    if json:
        print_record(CheckpointList(checkpoints=rows))
        return
    if not rows:
        print_message("No checkpoints yet: the first one, the base, is made when training starts.")
        return
    print_data(f"{'CHECKPOINT':<42} {'WEIGHTS':<16} {'LOSS':>7} {'TOKENS':>10} {'SIZE':>9}  MARKS")
    for item in rows:
        marks = [mark for mark in ("served", "head", "pinned") if getattr(item, mark)] + (
            [] if item.on_chain else ["off-chain"]
        )
        loss = "-" if item.train_loss is None else f"{item.train_loss:.4f}"
        size = bytes_text(item.bytes)
        print_data(f"{item.id:<42} {item.weights_id or '-':<16} {loss:>7} {item.tokens_seen:>10} {size:>9}  {' '.join(marks)}")


@app.command("show")
def show(checkpoint: One, json: Json = False) -> None:
    """Show the record of one checkpoint, also of one whose weights were removed.

    Examples:
      weaver ckpt show tiny@0
      weaver ckpt show checkpoint-120-20261120-2130 --json
    """
    ledger = Ledger(this_home())
    model, name = ledger.resolve(checkpoint, removed=True)
    record = ledger.get(model, name)
    weights_id = ledger.weights_id(model, name) if ledger.is_complete(model, name) else None
    fields = {field: getattr(record, field) for field in record.__struct_fields__}
    shown = ShownCheckpoint(**fields, weights_id=weights_id, on_chain=name in ledger.chain(model))
    if json:
        print_record(shown)
        return
    for key, value in to_builtins(shown).items():
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
    """Hash every file of a checkpoint and of its training state against their manifests; exit 6 when anything differs.

    Examples:
      weaver ckpt verify
      weaver ckpt verify tiny@120
    """
    paths = this_home()
    there = [(model, name) for model in Ledger(paths).models() for name in folders(paths, model)]
    chosen = [pair for pair in there if checkpoint in (None, pair[1], "/".join(pair))]
    if checkpoint is not None and len(chosen) != 1:
        chosen = [Ledger(paths).resolve(checkpoint)]
    results = [verdict_of(paths, model, name) for model, name in chosen]
    if json:
        print_record(Verification(ok=all(row.ok for row in results), checkpoints=results))
    else:
        for row in results:
            print_data(f"{row.id:<42} {f'ok {row.weights_id}' if row.ok else 'BAD ' + plain(row.detail or '')}")
    if not all(row.ok for row in results):
        raise typer.Exit(InvalidData.exit_code)


@app.command("best")
def best(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    metric: Annotated[str, typer.Option("--metric", help="accuracy, loss or composite.")] = "accuracy",
    json: Json = False,
) -> None:
    """Name the best checkpoint of each model: by accuracy on the frozen suites, by composite, or by training loss.

    Examples:
      weaver ckpt best
      weaver ckpt best tiny --metric loss
    """
    found = best_checkpoints(this_home(), metric, model)
    if json:
        print_record(Best(metric=metric, best=found))
        return
    for row in found:
        print_data(f"{row.checkpoint:<42} {metric} {row.value:.4f}")


@app.command("pin")
def pin(checkpoint: One, note: Annotated[str, typer.Option("--note", help="Why it is kept.")] = "") -> None:
    """Keep a checkpoint whatever happens: nothing removes it until it is unpinned.

    Examples:
      weaver ckpt pin tiny@120
      weaver ckpt pin checkpoint-120-20261120-2130 --note "sent to the customer"
    """
    paths = this_home()
    model, name = Ledger(paths).resolve(checkpoint)
    put_pin(paths, model, name, note, iso(SystemClock().now()))
    print_message(f"{model}/{name} is pinned.")


@app.command("unpin")
def unpin(checkpoint: One) -> None:
    """Let a pinned checkpoint go the way of the others.

    Examples:
      weaver ckpt unpin tiny@120
      weaver ckpt unpin checkpoint-120-20261120-2130
    """
    paths = this_home()
    model, name = Ledger(paths).resolve(checkpoint, removed=True)
    take_pin(paths, model, name)
    print_message(f"{model}/{name} is no longer pinned.")

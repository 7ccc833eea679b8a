"""weaver data check | preview | stats | convert: what a file is worth before it is dropped.

Place in the flow: core.jobs.check gives the verdict of watch_inbox itself; weaver/cli/data_place.py has what it needs. Files
written: with convert, the file that is asked for. Invariant: nothing in the home is written, whatever is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weaver.cli.home import this_home
from weaver.cli.sidecar_options import Map, Model, Said, SidecarFile, SpecName, columns_of

app = typer.Typer(no_args_is_help=True, help="Files: check, preview, measure, convert them before they are dropped.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The file; FILE.meta.json beside it is its sidecar.")]


@app.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files; FILE.meta.json beside one is its sidecar.")],
    map: Map = None,
    spec: SpecName = None,
    model: Model = None,
    sidecar: SidecarFile = None,
    json: Json = False,
) -> None:
    """Give the verdict that the factory would give; exit 0 when every file would be accepted, 6 when not.

    Examples:
      weaver data check data.jsonl
      weaver data check questions.csv --map prompt=question --map completion=answer
    """
    from weaver.cli.data_check import check_files

    raise typer.Exit(check_files(this_home(), files, Said(sidecar, columns_of(map), spec, model), json))


@app.command("preview")
def preview(
    file: File,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many lines.")] = 3,
    line: Annotated[int | None, typer.Option("--line", min=1, help="Only the line of this number.")] = None,
    map: Map = None,
    spec: SpecName = None,
    model: Model = None,
    sidecar: SidecarFile = None,
    json: Json = False,
) -> None:
    """Show lines as the model will see them, the trained tokens coloured, or in [[ ]] where there is no colour.

    Examples:
      weaver data preview data.jsonl -n 5
      weaver data preview data.jsonl --line 42
    """
    from weaver.cli.data_preview import preview_file

    said = Said(sidecar, columns_of(map), spec, model)
    raise typer.Exit(preview_file(this_home(), file, said, lines, line, json))


@app.command("stats")
def stats(
    file: File,
    map: Map = None,
    spec: SpecName = None,
    model: Model = None,
    sidecar: SidecarFile = None,
    json: Json = False,
) -> None:
    """Count lines, roles, turns, tokens and repeats of a file.

    Examples:
      weaver data stats data.jsonl
      weaver data stats data.parquet --json
    """
    from weaver.cli.data_stats import measure_file

    raise typer.Exit(measure_file(this_home(), file, Said(sidecar, columns_of(map), spec, model), json))


@app.command("convert")
def convert(
    file: File,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the lines go; it must not be there yet.")],
    quarantine: Annotated[Path | None, typer.Option("--quarantine", help="Where the refused lines go.")] = None,
    map: Map = None,
    spec: SpecName = None,
    model: Model = None,
    sidecar: SidecarFile = None,
    json: Json = False,
) -> None:
    """Write the lines that would be trained as {"messages": ...}, one a line; the refused ones are counted.

    Examples:
      weaver data convert alpaca.json -o messages.jsonl
      weaver data convert old.csv -o new.jsonl --map prompt=q --map completion=a
    """
    from weaver.cli.data_convert import convert_file

    said = Said(sidecar, columns_of(map), spec, model)
    raise typer.Exit(convert_file(this_home(), file, said, out, quarantine, json))

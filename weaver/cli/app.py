"""The command line: every verb under one Typer application (CONTRACTS.md section 12).

Place in the flow: weaver/__main__.py calls run(); each verb calls one function of weaver/cli, weaver/lifecycle or core and
prints. Invariant: usage errors exit 2; errors of ours pass through to weaver/__main__.py, which alone makes exit codes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from weaver.cli import checkpoints, factory, suites
from weaver.cli.home import this_home
from weaver.cli.output import print_message

app = typer.Typer(
    name="weaver", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Weaver: an always-on fine-tuning factory. Start it with `weaver up`, watch it with `weaver status`.",
)  # fmt: skip
app.add_typer(checkpoints.app, name="ckpt")
app.add_typer(suites.app, name="suites")
app.command("up")(factory.up)
app.command("down")(factory.down)
app.command("restart")(factory.restart)
app.command("open")(factory.open_page)
app.command("version")(factory.version)
app.command("audit")(factory.audit)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("status")
def status(
    json: Json = False, watch: Annotated[bool, typer.Option("-w", "--watch", help="Show it again every 2 s.")] = False
) -> None:
    """Show the whole factory; exit 0 healthy, 4 degraded, 3 stopped."""
    from weaver.cli.status import run_status

    raise typer.Exit(run_status(this_home(), as_json=json, watch=watch))


@app.command("logs")
def logs(
    name: Annotated[str | None, typer.Argument(help="A program; without it, all of them.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 50,
    out: Annotated[bool, typer.Option("--out", help="What the program printed, instead of its log.")] = False,
    json: Json = False,
) -> None:
    """Show the logs of one program or of all, merged by time."""
    from weaver.cli.logs import show_logs

    show_logs(this_home(), name, lines, follow, json, out)


@app.command("chat")
def chat(
    model: Annotated[str, typer.Argument(help="A checkpoint id, an alias, or <model>@<step>.")] = "champion",
    message: Annotated[str | None, typer.Option("-m", "--message", help="Ask once and exit.")] = None,
) -> None:
    """Talk with a checkpoint through the oracle."""
    from weaver.cli.chat import run_chat

    run_chat(this_home(), model, message)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its exit code; a usage error is printed and gives 2."""
    try:
        result = app(list(arguments), prog_name="weaver", standalone_mode=False)
    except TyperException as error:
        if error.format_message():  # else the help was asked for by leaving everything out, and is printed
            print_message(f"weaver: {error.format_message()} Try: weaver --help")
        return error.exit_code
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    return result if isinstance(result, int) else 0

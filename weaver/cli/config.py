"""weaver config show | validate | schema: what is in force and why, what is wrong, and what may be written.

Place in the flow: weaver.settings reads, this prints. Invariant: all three work with a broken configuration: show tells what is
in force, validate every fault at once, schema needs no home at all.
"""

from __future__ import annotations

import difflib
import os
from typing import Annotated, Any

import msgspec
import typer

from core.config import EvalsConfig, SkillConfig, TrainingConfig, WeaverConfig
from core.config_files import Fault, read_files
from core.errors import InvalidConfig, NotFound
from core.hosts import Hosts
from core.in_force import read_in_force
from core.jobs.job import Sidecar
from core.records import Record
from core.status import ConfigStatus
from weaver.cli.home import this_home
from weaver.cli.output import plain, print_data, print_message, print_record
from weaver.settings import Setting, all_faults, settings

app = typer.Typer(no_args_is_help=True, help="The configuration: what is in force, what is wrong, what may be written.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KINDS: dict[str, type[msgspec.Struct]] = {
    "weaver.yaml": WeaverConfig, "training.yaml": TrainingConfig, "evals.yaml": EvalsConfig, "skills": SkillConfig,
    "hosts.json": Hosts, "sidecar": Sidecar,
}  # fmt: skip


class ConfigShown(Record, frozen=True, tag="weaver.config/1"):
    """`weaver config show --json`: every setting in force, and how the files stand."""

    config: ConfigStatus
    settings: list[Setting]


class ConfigChecked(Record, frozen=True, tag="weaver.config-check/1"):
    """`weaver config validate --json`: the files that were read and everything that is wrong."""

    ok: bool
    files: list[str]
    faults: list[Fault]


class ConfigSchemas(Record, frozen=True, tag="weaver.config-schema/1"):
    """`weaver config schema`: a JSON Schema (draft 2020-12) for each file that people write."""

    files: dict[str, dict[str, Any]]


@app.callback()
def config() -> None:
    """What is in force, what is wrong, what may be written."""


@app.command("show")
def show(
    key: Annotated[str | None, typer.Argument(help="A key, or the beginning of some: queue.retries, training.")] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value came from.")] = False,
    json: Json = False,
) -> None:
    """Show the settings in force, and with --origin the file and line, the variable or the default each came from.

    Examples:
      weaver config show --origin
      weaver config show queue.retries
    """
    now = read_in_force(this_home(), os.environ)
    chosen = _chosen(settings(now, os.environ), key)
    if now.problem:
        print_message(f"weaver: {plain(now.problem)}")
    if json:
        print_record(ConfigShown(config=now.status(), settings=chosen))
        return
    for one in chosen:
        place = f"   # {_origin(one)}" if origin else ""
        print_data(f"{plain(one.key)}: {plain(msgspec.json.encode(one.value).decode())}{plain(place)}")


def _chosen(found: list[Setting], key: str | None) -> list[Setting]:
    """Give the settings of one key, or of all keys below it. Raises NotFound with what may have been meant."""
    if key is None:
        return found
    wanted = key.removeprefix("weaver.").rstrip(".")
    chosen = [one for one in found if one.key == wanted or one.key.startswith(f"{wanted}.")]
    if not chosen:
        near = difflib.get_close_matches(wanted, [one.key for one in found], 3)
        near = near or sorted({one.key.split(".")[0] for one in found})
        raise NotFound(kind="setting", name=key, known=", ".join(near))
    return chosen


def _origin(one: Setting) -> str:
    if one.origin == "file":
        return f"{one.file}:{one.line}" if one.line else str(one.file)
    return one.variable or one.origin


@app.command("validate")
def validate(json: Json = False) -> None:
    """Check every file under config/ and every variable over it; name all that is wrong, exit 6 when anything is.

    Examples:
      weaver config validate
      weaver config validate --json
    """
    paths = this_home()
    files, faults = sorted(read_files(paths)[0]), all_faults(paths, os.environ)
    if json:
        print_record(ConfigChecked(ok=not faults, files=files, faults=faults))
    else:
        for fault in faults:
            print_data(f"{plain(fault.where)}: {plain(fault.text)}")
        if not faults:
            print_message(f"{len(files)} files are good: {', '.join(files)}.")
    if faults:
        raise typer.Exit(InvalidConfig.exit_code)


@app.command("schema")
def schema(
    file: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}; without it, all of them.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One record, also of one file.")] = False,
) -> None:
    """Print the JSON Schema of what people write, for editors and for other programs.

    Examples:
      weaver config schema weaver.yaml > weaver.schema.json
      weaver config schema
    """
    if file is not None and file not in KINDS:
        raise NotFound(kind="file with a schema", name=file, known=", ".join(KINDS))
    if file is None or json:
        print_record(ConfigSchemas(files={name: msgspec.json.schema(KINDS[name]) for name in ([file] if file else KINDS)}))
    else:
        print_data(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(KINDS[file])), indent=1).decode())

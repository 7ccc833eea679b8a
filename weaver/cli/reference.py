"""The reference of all verbs as Markdown, made from the code: `python -m weaver.cli.reference > weaver/cli/REFERENCE.md`.

Place in the flow: walks the tree of commands of weaver/cli/frame.py and the record types of weaver/cli/schemas.py; a test
compares what it prints with the file. Invariant: a pure function of the code; it does not depend on a terminal or a home.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from typer.core import TyperArgument

from core.records import schema_of
from weaver.cli.app import VERBS, overview
from weaver.cli.frame import PROGRAM, Root, root_context, sentence_and_examples, walk
from weaver.cli.output import print_data
from weaver.cli.schemas import OUTPUTS, fields, output_types

if TYPE_CHECKING:
    from typer._click.core import Command, Context

EXIT_CODES = {
    0: "It went well. `weaver status`: everything wanted runs. Also when whoever reads the output has left, as in `| head`.",
    1: "It failed, and the message says why. `weaver audit`: something does not add up.",
    2: "The command line is not one that the verb understands; the message says what was meant.",
    3: "No Weaver runs in this home.",
    4: "Weaver runs, but not everything that is wanted does.",
    5: "There is no such job, checkpoint, program ...; the message lists those that there are.",
    6: "A file, the configuration or the home is not valid; nothing was changed.",
    7: "A conflict: something else holds or has changed what this verb needs.",
    8: "The oracle, the web process or another host does not answer, or refused.",
    78: "Misconfigured: a port is taken, or a key can be read by others.",
    124: "It did not happen in time.",
    130: "Interrupted by Ctrl-C, the usual end of `weaver logs --follow`; `weaver status --watch` ends with the state's code.",
}

_HEAD = f"""# Command line reference

Made from the code by `python -m weaver.cli.reference > weaver/cli/REFERENCE.md`; a test compares the two.

```
{overview()}
```

`weaver`, `.venv/bin/weaver` and `python -m weaver` are the same. stdout is data, stderr is messages. Colours appear only on a
terminal, never with `NO_COLOR` set or `TERM=dumb`; what stands in names, logs and answers cannot drive the terminal. `--json`
prints one JSON document with its `schema`. `source <(weaver completion bash)` gives Tab completion.

## Exit codes
"""


def reference() -> str:
    """Give the whole reference."""
    return "\n".join([_HEAD, *_exit_codes(), "", "## Verbs", *_verbs(), "", "## JSON", *_schemas()])


def _exit_codes() -> Iterator[str]:
    yield from ("| code | meaning |", "|---|---|")
    yield from (f"| {code} | {meaning.replace('|', chr(92) + '|')} |" for code, meaning in EXIT_CODES.items())


def _verbs() -> Iterator[str]:
    root = Root(VERBS, overview)
    for path, command, ctx in walk(root, root_context(root)):
        yield from _verb(path, command, ctx)


def _verb(path: str, command: Command, ctx: Context) -> Iterator[str]:
    sentence, examples = sentence_and_examples(command.help or "")
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    yield from ("", f"### {PROGRAM} {path}", "", sentence, "", "```sh", *examples, "```", "", f"- `{usage}`")
    for param in sorted(command.get_params(ctx), key=lambda param: not isinstance(param, TyperArgument)):
        record = param.get_help_record(ctx)
        if record is not None and "--help" not in param.opts:
            names, text = record
            yield f"- `{names}`: {' '.join(text.split())}"
    if path in OUTPUTS:
        yield f"- JSON: {', '.join(f'`{schema_of(kind)}`' for kind in output_types(path))}"


def _schemas() -> Iterator[str]:
    printed_by: dict[str, list[str]] = {}
    kinds = {}
    for path in OUTPUTS:
        for kind in output_types(path):
            kinds[schema_of(kind)] = kind
            printed_by.setdefault(schema_of(kind), []).append(f"`{PROGRAM} {path}`")
    for schema in sorted(kinds):
        about = " ".join((kinds[schema].__doc__ or "").split())
        yield from ("", f"### {schema}", "", f"Printed by {', '.join(printed_by[schema])}. {about}", "")
        yield from ("| field | type |", "|---|---|")
        yield from (f"| {name} | {text} |" for name, text in fields(kinds[schema]))


if __name__ == "__main__":
    print_data(reference())

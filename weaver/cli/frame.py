"""Commands made of the verbs: loaded when called, with help that shows examples first and errors that say what was meant.

Place in the flow: weaver/cli/app.py has the table of verbs, this makes a tree of Typer commands of it; weaver/cli/complete.py
and weaver/cli/reference.py walk the same tree. Invariant: whoever wrote a verb, its help is one sentence, then its examples,
then its parameters, as plain text; importing this module imports no verb.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import typer
from typer._click.exceptions import NoSuchOption, UsageError  # not public; Typer's version is pinned, a test holds them
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException
from typer.main import get_command, get_group

from core.errors import WeaverError
from weaver.cli.output import plain, print_data, print_message
from weaver.cli.verb import Verb

if TYPE_CHECKING:
    from typer._click.core import Command, Context, Parameter
    from typer._click.formatting import HelpFormatter

PROGRAM = "weaver"
_GUESSES = {
    "start": "up", "stop": "down", "ps": "status", "list": "ls", "remove": "rm", "delete": "rm", "checkpoints": "ckpt",
    "checkpoint": "ckpt", "ask": "chat", "web": "open", "get": "show", "cat": "show",
}  # fmt: skip
_SETTINGS = {"help_option_names": ["-h", "--help"]}


class NobodyAnswered(WeaverError):
    """The verb asks before it goes on, and nobody is there to answer. Nothing was done; --yes answers beforehand."""

    exit_code = 2


def sentence_and_examples(text: str) -> tuple[str, list[str]]:
    """Take a verb's docstring apart: its sentence, and the lines of its block "Examples:"."""
    sentence, _, rest = inspect.cleandoc(text).partition("\n\n")
    block = rest.partition("Examples:\n")[2]
    return " ".join(sentence.split()), [line.strip() for line in block.splitlines() if line.strip()]


def _write_wrapped(formatter: HelpFormatter, text: str) -> None:
    formatter.write("\n".join(wrap(text, formatter.width)) + "\n")


def _show_help(ctx: Context, param: Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        print_data(ctx.get_help())
        ctx.exit()


class FramedCommand(TyperCommand):
    """A verb."""

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        """Give the option that prints the help as all our data is printed."""
        return _as_ours(super().get_help_option(ctx))

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write its sentence, its examples, then usage, arguments and options."""
        sentence, examples = sentence_and_examples(self.help or "")
        _write_wrapped(formatter, sentence)
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"  {example}\n")
        formatter.write_paragraph()
        self.format_usage(ctx, formatter)
        self.format_options(ctx, formatter)


class FramedGroup(TyperGroup):
    """A group of verbs."""

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        """Give the option that prints the help as all our data is printed."""
        return _as_ours(super().get_help_option(ctx))

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Take a group without a verb for a usage error, and show which verbs there are."""
        if not args and not ctx.resilient_parsing:
            print_message(ctx.get_help())
            ctx.exit(UsageError.exit_code)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Find a verb; one that does not exist is a usage error that names what may have been meant."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            ctx.fail(f'there is no verb "{ctx.command_path} {args[0]}"{self._meant(ctx, args[0])}')
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: Context, typed: str) -> str:
        return did_you_mean(typed, self.list_commands(ctx), f"{ctx.command_path} ")

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write what the group is about and the sentence of each verb."""
        _write_wrapped(formatter, self.help or "")
        formatter.write_paragraph()
        self.format_usage(ctx, formatter)
        with formatter.section("Verbs"):
            verbs = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
            formatter.write_dl([(name, sentence_and_examples(verb.help or "")[0]) for name, verb in verbs if verb])


def _as_ours(option: TyperOption | None) -> TyperOption | None:
    """Let a help option print quietly into a pipe that is gone, and be false by default: None would be coerced by pydantic."""
    if option is not None:
        option.default, option.callback = False, _show_help
    return option


class Root(FramedGroup):
    """`weaver` itself: verbs that are imported when they are called."""

    def __init__(self, verbs: Mapping[str, Verb], overview: Callable[[], str]) -> None:
        super().__init__(name=PROGRAM, rich_markup_mode=None, context_settings=_SETTINGS, options_metavar="")
        self._verbs, self._overview = verbs, overview

    def list_commands(self, ctx: Context) -> list[str]:
        """Give the names of all verbs."""
        return list(self._verbs)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Import a verb; None when there is no such one."""
        if cmd_name not in self.commands and cmd_name in self._verbs:
            self.commands[cmd_name] = load(cmd_name, self._verbs[cmd_name])
        return self.commands.get(cmd_name)

    def _meant(self, ctx: Context, typed: str) -> str:
        guess = _GUESSES.get(typed)
        paths = [guess] if guess in self._verbs else []
        paths += [f"{group} {typed}" for group, verb in self._verbs.items() if typed in verb.verbs]
        return f": did you mean {_any_of(f'{PROGRAM} {path}' for path in paths)}?" if paths else super()._meant(ctx, typed)

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the overview."""
        formatter.write(self._overview())


def load(name: str, verb: Verb) -> Command:
    """Import a verb, "module:function" or "module:Typer application", and make a command or a group of it."""
    module, _, attribute = verb.where.partition(":")
    found: Any = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        _frame(found)
        group = get_group(found)
        group.name = name
        in_order = sorted(group.commands, key=[*verb.verbs, *group.commands].index)
        group.commands = {name: group.commands[name] for name in in_order}
        return group
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, cls=FramedCommand)(found)
    return get_command(alone)


def _frame(app: typer.Typer) -> None:
    """Let every command of an application be one of ours, whoever wrote it."""
    app.rich_markup_mode = None
    app.info.cls, app.info.subcommand_metavar = FramedGroup, "VERB ..."
    for command in app.registered_commands:
        command.cls = FramedCommand
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _frame(group.typer_instance)


def walk(group: FramedGroup, ctx: Context) -> Iterator[tuple[str, Command, Context]]:
    """Give every verb below a group as ("queue ls", command, its context), in the order of the overview."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        below = command.context_class(command, info_name=name, parent=ctx)
        if isinstance(command, FramedGroup):
            yield from walk(command, below)
        else:
            yield below.command_path.removeprefix(f"{PROGRAM} "), command, below


def root_context(root: Root) -> Context:
    """Give the context of the whole command line, for walking it."""
    return root.context_class(root, info_name=PROGRAM, **root.context_settings)


def options(ctx: Context) -> list[str]:
    """Give every option of a command as it is typed."""
    words = (word for param in ctx.command.get_params(ctx) for word in (*param.opts, *param.secondary_opts))
    return [word for word in words if word.startswith("-")]


def did_you_mean(typed: str, known: Sequence[str], before: str = "") -> str:
    """Give ': did you mean "..."?' for what is most like a mistyped word; nothing when nothing is."""
    guess = _GUESSES.get(typed)
    near = [guess] if guess and guess in known else get_close_matches(typed, known, n=2)
    return f": did you mean {_any_of(before + word for word in near)}?" if near else ""


def _any_of(words: Any) -> str:
    return " or ".join(f'"{word}"' for word in words)


def run_verb(verbs: Mapping[str, Verb], overview: Callable[[], str], arguments: Sequence[str]) -> int:
    """Run a command line and give its exit code; a usage error is printed and gives 2."""
    try:
        result = Root(verbs, overview).main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except TyperException as error:
        ctx = error.ctx if isinstance(error, UsageError) else None
        more = f"{ctx.command_path} --help" if ctx else f"{PROGRAM} --help"
        print_message(f"{PROGRAM}: {plain(_said(error)).rstrip('.')}. Try: {plain(more)}".replace("?.", "?"))
        return error.exit_code
    except typer.Abort as error:
        if isinstance(error.__context__, EOFError):
            raise NobodyAnswered() from error
        raise KeyboardInterrupt from error
    return result if isinstance(result, int) else 0


def _said(error: TyperException) -> str:
    if not isinstance(error, NoSuchOption) or error.ctx is None:
        return error.format_message()
    known = options(error.ctx)
    typed = error.option_name
    if not typed.startswith("--"):  # -j: the option that begins with this letter
        known = [word for word in known if word.startswith(f"--{typed.lstrip('-')}")]
        return f"there is no option {typed}" + (f": did you mean {_any_of(known)}?" if known else "")
    return f"there is no option {typed}{did_you_mean(typed, known)}"

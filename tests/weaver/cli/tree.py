"""Walk every verb of the command line, whoever wrote it, and parse command lines without running them."""

from __future__ import annotations

import shlex
from functools import cache
from typing import TYPE_CHECKING

from weaver.cli.app import VERBS, overview
from weaver.cli.frame import FramedGroup, Root, root_context, walk

if TYPE_CHECKING:
    from typer._click.core import Command, Context


@cache
def root() -> Root:
    """Give the tree of verbs."""
    return Root(VERBS, overview)


@cache
def verbs() -> dict[str, tuple[Command, Context]]:
    """Give every verb by its words: "status", "queue ls"."""
    return {path: (command, ctx) for path, command, ctx in walk(root(), root_context(root()))}


def words(line: str) -> list[str]:
    """Give the arguments of `weaver` in a line of a shell script: what stands before it, comments and pipes left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    tokens = list(lexer)
    after = tokens[tokens.index("weaver") + 1 :]
    ends = [at for at, token in enumerate(after) if set(token) <= set("();<>|&")]
    return after[: ends[0]] if ends else after


def parse(arguments: list[str]) -> Context:
    """Parse a command line as running it would and give the innermost context. Raises what a usage error raises."""
    ctx = root().make_context("weaver", list(arguments), **root().context_settings)
    while isinstance(ctx.command, FramedGroup):
        name, command, rest = ctx.command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert command is not None
        ctx = command.make_context(name, rest, parent=ctx)
    return ctx

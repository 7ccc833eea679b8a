"""weaver completion SHELL: what a shell sources so that Tab completes verbs, options, programs, jobs, checkpoints and models.

Place in the flow: the printed script calls `weaver complete -- WORDS...`, which weaver/__main__.py answers with complete(), one
candidate a line. Reads the names in queue/ and models/ of the home, if there is one. Invariant: only reads; it never fails:
where nothing can be offered, nothing is, and the shell goes on with file names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperArgument, TyperOption

from core.errors import WeaverError
from core.jobs.spool import MOVES
from core.paths import PRIORITIES, STATES, Paths
from weaver.cli.app import VERBS, overview
from weaver.cli.frame import PROGRAM, FramedGroup, Root, options, root_context
from weaver.cli.home import this_home
from weaver.cli.output import print_data

if TYPE_CHECKING:
    from typer._click.core import Context

MOST_JOBS = 200
_BASH = r"""
_weaver_complete() {
    local line=${COMP_LINE:0:COMP_POINT} part=${COMP_WORDS[COMP_CWORD]} found word program=${COMP_WORDS[0]/#\~\//$HOME/}
    local -a words
    read -r -a words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[-1]}
    [[ $part == [=@:]* ]] && part=${part:1}
    mapfile -t found < <("$program" complete -- "${words[@]:1}" 2> /dev/null)
    COMPREPLY=("${found[@]#"${word%"$part"}"}")
}
complete -o default -F _weaver_complete weaver
"""
_ZSH = r"""#compdef weaver
_weaver_complete() {
    local -a found
    found=("${(@f)$("${~words[1]}" complete -- "${(@)words[2,CURRENT]}" 2> /dev/null)}")
    if [[ -n ${found[1]} ]]; then compadd -a found; else _files; fi
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then _weaver_complete "$@"; else compdef _weaver_complete weaver; fi
"""
_FISH = r"""
function __weaver_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    set -l found ($program complete -- $words (commandline -ct) 2> /dev/null)
    if test -n "$found"
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c weaver -f -a '(__weaver_complete)'
"""


class Shell(StrEnum):
    """The shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_SCRIPTS = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH}


def completion(shell: Annotated[Shell, typer.Argument(help="The shell to print it for.")]) -> None:
    """Print the script that completes verbs, options and names in a shell.

    Examples:
      source <(weaver completion bash)
      weaver completion zsh > "${fpath[1]}/_weaver"
      weaver completion fish > ~/.config/fish/completions/weaver.fish
    """
    print_data(_SCRIPTS[shell].strip())


def complete(words: Sequence[str]) -> list[str]:
    """Give what the last word may become, the words before it being the command line so far, without the program."""
    *before, typed = words or [""]
    root = Root(VERBS, overview)
    ctx, positionals, waiting = _descend(root_context(root), before)
    head = ""
    if waiting is None and typed.startswith("--") and "=" in typed:
        option, _, typed = typed.partition("=")
        head, waiting = f"{option}=", _option(ctx, option)
    if waiting is not None:
        found = _values(ctx, waiting, typed)
    elif typed.startswith("-"):
        found = options(ctx)
    elif isinstance(ctx.command, FramedGroup):
        found = ctx.command.list_commands(ctx) if positionals == 0 else []
    else:
        arguments = [param for param in ctx.command.get_params(ctx) if isinstance(param, TyperArgument)]
        many = [param for param in arguments if param.nargs == -1]
        at = arguments[positionals : positionals + 1] or many[:1]
        found = _values(ctx, at[0], typed) if at else []
    return [head + word for word in found if word.startswith(typed)]


def _descend(ctx: Context, words: Sequence[str]) -> tuple[Context, int, TyperOption | None]:
    """Follow whole words: the command they lead to, how many arguments it was given, the option that waits for its value."""
    positionals, waiting = 0, None
    for word in words:
        if waiting is not None:
            waiting = None
        elif word.startswith("-"):
            option = _option(ctx, word)
            waiting = option if option is not None and not option.is_flag and not option.count else None
        elif isinstance(ctx.command, FramedGroup) and positionals == 0:
            command = ctx.command.get_command(ctx, word)
            if command is None:
                positionals += 1  # a word that is no verb: nothing can come after it
            else:
                ctx = command.context_class(command, info_name=word, parent=ctx)
        else:
            positionals += 1
    return ctx, positionals, waiting


def _option(ctx: Context, word: str) -> TyperOption | None:
    for param in ctx.command.get_params(ctx):
        if isinstance(param, TyperOption) and word in (*param.opts, *param.secondary_opts):
            return param
    return None


def _values(ctx: Context, param: TyperArgument | TyperOption, typed: str) -> list[str]:
    """Give the values of a parameter: its choices, or what its name stands for in this home."""
    kind = param.type_descriptor
    if kind.is_choice and kind.choices is not None:
        return [str(choice) for choice in kind.choices]
    source = _SOURCES.get(param.name)
    try:
        return [word for word in source(this_home(), ctx.command_path) if word.startswith(typed)] if source else []
    except (WeaverError, OSError):
        return []


def _programs(paths: Paths, path: str) -> list[str]:
    from weaver.desired import PROGRAMS

    return [program.name for program in PROGRAMS if program.argv is not None]


def _priorities(paths: Paths, path: str) -> list[str]:
    return list(PRIORITIES)


def _states(paths: Paths, path: str) -> list[str]:
    from weaver.queue_list import ASKED

    return list(ASKED)


def _subjects(paths: Paths, path: str) -> list[str]:
    """Give what `weaver why` and `weaver events` can be asked about."""
    return [*_programs(paths, path), *_checkpoints(paths, path), *_jobs(paths, path)]


def _jobs(paths: Paths, path: str) -> list[str]:
    """Give the newest jobs; where a verb moves jobs, only those that it can move."""
    from core.jobs.spool import Spool

    verb = path.removeprefix(f"{PROGRAM} queue ")
    states, _ = MOVES.get({"rm": "remove"}.get(verb, verb), (STATES, ()))
    spool = Spool(paths)
    return sorted((job for state in states for job in spool.list(state)), reverse=True)[:MOST_JOBS]


def _models(paths: Paths, path: str) -> list[str]:
    from core.checkpoints.ledger import Ledger

    return Ledger(paths).models()


def _checkpoints(paths: Paths, path: str) -> list[str]:
    from core.checkpoints.ledger import Ledger

    ledger = Ledger(paths)
    return [f"{model}/{name}" for model in ledger.models() for name in reversed(ledger.names(model))]


def _models_to_talk_with(paths: Paths, path: str) -> list[str]:
    return ["champion", *_checkpoints(paths, path)] if path == f"{PROGRAM} chat" else _models(paths, path)


_SOURCES: dict[str, Callable[[Paths, str], list[str]]] = {
    "about": _subjects,
    "state": _states,
    "to": _priorities,
    "priority": _priorities,
    "name": _programs,
    "job": _jobs,
    "jobs": _jobs,
    "checkpoint": _checkpoints,
    "checkpoints": _checkpoints,
    "model": _models_to_talk_with,
}

"""The entry point of `weaver` and `python -m weaver`: errors to exit codes, and short ways past the command line's library.

Place in the flow: calls weaver.cli. Invariant: a WeaverError becomes one line on stderr and its own exit code; `weaver status`,
the overview and the Weaver itself do not import Typer, so that the first two answer at once and the last stays small.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from core.errors import InvalidConfig, WeaverError
from weaver.cli.app import overview, run
from weaver.cli.output import plain, print_data, print_message, tame_streams

_OVERVIEW: tuple[list[str], ...] = ([], ["--help"], ["-h"], ["help"])
_STATUS_FLAGS = {"--json", "-w", "--watch"}
_OURS = {"core", "weaver", "daemons", "trainer"}
INTERRUPTED = 130
INSTALL = "`rm -f .venv/.installed-training && ./scripts/install.sh` installs what constraints.txt pins."


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    tame_streams()
    try:
        code = _run(arguments)
    except WeaverError as error:
        print_message(f"weaver: {plain(str(error))}")
        code = error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        print_message(f"weaver: {plain(str(error))}")
        code = 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OURS:
            raise
        print_message(f"weaver: the package {error.name} is not installed. {INSTALL}")
        code = InvalidConfig.exit_code
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if arguments[:1] in (["--status"], ["--version"]):
        arguments[0] = arguments[0].removeprefix("--")
    if arguments in _OVERVIEW:
        print_data(overview())
        return 0
    if arguments[:1] == ["status"] and _STATUS_FLAGS.issuperset(arguments[1:]):
        from weaver.cli.home import this_home
        from weaver.cli.status import run_status

        flags = set(arguments[1:])
        return run_status(this_home(), as_json="--json" in flags, watch=bool(flags & {"-w", "--watch"}))
    if arguments[:2] == ["complete", "--"]:
        from weaver.cli.completion import complete

        print_data("".join(f"{word}\n" for word in complete(arguments[2:])), end="")
        return 0
    if arguments[:2] == ["queue", "ls"]:
        from weaver.cli.queue_table import plain_listing, run_listing

        asked = plain_listing(arguments[2:])
        if asked is not None:
            from weaver.cli.home import this_home

            return run_listing(this_home(), asked)
    if arguments == ["supervise"]:
        from weaver.cli.home import this_home
        from weaver.supervise import supervise

        return supervise(this_home().home)
    if arguments[0] == "help":
        arguments = [*arguments[1:], "--help"]
    return run(arguments)


if __name__ == "__main__":
    main()

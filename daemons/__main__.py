"""`python -m daemons NAME [--once]`: run one daemon, or one tick of it that prints its report as JSON.

Exit codes: 0 asked to stop, 75 error budget spent, 78 misconfigured; a WeaverError before or in --once gives its own.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from core.errors import UsageError, WeaverError
from core.paths import Paths, find_home
from core.process import STACKS_SIGNAL
from daemons.harness.loop import run, run_once
from daemons.roster import ROSTER, load


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say and give the exit code."""
    try:
        names = [argument for argument in arguments if argument != "--once"]
        if len(names) != 1 or names[0].startswith("-"):
            raise UsageError(detail=f"usage: python -m daemons NAME [--once]; names: {', '.join(ROSTER)}")
        home, _ = find_home(os.environ, Path.cwd())
        daemon = load(names[0])
        faulthandler.enable()
        faulthandler.register(STACKS_SIGNAL)
        return (run_once if "--once" in arguments else run)(daemon, Paths(home), os.environ)
    except WeaverError as error:
        print(f"daemons: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

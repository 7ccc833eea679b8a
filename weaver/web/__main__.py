"""`python -m weaver.web`: the web process of the home that the environment or the working folder names."""

from __future__ import annotations

import faulthandler
import os
import sys
from pathlib import Path

from core.errors import WeaverError
from core.paths import Paths, find_home
from core.process import STACKS_SIGNAL
from weaver.web.server import run

if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL)
    try:
        sys.exit(run(Paths(find_home(os.environ, Path.cwd())[0]), os.environ))
    except WeaverError as error:
        print(f"weaver.web: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

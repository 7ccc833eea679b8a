"""Which home a command works on."""

from __future__ import annotations

import os
from pathlib import Path

from core.paths import Paths, find_home


def this_home() -> Paths:
    """Give the paths of the home that the environment or the working folder names. Raises NoHome."""
    return Paths(find_home(os.environ, Path.cwd())[0])

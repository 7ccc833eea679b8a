"""Run the real command line in a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.core.home_files import CHECKOUT


def weaver(home: Path, *arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m weaver ...` outside of the checkout and wait for its end."""
    return subprocess.run(
        command(*arguments), input=stdin, capture_output=True, text=True, timeout=60, cwd=home.parent,
        env=environment(home, **environ), check=False,
    )  # fmt: skip


def command(*arguments: str) -> Sequence[str]:
    """Give the command line."""
    return [sys.executable, "-m", "weaver", *arguments]


def environment(home: Path, **environ: str) -> dict[str, str]:
    """Give an environment that names the home and nothing else of ours."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("WEAVER") and key != "NO_COLOR"}
    return {**inherited, "WEAVER_HOME": str(home), "PYTHONPATH": str(CHECKOUT), **environ}

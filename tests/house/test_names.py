"""queue/ and status/ are runtime folders: as packages they would shadow the standard library's `queue`."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.house.tree import ROOT, tracked


@pytest.mark.parametrize("folder", ["queue", "status"])
def test_runtime_folder_is_no_package(folder: str) -> None:
    assert not list((ROOT / folder).glob("__init__*"))
    assert sorted(name for name in tracked() if name.startswith(f"{folder}/")) == [
        f"{folder}/.gitignore",
        f"{folder}/README.md",
    ]


def test_import_queue_in_the_checkout_gives_the_standard_library() -> None:
    program = "import queue; print(queue.__file__); queue.SimpleQueue"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert Path(found.strip()).parent == Path(sysconfig.get_path("stdlib"))

"""One home with real checkpoints for all tests of the oracle; copies for those that change it; one server per module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from core.paths import Paths
from tests.trainer.serve.oracle_home import Running, oracle_home, serving


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute as the oracle does on a CPU host."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Give a home that no test may change."""
    return oracle_home(tmp_path_factory.mktemp("oracle") / "home")


@pytest.fixture
def home(template: Paths, tmp_path: Path) -> Paths:
    """Give a home of the test's own."""
    return Paths(Path(shutil.copytree(template.home, tmp_path / "home")))


@pytest.fixture(scope="module")
def running(template: Paths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve a copy of the home for one module."""
    copy = shutil.copytree(template.home, tmp_path_factory.mktemp("served") / "home")
    with serving(Paths(Path(copy))) as running:
        yield running

"""Fixtures that any test may use. Every home lies in tmp_path; nothing ever runs in the checkout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.paths import Paths
from tests.fakes import home_environment, make_home, switch_on


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Give a home with the checkout's configuration; nothing runs in it."""
    return make_home(tmp_path / "home")


@pytest.fixture
def running_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paths]:
    """Give a home that this process works on, as a person's shell would; whatever the test started in it is stopped after it.

    The test says with tests.fakes.switch_on which programs may run; to begin with none may.
    """
    home = make_home(tmp_path / "home")
    switch_on(home)
    for name, value in home_environment(home).items():
        monkeypatch.setenv(name, value)
    yield home
    from weaver.lifecycle import down

    down(home.home)

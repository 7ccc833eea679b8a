"""One factory for all tests of a whole factory: it is started by the first of them and goes on from test to test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.process import spawned
from tests.flow.checkout import Checkout, copy_checkout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """Give a fresh checkout in which nothing runs yet; whatever runs in it at the end is stopped as a person would."""
    made = copy_checkout(tmp_path_factory.mktemp("checkout") / "weaver")
    yield made
    made.sh("./scripts/stop_all.sh")
    left = list(spawned(made.paths.home_id))
    assert left == [], f"processes outlive stop_all.sh: {left}"

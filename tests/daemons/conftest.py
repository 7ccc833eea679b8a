"""Fixtures of the daemons' tests: the tiny tokenizer, saved once, a home with an inbox, and one in which train_next ticks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons.inbox_builder import InboxHome, make_tokenizer
from tests.daemons.training_stage import Stage, staged


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the tiny tokenizer."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tiny")


@pytest.fixture
def inbox(tmp_path: Path, tokenizer_folder: Path) -> InboxHome:
    """Give a home with a base, in which watch_inbox ticks."""
    return InboxHome(tmp_path / "home", tokenizer_folder)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Give a home in which train_next ticks."""
    with staged(tmp_path) as stage:
        yield stage

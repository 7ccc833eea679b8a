"""Fixtures of the daemons' tests: the tiny tokenizer, saved once, and a home with an inbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemons.inbox_builder import InboxHome, make_tokenizer


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the tiny tokenizer."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tiny")


@pytest.fixture
def inbox(tmp_path: Path, tokenizer_folder: Path) -> InboxHome:
    """Give a home with a base, in which watch_inbox ticks."""
    return InboxHome(tmp_path / "home", tokenizer_folder)

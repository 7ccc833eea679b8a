"""Fixtures of the jobs' tests: the tiny tokenizer, loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.text.tokens import load_tokenizer
from trainer.tiny.tokenizer import save_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give the tiny tokenizer as every program loads it."""
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return load_tokenizer(folder)

"""The base models that every test of the trainer continues from, built once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.config import ModelConfig
from core.paths import Paths
from tests.trainer.training_home import TrainingHome
from trainer.config import ModelSource
from trainer.model import BUILTIN, ensure_base
from trainer.tiny.model import build

MakeHome = Callable[..., TrainingHome]


def with_base(home: Path, base: str) -> tuple[Path, str]:
    ensure_base(ModelSource(name="tiny", paths=Paths(home), config=ModelConfig(base=base)), 0, datetime.now(UTC))
    return home, base


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with the embedded base."""
    return with_base(tmp_path_factory.mktemp("built"), BUILTIN)


@pytest.fixture(scope="session")
def built_with_dropout(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home whose base is a local folder with dropout: only then does a mistake with the random state show."""
    folder = tmp_path_factory.mktemp("dropout")
    build(folder, 0)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.1}))
    return with_base(tmp_path_factory.mktemp("built_with_dropout"), str(folder))


@pytest.fixture
def make_home(tmp_path: Path, built: tuple[Path, str], built_with_dropout: tuple[Path, str]) -> MakeHome:
    """Give homes, each with its own copy of a base."""

    def make(name: str = "home", dropout: bool = False) -> TrainingHome:
        source, base = built_with_dropout if dropout else built
        shutil.copytree(source, tmp_path / name)
        return TrainingHome(tmp_path / name, base)

    return make


@pytest.fixture
def home(make_home: MakeHome) -> TrainingHome:
    """Give one home with the embedded base."""
    return make_home()

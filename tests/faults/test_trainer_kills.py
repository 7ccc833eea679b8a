"""kill -9 of the trainer in any step and in any save: the run that goes on is the uninterrupted one to the last bit.

Across two jobs and the borders of epochs, packed and padded, with accumulation and dropout. benchmarks/faults.py goes through
every kill point of sixty steps.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from tests.faults.trainer_lives import PACKED, SHORT, Death, Run, deaths, differences, has_lived, make_base, make_home

pytestmark = pytest.mark.timeout(900)
SEED, KILLS = 20261121, 4
STEPS, CALLS = 9, 250


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("settings", [{}, PACKED], ids=["padded", "packed"])
def test_trainer_killed_anywhere_goes_on_as_if_it_had_not_been(
    made: tuple[Path, str], tmp_path: Path, settings: object
) -> None:
    """About 12 s each: every life opens the model, and each history is trained to its end."""
    print(f"seed {SEED}")
    run, rng, numbers = Run(SHORT, dict(settings)), random.Random(SEED), itertools.count()  # type: ignore[call-overload]
    whole = make_home(made, tmp_path / "whole", run)
    assert not has_lived(whole, run, Death())
    for death in deaths(rng, STEPS, CALLS, KILLS):
        home = make_home(made, tmp_path / str(next(numbers)), run)
        assert has_lived(home, run, death), death
        has_lived(home, run, Death(call=rng.randint(1, CALLS)))  # and in the middle of going on
        assert not has_lived(home, run, Death())
        assert differences(home, whole, run) == [], death

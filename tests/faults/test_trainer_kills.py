"""kill -9 of the trainer at every kind of moment: the run that goes on is the uninterrupted one to the last bit.

Compared are, for every step, also a replayed one: the ids of its micro-batches, the learning rates, the loss (float hex), and
a draw from each of random, numpy and torch; in the end the weights, their average, optimizer, schedule, random state and
counters; and how many steps train_next counted as trained again. Packed and padded, with and without accumulation and dropout,
across the border of epochs (with accumulation: inside of a step) and of jobs, in the order that train_next chooses. It has the
deaths on record, so that the lines of the step of a death are tried alone: that moves no bit.
benchmarks/faults.py goes through every moment of every step of a run of sixty.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.faults.trainer_lives import (
    HARDEST,
    IN_A_STEP,
    SETTINGS,
    SHORT,
    THREE,
    Death,
    Run,
    Setting,
    deaths_in_steps,
    differences,
    every_moment,
    has_died,
    make_bases,
    make_home,
    plan_of,
    survive,
    tried,
)

pytestmark = pytest.mark.timeout(900)
SEED, CALLS = 20261121, 120


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Mapping[bool, tuple[Path, str]]:
    return make_bases(tmp_path_factory.mktemp("bases"))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_trainer_killed_at_any_moment_goes_on_as_if_it_had_not_been(
    bases: Mapping[bool, tuple[Path, str]], tmp_path: Path, setting: Setting
) -> None:
    """About 7 s each: every life opens the model, and each history is trained to its end."""
    run, rng = Run(SHORT, setting), random.Random(f"{SEED} {setting}")
    whole = make_home(bases, tmp_path / "whole", run)
    assert not has_died(whole, run, None)
    histories = {
        "steps": deaths_in_steps(rng, whole),
        "saves": [Death("call", rng.randint(1, CALLS)), Death("call", rng.randint(1, CALLS))],  # and while it goes on
    }
    print(f"seed {SEED}: {histories}")
    for name, deaths in histories.items():
        home = make_home(bases, tmp_path / name, run)
        died = survive(home, run, deaths)
        assert died == len(deaths) or (name == "saves" and died), deaths
        assert differences(home, whole, run) == [], deaths
        assert tried(home) or name == "saves", "no line was tried alone after several deaths"


def test_jobs_that_were_only_in_memory_are_trained_again_in_the_order_of_the_uninterrupted_run(
    bases: Mapping[bool, tuple[Path, str]], tmp_path: Path
) -> None:
    """Two are done and the third is under way when the trainer dies; the next ones die on the way there. About 15 s."""
    run = Run(THREE, HARDEST, every_s=100_000.0)
    whole = make_home(bases, tmp_path / "whole", run)
    assert not has_died(whole, run, None)
    first, second = (len(plan_of(whole, job).steps) for job in ("job-1", "job-2"))
    deaths = [
        Death("after the step", first + second + 1),
        Death("before the update", 2),
        Death("in the middle", first + 1),
        Death("job", 2),
        Death("after the update", first + second + 2),
    ]
    home = make_home(bases, tmp_path / "home", run)
    assert survive(home, run, deaths) == len(deaths)
    assert differences(home, whole, run) == []
    spans = [span for one in home.ledger.checkpoints("tiny") for span in one.consumed]
    assert list(dict.fromkeys(span.job for span in spans)) == ["job-1", "job-2", "job-3"]


def test_border_of_epochs_lies_inside_of_a_step_where_there_is_accumulation(
    bases: Mapping[bool, tuple[Path, str]], tmp_path: Path
) -> None:
    """What the runs above are for: else a cursor that only knows whole epochs would pass them."""
    run = Run(SHORT, HARDEST)
    home = make_home(bases, tmp_path / "home", run)
    survive(home, run, [])
    spans = [span for one in home.ledger.checkpoints("tiny") for span in one.consumed if span.job == "job-1"]
    plan = plan_of(home, "job-1")
    borders = {sum(plan.steps[:step]) for step in range(len(plan.steps) + 1)}
    assert {span.epoch for span in spans} == {0, 1}
    assert len(plan.rows) // 2 not in borders


def test_histories_of_the_benchmark_hold_every_moment_of_every_step() -> None:
    histories = every_moment(60)
    assert all(deaths == sorted(deaths, key=lambda death: death.at) for deaths in histories)
    together = [death for deaths in histories for death in deaths]
    assert sorted(together, key=repr) == sorted((Death(moment, at) for moment in IN_A_STEP for at in range(1, 61)), key=repr)

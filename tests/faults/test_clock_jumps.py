"""The wall clock is set ten years ahead, or back, while daemons work: displayed times change and nothing else (I13).

In-process, through ctx.clock. The loop of the daemons, the Weaver over real programs, liveness and the status have such tests
of their own (tests/daemons/harness/test_loop.py, tests/weaver/test_supervisor.py, tests/core/test_overview.py); plan() and
back-off know no other clock than the monotonic one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from core.checkpoints.checkpoint import Checkpoint
from core.checkpoints.ledger import SIDECAR, Ledger, write_manifest
from core.config import CheckpointsConfig, NotifyConfig, WeaverConfig
from core.evals.curriculum import Curriculum, SkillProgress
from core.log import write_event
from core.process import this_process
from core.records import encode_pretty, read
from core.runs.run import Outcome
from daemons.generate_data import HOLD_S, GenerateData
from daemons.notices.outbox import DAY_S, HOUR_S, Outbox
from daemons.prune_checkpoints import PruneCheckpoints
from daemons.reclaim_stale import STALE_S
from daemons.send_notices import SendNotices
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_state
from tests.daemons import test_deploy_best as deploying
from tests.daemons import test_prune_checkpoints as pruning
from tests.daemons import test_reclaim_stale as reclaiming
from tests.daemons.home_builder import TestHome
from tests.daemons.inbox_builder import InboxHome, good, jsonl, make_tokenizer
from tests.daemons.training_stage import A, Stage, staged
from tests.receiver import receiving

TEN_YEARS_S = 3652 * 86400.0
SEED, JUMPS = 20261121, 6
ALONE_S = 60.0

both_ways = pytest.mark.parametrize("jump_s", [TEN_YEARS_S, -TEN_YEARS_S], ids=["ahead", "back"])


# -- what arrives ------------------------------------------------------------------------------------------------------


@both_ways
def test_sidecar_waits_a_minute_for_its_file_and_a_drop_until_it_stands_still(tmp_path: Path, jump_s: float) -> None:
    inbox = InboxHome(tmp_path / "home", make_tokenizer(tmp_path / "tokenizer"))
    clock = inbox.clock
    inbox.drop("alone.jsonl", jsonl(good(2)), sidecar={"priority": "high"}).unlink()
    drop = inbox.drop("late.jsonl", jsonl(good(3)))
    os.utime(drop, ns=(drop.stat().st_ctime_ns + 10**12,) * 2)  # as a copy that keeps a later time: no rename
    inbox.tick()
    clock.jumped = timedelta(seconds=jump_s)
    inbox.tick()
    assert inbox.jobs() == {}, "no time has passed"
    clock.passed_s += 1.5
    inbox.tick()
    assert set(inbox.jobs()) == {"late.jsonl"}
    clock.passed_s += ALONE_S - 2.0
    clock.jumped = timedelta()
    inbox.tick()
    assert set(inbox.jobs()) == {"late.jsonl"}
    clock.passed_s += 1.0
    inbox.tick()
    assert set(inbox.jobs()) == {"late.jsonl", "alone.jsonl.meta.json"}


@both_ways
def test_next_batch_waits_for_the_last_one_to_be_taken(tmp_path: Path, jump_s: float) -> None:
    home = TestHome(tmp_path)
    clock, daemon = home.clock, GenerateData()
    skill = SkillProgress(training_level=1, mastered_level=0, target_level=3, levels=())
    view = Curriculum(model="tiny", active_skill=None, skills={"binary": skill, "syllables": skill})
    (home.paths.status / "curriculum.json").write_bytes(encode_pretty(view))

    def took() -> int:
        """Tick once, and take what was written as watch_inbox does; give the number of examples."""
        did = daemon.tick(home.context("generate_data")).did
        for path in (home.paths.inbox / "low").iterdir():
            path.unlink()
        return did

    assert took() > 0
    clock.jumped = timedelta(seconds=jump_s)
    assert took() == 0
    clock.passed_s += HOLD_S - 0.1
    clock.jumped = timedelta()
    assert took() == 0
    clock.passed_s += 0.2
    assert took() > 0


# -- what is trained ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as stage:
        yield stage


@both_ways
def test_job_that_failed_loses_at_most_one_pause_and_waits_no_longer(stage: Stage, jump_s: float) -> None:
    clock = stage.home.clock
    stage.queue(A)
    stage.tick()
    stage.result(A, Outcome.FAILED)
    assert stage.tick().facts["running"] is None, "it waits five seconds"
    clock.jumped = timedelta(seconds=jump_s)
    assert stage.tick(5.0).facts["running"] == A, "and no longer"
    stage.result(A, Outcome.FAILED)
    assert stage.tick().facts["running"] is None, "now it waits ten, whatever year it is"
    assert stage.tick(9.0).facts["running"] is None
    assert stage.tick(1.0).facts["running"] == A
    assert [attempt.outcome for attempt in stage.spool.read_attempts(A)].count("failed") == 2


@both_ways
def test_claim_without_an_owner_is_given_back_after_its_seconds(tmp_path: Path, jump_s: float) -> None:
    stage = reclaiming.Stage(tmp_path)
    clock = stage.home.clock
    stage.tick()
    clock.jumped = timedelta(seconds=jump_s)
    stage.tick(STALE_S - 1.0)
    assert stage.state == "processing"
    stage.tick(1.0)
    assert stage.state == "high"


# -- what is kept ------------------------------------------------------------------------------------------------------


def remaining(home: TestHome) -> tuple[list[str], list[str]]:
    """Give the checkpoints that have weights, and those that have training state."""
    ledger = Ledger(home.paths)
    names = ledger.names("tiny")
    return names, [name for name in ledger.links("tiny") if ledger.has_state("tiny", name)]


def made_in(home: TestHome, year: int, step: int, parent: str) -> str:
    """Make a checkpoint with training state, by a clock that says this year; give its name."""
    name = make_checkpoint(home.paths, step, parent)
    folder, model = home.paths.model("tiny").checkpoint(name), home.paths.model("tiny")
    record = msgspec.structs.replace(read(Checkpoint, folder / SIDECAR), created_at=f"{year}-11-21T04:00:00.000Z")
    for path in (folder / SIDECAR, model.ledger(name)):
        path.write_bytes(encode_pretty(record))
    write_manifest(folder)
    make_state(home.paths, name)
    home.put_head(name)
    return name


@both_ways
def test_retention_removes_what_it_would_have_removed_and_nothing_made_since(tmp_path: Path, jump_s: float) -> None:
    """Thirty checkpoints within half an hour are young in any year, also once others were made ten years from them."""
    homes = [TestHome(tmp_path / name) for name in ("still", "jumping")]
    for home in homes:
        home.configure(weaver=WeaverConfig(checkpoints=CheckpointsConfig(keep_h=36.0, keep_gb=150.0)))
        pruning.history(home, 30)
        pruning.rank(home)
    before = remaining(homes[0])[0]
    homes[1].clock.jumped = timedelta(seconds=jump_s)
    for home in homes:
        pruning.tick_until_done(home, PruneCheckpoints())
    assert remaining(homes[0]) == remaining(homes[1]) and remaining(homes[0])[0] == before
    year = homes[1].clock.now().year
    for step in (300, 310):
        before.append(made_in(homes[1], year, step, before[-1]))
    pruning.tick_until_done(homes[1], PruneCheckpoints())
    names, states = remaining(homes[1])
    assert names == before and before[-1] in states, "training goes on from there"


@both_ways
def test_living_trainer_keeps_its_half_made_save(tmp_path: Path, jump_s: float) -> None:
    stage = reclaiming.Stage(tmp_path)
    pruning.history(stage.home, 2)
    staged = stage.home.paths.model("tiny").staging / "checkpoint-990-20261120-2130"
    staged.mkdir(parents=True)
    stage.beat("trainer", this_process())
    stage.home.clock.jumped = timedelta(seconds=jump_s)
    PruneCheckpoints().tick(stage.home.context("prune_checkpoints"))
    assert staged.exists()


# -- what is served, and told ------------------------------------------------------------------------------------------


def test_champion_stays_and_is_proved_once_more_after_each_jump_at_most(tmp_path: Path) -> None:
    factory, rng = deploying.Deploying(tmp_path), random.Random(SEED)
    print(f"seed {SEED}")
    clock = factory.home.clock
    champion = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    assert factory.alias == champion
    for _ in range(JUMPS):
        clock.jumped = timedelta(seconds=rng.choice([TEN_YEARS_S, 0.0, -TEN_YEARS_S]))
        before = len(factory.oracle.calls)
        for _ in range(5):
            assert factory.tick().did == 0
        assert factory.alias == champion and len(factory.records) == 1
        assert ("load", champion) not in factory.oracle.calls[before:], "it was proved where it is served"
    verified = factory.view().verified_at
    factory.tick()
    assert factory.view().verified_at == verified, "and not at each tick"


@both_ways
def test_notices_wait_for_a_receiver_that_is_away(tmp_path: Path, jump_s: float) -> None:
    """What would be thrown away after a day is still there after ten years that lasted no second; a day still is a day."""
    home = TestHome(tmp_path)
    clock = home.clock
    with receiving(status=503) as away:
        home.configure(weaver=WeaverConfig(notify=NotifyConfig(urls=(f"http://{away.address}/x",))))
        SendNotices().tick(home.context("send_notices"))
        write_event(home.paths, "weaver", "fatal", name="web", reason="crash loop", last_exit=1)
        SendNotices().tick(home.context("send_notices"))
        first = read(Outbox, home.paths.notices).waiting[0].notice.at
        clock.jumped = timedelta(seconds=jump_s)
        SendNotices().tick(home.context("send_notices"))
        write_event(home.paths, "weaver", "fatal", name="web", reason="crash loop", last_exit=1)
        SendNotices().tick(home.context("send_notices"))
        outbox = read(Outbox, home.paths.notices)
        assert {one.notice.program for one in outbox.waiting} == {"web"} and outbox.left_out == 0
        assert outbox.waiting[0].notice.at == first, "the one that waited, and perhaps one of what happened since"
        for _ in range(int(DAY_S / HOUR_S * 2) + 1):
            clock.passed_s += HOUR_S / 2
            SendNotices().tick(home.context("send_notices"))
        assert read(Outbox, home.paths.notices).waiting == ()

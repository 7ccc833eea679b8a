"""prune_checkpoints removes what retention allows and nothing else."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.checkpoints.champion import Champion
from core.checkpoints.checkpoint import Pin
from core.checkpoints.deployment import Deployment
from core.checkpoints.ledger import Ledger, verify
from core.checkpoints.pins import pin as put_pin
from core.checkpoints.ranking import Ranked, Ranking
from core.checkpoints.removal import LEFT_OVER_S
from core.checkpoints.reset import reset_head
from core.checkpoints.retention import NEWEST
from core.checkpoints.served import append_deployment
from core.clock import boot_id
from core.config import CheckpointsConfig, DiskConfig, WeaverConfig
from core.jobs.job import Maker
from core.jobs.spool import Spool
from core.process import start_ticks
from core.records import encode_pretty
from core.status import Heartbeat, write_heartbeat
from daemons.prune_checkpoints import REMOVALS_PER_TICK, PruneCheckpoints
from daemons.pruning.data import GENERATED_DATA_KEPT, OldData
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_state
from tests.core.home_files import job_record
from tests.daemons.home_builder import TestHome


@pytest.fixture
def home(tmp_path: Path) -> TestHome:
    home = TestHome(tmp_path)
    home.clock.passed_s = 10 * 365 * 86400.0  # file times are the machine's: far enough behind this clock
    home.configure(weaver=WeaverConfig(checkpoints=CheckpointsConfig(keep_gb=1e-9)))
    return home


def history(home: TestHome, count: int) -> list[str]:
    names: list[str] = []
    for step in range(count):
        names.append(make_checkpoint(home.paths, step * 10, names[-1] if names else None))
        make_state(home.paths, names[-1])
    home.put_head(names[-1])
    return names


def rank(home: TestHome, *eligible: str) -> None:
    places = [
        Ranked(place=n, checkpoint=name, accuracy=1.0, low=0.0, high=0.0, composite=None, eligible=True, reasons=[])
        for n, name in enumerate(eligible, start=1)
    ]
    (home.paths.status / "ranking.json").write_bytes(encode_pretty(Ranking(models={"tiny": places})))


def deploy(home: TestHome, checkpoint: str, previous: str | None) -> None:
    append_deployment(
        home.paths.model("tiny"),
        Deployment(
            id=checkpoint, at="2026-11-20T21:30:00.000Z", model="tiny", checkpoint=checkpoint, weights_id="0" * 16,
            previous=previous, host="local", alias="champion", verdict="deployed", reason="test",
            test=None, by_suite=[], guards=[],
            proof=None, by="test",
        ),
    )  # fmt: skip


def tick_until_done(home: TestHome, daemon: PruneCheckpoints) -> int:
    done = 0
    for _ in range(20):
        report = daemon.tick(home.context("prune_checkpoints"))
        done += report.did
        if not report.again:
            return done
    raise AssertionError("it never ends")


def test_old_weights_and_states_go_and_their_records_stay(home: TestHome) -> None:
    names = history(home, 19)
    deploy(home, names[2], None)
    deploy(home, names[4], names[2])
    rank(home, names[5])
    (home.paths.model("tiny").pins).mkdir()
    pin = Pin(checkpoint=names[6], reason="a good one", at="2026-11-20T21:30:00.000Z")
    (home.paths.model("tiny").pins / f"{names[6]}.json").write_bytes(encode_pretty(pin))
    assert tick_until_done(home, PruneCheckpoints()) > 0
    ledger = Ledger(home.paths)
    assert ledger.names("tiny") == [names[0], names[2], names[4], names[5], names[6], *names[-NEWEST:]]
    assert [name for name in names if ledger.has_state("tiny", name)] == names[-2:]
    assert ledger.chain("tiny") == names[::-1]
    assert all(home.paths.model("tiny").ledger(name).exists() for name in names)
    assert not list(home.paths.model("tiny").trash.iterdir())
    for name in ledger.names("tiny"):
        verify(home.paths.model("tiny").checkpoint(name))
    assert PruneCheckpoints().tick(home.context("prune_checkpoints")).did == 0


@pytest.mark.parametrize("kind", ["pinned", "deployed", "aliased", "reset to", "a candidate"])
def test_what_is_wanted_since_the_first_removal_of_a_tick_stays(home: TestHome, kind: str) -> None:
    names = history(home, 15)
    rank(home)
    mine, ledger, wanted, done = home.paths.model("tiny"), Ledger(home.paths), names[3], list[str]()

    def want(text: str) -> None:
        done.append(text)
        if len(done) != (1 if kind == "reset to" else 14):  # states go first, and a reset wants one of them
            return
        assert ledger.is_complete("tiny", wanted), "there was nothing to keep"
        if kind == "pinned":
            put_pin(home.paths, "tiny", wanted, "keep it", "2026-11-20T21:30:00.000Z")
        elif kind == "deployed":
            deploy(home, wanted, None)
        elif kind == "aliased":
            champion = Champion(alias="tiny/champion", checkpoint=wanted, weights_id="0" * 16, at="2026-11-20T21:30:00.000Z")
            mine.champion.write_bytes(encode_pretty(champion))
        elif kind == "a candidate":
            rank(home, wanted)
        else:
            reset_head(home.paths, ledger, "tiny", wanted, "harmful", "2026-11-20T21:30:00.000Z")

    daemon = PruneCheckpoints()
    daemon.tick(replace(home.context("prune_checkpoints"), beat=want))
    tick_until_done(home, daemon)
    assert wanted in ledger.names("tiny") and ledger.has_state("tiny", wanted) == (kind == "reset to")
    assert not ledger.has_state("tiny", names[4]), "what nobody wants goes"
    assert kind == "reset to" or names[4] not in ledger.names("tiny")


def test_room_that_a_full_disk_needs_is_made_once(home: TestHome) -> None:
    free = shutil.disk_usage(home.paths.home).free
    disk = DiskConfig(floor_gb=free / 2**30)  # a quarter of what is free is wanted
    home.configure(weaver=WeaverConfig(checkpoints=CheckpointsConfig(keep_gb=1e9, keep_h=1e6), disk=disk))
    names = history(home, 15)
    rank(home)
    for name in names:
        with (home.paths.model("tiny").checkpoint(name) / "model.safetensors").open("r+b") as file:
            file.truncate(free // 10)  # holes, not blocks
    PruneCheckpoints().tick(home.context("prune_checkpoints"))
    assert Ledger(home.paths).names("tiny") == [names[0], *names[4:]]


def test_one_tick_removes_a_bounded_number_and_asks_for_the_next(home: TestHome) -> None:
    history(home, REMOVALS_PER_TICK + 17)
    rank(home)
    report = PruneCheckpoints().tick(home.context("prune_checkpoints"))
    assert report.did == REMOVALS_PER_TICK and report.again
    assert len(home.beats) == REMOVALS_PER_TICK


def test_without_a_ranking_no_weights_of_the_default_model_go(home: TestHome) -> None:
    names = history(home, 15)
    tick_until_done(home, PruneCheckpoints())
    assert Ledger(home.paths).names("tiny") == names


def test_weights_go_only_after_their_copy_is_there(home: TestHome) -> None:
    names = history(home, 15)
    rank(home)
    copy = home.paths.model("tiny").ledger(names[1])
    copy.unlink()
    tick_until_done(home, PruneCheckpoints())
    assert copy.exists() and not home.paths.model("tiny").checkpoint(names[1]).exists()


def test_unreadable_history_removes_nothing_and_says_so(home: TestHome) -> None:
    names = history(home, 15)
    rank(home)
    home.paths.model("tiny").head.write_bytes(b"{")
    report = PruneCheckpoints().tick(home.context("prune_checkpoints"))
    assert "nothing of tiny is removed" in report.note
    assert Ledger(home.paths).names("tiny") == names


def test_left_overs_of_a_dead_trainer_are_swept_and_those_of_a_live_one_are_not(home: TestHome) -> None:
    history(home, 2)
    model = home.paths.model("tiny")
    staged, orphan = model.staging / "checkpoint-990-20261120-2130", model.training_state("checkpoint-990-20261120-2130")
    for folder in (staged, orphan, model.trash / "x.1.2"):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    beat = Heartbeat(
        name="trainer", pid=os.getpid(), start_ticks=ticks, boot_id=boot_id(), state="RUNNING", seq=1, beat_mono=0.0,
        next_due_mono=6.0, beat_at="2026-11-20T21:30:00.000Z", phase="train", note="", last_report=None, last_error=None,
        exit_code=None, version="0",
    )  # fmt: skip
    write_heartbeat(home.paths, beat)
    PruneCheckpoints().tick(home.context("prune_checkpoints"))
    assert staged.exists() and orphan.exists() and not (model.trash / "x.1.2").exists()
    home.paths.heartbeat("trainer").unlink()
    now = home.clock.now().timestamp()
    os.utime(staged, (now - LEFT_OVER_S + 5,) * 2)
    PruneCheckpoints().tick(home.context("prune_checkpoints"))
    assert staged.exists() and not orphan.exists()
    os.utime(staged, (now - LEFT_OVER_S - 5,) * 2)
    PruneCheckpoints().tick(home.context("prune_checkpoints"))
    assert not staged.exists()


def test_temporary_files_of_killed_writers_go_when_no_writer_can_be_at_work_any_more(home: TestHome) -> None:
    paths, model, name = home.paths, home.paths.model("tiny"), ".x.json.4711.0a1b2c3d.tmp"
    history(home, 1)
    folders = [
        paths.queue, paths.inbox / "low", paths.orders / "done", paths.procs, paths.status, paths.tokens, model.root,
        model.pins, model.scores("checkpoint-0-20261120-2130"), paths.logs, paths.suites,
    ]  # fmt: skip
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"half")
        (folder / "kept.tmp").write_bytes(b"a person's")
    now = home.clock.now().timestamp()
    os.utime(paths.queue / name, (now - LEFT_OVER_S + 5,) * 2)
    PruneCheckpoints().tick(home.context("prune_checkpoints"))
    assert [folder for folder in folders if (folder / name).exists()] == [paths.queue]
    assert all((folder / "kept.tmp").exists() for folder in folders)


def put_completed(home: TestHome, number: int, source: str) -> Path:
    folder = home.paths.state("completed") / f"20261120-{number:09d}-0123abcd-drop"
    folder.mkdir(parents=True)
    job = job_record(folder.name, source=source, priority="low", generator=Maker(id="binary", version="1"))
    (folder / "job.json").write_bytes(encode_pretty(job))
    (folder / "data.jsonl").write_bytes(b"{}\n")
    return folder


def test_data_of_old_generated_jobs_goes_and_that_of_people_is_compressed_after_a_day(home: TestHome) -> None:
    people = [put_completed(home, number, "people") for number in range(5)]
    generated = [put_completed(home, 100 + number, "generate_data") for number in range(GENERATED_DATA_KEPT + 7)]
    today = home.clock.now().timestamp()
    for folder in (people[4], *generated):
        os.utime(folder, (today, today))
    assert tick_until_done(home, PruneCheckpoints()) == 7 + 4
    assert [sorted(path.name for path in folder.iterdir()) for folder in people] == 4 * [["data.jsonl.zst", "job.json"]] + [
        ["data.jsonl", "job.json"]
    ]
    assert not any((folder / "data.jsonl").exists() for folder in generated[:7])
    assert all((folder / "data.jsonl").exists() for folder in generated[7:])
    assert all((folder / "job.json").exists() for folder in generated)
    Spool(home.paths).retry(people[0].name)
    assert (home.paths.state("normal") / people[0].name / "data.jsonl").read_bytes() == b"{}\n"


def test_data_over_its_bound_goes_oldest_first_generated_before_that_of_people(home: TestHome) -> None:
    folders = [put_completed(home, number, "people" if number % 2 else "generate_data") for number in range(4)]
    with (folders[1] / "data.jsonl").open("r+b") as file:
        file.truncate(19 * 10**9)  # holes, not blocks
    with (folders[3] / "data.jsonl").open("r+b") as file:
        file.truncate(2 * 10**9)
    today = home.clock.now().timestamp()
    for folder in folders:
        os.utime(folder, (today, today))
    OldData().tidy(home.context("prune_checkpoints"), 20)
    assert [(folder / "data.jsonl").exists() for folder in folders] == [False, False, False, True]

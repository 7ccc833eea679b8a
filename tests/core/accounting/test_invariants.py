"""Every invariant that the audit can see, broken once each, and found."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from core.accounting.audit import audit
from core.accounting.files import check_bounds, check_views
from core.accounting.training import LOOKS, check_training
from core.checkpoints.champion import Champion
from core.checkpoints.checkpoint import Checkpoint
from core.checkpoints.deployment import Deployment
from core.checkpoints.ledger import SIDECAR, Ledger, Link, write_manifest
from core.checkpoints.pins import pin
from core.checkpoints.served import append_deployment
from core.files import replace_quick
from core.jobs.poison import PoisonLine, add_poison
from core.jobs.spool import Spool
from core.log import OUT_BYTES, OUT_FLOOD_BYTES
from core.paths import STATES, Paths
from core.records import decode, encode_pretty
from core.runs.run import RowSpan
from tests.core.accounting.test_lines import put_head, put_plan, train, violations
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.core.home_files import make_home, put_job

NOW = "2026-11-20T21:30:00.000Z"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path)


def consume(paths: Paths, step: int, parent: str | None, *spans: RowSpan) -> str:
    """Make a checkpoint that consumed these rows."""
    name = make_checkpoint(paths, step, parent)
    folder = paths.model("tiny").checkpoint(name)
    record = msgspec.structs.replace(decode(Checkpoint, (folder / SIDECAR).read_bytes(), ""), consumed=list(spans))
    for path in (folder / SIDECAR, paths.model("tiny").ledger(name)):
        path.write_bytes(encode_pretty(record))
    write_manifest(folder)
    return name


def rows(job: str, start: int, end: int, lines: list[int], epoch: int = 0) -> RowSpan:
    return RowSpan(job=job, rows_from=start, rows_to=end, lines=lines, epoch=epoch)


# -- I2: each line exactly `epochs` times ----------------------------------------------------------------------------


def test_job_trained_as_planned_over_two_epochs_and_three_checkpoints_holds(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=3)
    put_plan(paths, job, 3, epochs=2)
    first = consume(paths, 10, consume(paths, 0, None), rows(job, 0, 2, [1, 2]))
    second = consume(paths, 20, first, rows(job, 2, 3, [3]), rows(job, 3, 4, [1], 1))
    put_head(paths, consume(paths, 30, second, rows(job, 4, 6, [2, 3], 1)))
    assert audit(paths).ok


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (rows("", 1, 3, [2, 3]), "row 1 (of 1) was trained 2 times, planned 1 times"),
        (rows("", 2, 2, []), "row 2 (of 1) was never trained"),
        (rows("", 2, 3, [2]), "line 3 (of 1) was trained in 0 epochs of 1"),
        (rows("", 2, 9, [3]), "the plan has 3"),
    ],
)
def test_row_trained_twice_or_never_is_a_violation(paths: Paths, second: RowSpan, told: str) -> None:
    job = put_job(paths, "completed", accepted=3)
    put_plan(paths, job, 3)
    first = consume(paths, 10, consume(paths, 0, None), rows(job, 0, 2, [1, 2]))
    put_head(paths, consume(paths, 20, first, msgspec.structs.replace(second, job=job)))
    assert told in violations(audit(paths), "I2")[0]


@pytest.mark.parametrize(("damage", "told"), [("missing", "has no plan.json"), ("torn", "plan.json")])
def test_job_that_was_trained_by_no_readable_plan_is_a_violation(paths: Paths, damage: str, told: str) -> None:
    job = put_job(paths, "completed", accepted=1)
    put_head(paths, consume(paths, 10, consume(paths, 0, None), rows(job, 0, 1, [1])))
    if damage == "torn":
        (Spool(paths).folder(job) / "plan.json").write_text("{")
    assert told in violations(audit(paths), "I2")[0]


def test_job_that_is_under_way_may_have_rows_to_come(paths: Paths) -> None:
    job = put_job(paths, "low", accepted=3)
    put_plan(paths, job, 3)
    put_head(paths, consume(paths, 10, consume(paths, 0, None), rows(job, 0, 2, [1, 2])))
    assert violations(audit(paths), "I2") == []


def test_poisoned_line_need_not_be_trained(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=3)
    put_plan(paths, job, 3)
    line = PoisonLine(line=2, code="loss", reason="", step=1, checkpoint="", probes=1, at=NOW, raw_b64="")
    add_poison(Spool(paths).folder(job), line)
    put_head(paths, consume(paths, 10, consume(paths, 0, None), rows(job, 0, 3, [1, 3])))
    found = audit(paths)
    assert found.ok
    assert (found.lines.trained, found.lines.failed) == (2, 1)


def test_job_queued_afresh_may_be_trained_again(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=1)
    put_plan(paths, job, 1)
    (Spool(paths).folder(job) / "plan.json").rename(Spool(paths).folder(job) / "plan-1.json")
    put_plan(paths, job, 1)
    first = consume(paths, 10, consume(paths, 0, None), rows(job, 0, 1, [1]))
    put_head(paths, consume(paths, 20, first, rows(job, 0, 1, [1])))
    assert audit(paths).ok


class Meanwhile(Ledger):
    """A ledger under which a factory at work does something once its history was read: each thing in one reading."""

    def __init__(self, paths: Paths, *things: Callable[[], object]) -> None:
        super().__init__(paths)
        self.things = list(things)

    def links(self, model: str) -> dict[str, Link]:
        """Read what was read last of a history, then let something happen."""
        found = super().links(model)
        if self.things:
            self.things.pop(0)()
        return found


def test_job_that_is_saved_and_completed_while_the_audit_reads_is_no_violation(paths: Paths) -> None:
    job = put_job(paths, "processing", accepted=4)
    put_plan(paths, job, 4)
    half = consume(paths, 10, consume(paths, 0, None), rows(job, 0, 2, [1, 2]))
    put_head(paths, half)

    def save() -> None:
        put_head(paths, consume(paths, 20, half, rows(job, 2, 4, [3, 4])))
        (paths.state("processing") / job).rename(paths.state("completed") / job)

    assert check_training(paths, Meanwhile(paths, save)).texts == []


def test_job_that_moves_is_judged_once_it_stands_still(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=2)
    put_plan(paths, job, 2)
    first = consume(paths, 10, consume(paths, 0, None), rows(job, 0, 2, [1, 2]))
    put_head(paths, consume(paths, 20, first, rows(job, 0, 2, [1, 2])))
    folders = [paths.state(state) / job for state in ("completed", "failed")]

    def move() -> None:
        source, target = sorted(folders, key=Path.exists, reverse=True)
        source.rename(target)

    for moves in range(LOOKS + 1):
        told = check_training(paths, Meanwhile(paths, *[move] * moves)).texts
        assert [text.partition(": ")[2] for text in told][:1] == ["row 0 (of 2) was trained 2 times, planned 1 times"]
    assert check_training(paths, Meanwhile(paths, *[move] * (LOOKS + 1))).texts == [], "it is at work"


def test_job_whose_folder_is_moved_under_the_audit_has_its_plan(paths: Paths) -> None:
    job = put_job(paths, "high", accepted=1)
    put_plan(paths, job, 1)
    put_head(paths, consume(paths, 10, consume(paths, 0, None), rows(job, 0, 1, [1])))
    deadline, states = time.monotonic() + 2.0, itertools.pairwise(itertools.cycle(STATES))
    with ThreadPoolExecutor(1) as worker:
        while time.monotonic() < deadline:  # one move at a time: no job comes back to a state within one look at it
            source, target = next(states)
            moved = worker.submit((paths.state(source) / job).rename, paths.state(target) / job)
            assert check_training(paths, Ledger(paths)).texts == []
            moved.result(60)


# -- I3, I4, I12: files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["job.json", "data.jsonl"])
def test_queued_job_that_is_not_whole_is_a_violation(paths: Paths, name: str) -> None:
    job = put_job(paths, "high")
    (paths.state("high") / job / name).unlink()
    assert violations(audit(paths), "I3") == [f"{job} is queued without {name}"]


def test_torn_view_is_a_violation_and_a_missing_one_is_not(paths: Paths) -> None:
    (paths.status / "ranking.json").write_text('{"schema": "weaver.ranking/1"')
    (paths.status / ".ranking.json.1.00000000.tmp").write_text("{")
    assert "status/ranking.json is torn" in violations(audit(paths), "I4")[0]
    (paths.status / "ranking.json").unlink()
    assert violations(audit(paths), "I4") == []


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("logs/web.jsonl", 22),
        ("logs/web.jsonl.3", 22),
        ("logs/web.jsonl.5", 1),
        ("logs/events/web.jsonl", 12),
        ("logs/web.out", 51),
        ("status/x.json", 70),
    ],
)
def test_file_over_the_bound_of_its_writer_is_a_violation(paths: Paths, name: str, size: int) -> None:
    path = paths.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size * 10**6)
    told = violations(audit(paths), "I12")
    assert len(told) == 1
    assert name.split("/")[0] in told[0]


def test_output_that_a_flood_leaves_before_it_is_cut_is_no_violation(paths: Paths) -> None:
    path = paths.logs / "web.out"
    path.touch()
    os.truncate(path, OUT_BYTES + OUT_FLOOD_BYTES)
    assert violations(audit(paths), "I12") == []
    os.truncate(path, OUT_BYTES + OUT_FLOOD_BYTES + 1)
    assert "logs/web.out has" in violations(audit(paths), "I12")[0]


@pytest.mark.parametrize("place", ["status", "queue/inbox/low", "models", "logs", "config/local"])
def test_temporary_file_of_yesterday_is_a_violation(paths: Paths, place: str) -> None:
    path = paths.home / place / ".a.json.1.00000000.tmp"
    path.write_text("")
    assert violations(audit(paths), "I12") == []
    os.utime(path, (time.time() - 90_000, time.time() - 90_000))
    assert len(violations(audit(paths), "I12")) == 1


def test_files_that_come_and_go_while_they_are_looked_at_are_no_violation_and_no_error(paths: Paths) -> None:
    """Views are replaced, status/ is deleted and jobs move under the audit of a factory at work."""
    job = paths.state("normal") / put_job(paths, "normal")
    is_over = threading.Event()

    def work() -> None:
        at, gone = job, paths.home / ".gone"
        while not is_over.is_set():
            for number in range(20):
                replace_quick(paths.procs / f"{number}.json", b"{}")
            at = at.rename(paths.state("low" if at == job else "normal") / job.name)
            paths.status.rename(gone)
            shutil.rmtree(gone)

    worker = threading.Thread(target=work)
    worker.start()
    deadline = time.monotonic() + 2.0
    try:
        while time.monotonic() < deadline:
            assert check_views(paths).texts + check_bounds(paths).texts == []
    finally:
        is_over.set()
        worker.join()


# -- I7, I8, I11: what checkpoints are, what is served and what is protected ----------------------------------------


@pytest.mark.parametrize("record", [b"{", b'{"schema": "weaver.checkpoint/1"}', None])
def test_whole_checkpoint_without_a_readable_record_is_a_violation(paths: Paths, record: bytes | None) -> None:
    folder = paths.model("tiny").checkpoint(name := train(paths, 0, None, {}))
    if record is None:
        (folder / SIDECAR).unlink()
    else:
        (folder / SIDECAR).write_bytes(record)
    paths.model("tiny").ledger(name).unlink()
    write_manifest(folder)
    assert "no readable record" in violations(audit(paths), "I7")[0]


def champion(paths: Paths, checkpoint: str, weights_id: str | None = None, at: str = NOW) -> None:
    found = weights_id or Ledger(paths).weights_id("tiny", checkpoint)
    record = Champion(alias="champion", checkpoint=checkpoint, weights_id=found, at=at)
    paths.model("tiny").champion.write_bytes(encode_pretty(record))


def decide(
    paths: Paths, checkpoint: str, previous: str | None, verdict: Literal["deployed", "rolled_back"] = "deployed"
) -> None:
    """Write down that a checkpoint was deployed, or taken back, a second before what champion() writes by default."""
    append_deployment(paths.model("tiny"), Deployment(
        id="d", at="2026-11-20T21:29:59.000Z", model="tiny", checkpoint=checkpoint, weights_id=None, previous=previous,
        host="local", alias="champion", verdict=verdict, reason="", test=None, by_suite=[], guards=[], proof=None,
        by="deploy_best",
    ))  # fmt: skip


def test_served_checkpoint_that_is_another_on_disk_is_a_violation(paths: Paths) -> None:
    base = train(paths, 0, None, {})
    champion(paths, base)
    assert violations(audit(paths), "I8") == []
    champion(paths, base, "0" * 16)
    assert "was deployed as" in violations(audit(paths), "I8")[0]


def test_serving_what_no_decision_chose_is_a_violation(paths: Paths) -> None:
    first = train(paths, 0, None, {})
    second = train(paths, 10, first, {})
    third = train(paths, 20, second, {})
    decide(paths, first, None)
    decide(paths, second, first)
    for name in (first, second):
        champion(paths, name, at="2026-11-20T21:29:00.000Z")
        assert violations(audit(paths), "I8") == [], "what was decided last, or what was served until it took hold"
    champion(paths, third)
    assert violations(audit(paths), "I8") == [], "its decision is being written"
    champion(paths, third, at="2026-11-20T21:29:00.000Z")
    assert violations(audit(paths), "I8") == [f"tiny/champion means {third}; the last decision was {second}"]


def test_alias_that_means_nothing_readable_is_a_violation(paths: Paths) -> None:
    name = train(paths, 0, None, {})
    champion(paths, name)
    shutil.rmtree(paths.model("tiny").checkpoint(name))
    assert "which cannot be read" in violations(audit(paths), "I8")[0]
    paths.model("tiny").champion.write_text("{")
    found = audit(paths)
    assert "champion.json" in violations(found, "I8")[0] and "champion.json" in violations(found, "I11")[0]


@pytest.mark.parametrize("kind", ["head", "champion", "previous", "pinned"])
def test_protected_checkpoint_that_is_gone_is_a_violation(paths: Paths, kind: str) -> None:
    base = train(paths, 0, None, {})
    name = train(paths, 10, base, {})
    put_head(paths, name if kind == "head" else base)
    if kind == "champion":
        champion(paths, name)
    if kind == "previous":
        decide(paths, name, None)
        decide(paths, base, name)
    if kind == "pinned":
        pin(paths, "tiny", name, "dear", NOW)
    assert audit(paths).ok
    shutil.rmtree(paths.model("tiny").checkpoint(name))
    assert len(violations(audit(paths), "I11")) == 1


def test_what_retention_took_before_a_rollback_made_it_the_one_before_is_no_violation(paths: Paths) -> None:
    names = [train(paths, 0, None, {})]
    for step in (10, 20, 30):
        names.append(train(paths, step, names[-1], {}))
    put_head(paths, names[3])
    for name, before in zip(names[:3], [None, *names], strict=False):
        decide(paths, name, before)
    shutil.rmtree(paths.model("tiny").checkpoint(names[0]))
    assert audit(paths).ok, "it was not protected any more"
    decide(paths, names[3], names[2], "rolled_back")  # it failed its proof, and was never served
    assert audit(paths).ok
    decide(paths, names[2], names[1], "rolled_back")
    assert audit(paths).ok, "a rollback goes past it to what is there"


def test_checkpoint_that_was_served_before_must_be_there_also_after_a_candidate_failed(paths: Paths) -> None:
    first = train(paths, 0, None, {})
    second = train(paths, 10, first, {})
    third = train(paths, 20, second, {})
    put_head(paths, third)
    decide(paths, first, None)
    decide(paths, second, first)
    decide(paths, third, second, "rolled_back")
    assert audit(paths).ok
    shutil.rmtree(paths.model("tiny").checkpoint(first))
    assert violations(audit(paths), "I11") == [f"tiny/{first} was served before, and is not there, or not whole"]

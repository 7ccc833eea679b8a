"""The audit puts every dropped line into one class, and hashes what calls itself a checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.accounting.audit import audit
from core.accounting.records import Audit
from core.checkpoints.checkpoint import Checkpoint, Head
from core.checkpoints.ledger import SIDECAR, Ledger, write_manifest
from core.jobs.job import Reason
from core.jobs.spool import Spool
from core.paths import Paths
from core.records import decode, encode_pretty
from core.runs.run import Plan, RowSpan
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_state
from tests.core.home_files import end_job, make_home, put_job


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path)


def train(paths: Paths, step: int, parent: str | None, consumed: dict[str, list[int]], suffix: str = "", **facts: Any) -> str:
    """Make a checkpoint that consumed these lines of these jobs."""
    name = make_checkpoint(paths, step, parent, suffix=suffix)
    folder = paths.model("tiny").checkpoint(name)
    spans = [RowSpan(job=job, rows_from=0, rows_to=len(lines), lines=lines, epoch=0) for job, lines in consumed.items()]
    record = decode(Checkpoint, (folder / SIDECAR).read_bytes(), "")
    data = encode_pretty(msgspec.structs.replace(record, consumed=spans, **facts))
    for path in (folder / SIDECAR, paths.model("tiny").ledger(name)):
        path.write_bytes(data)
    write_manifest(folder)
    return name


def put_plan(paths: Paths, job: str, rows: int, epochs: int = 1) -> None:
    """Let a job have a plan in which the rows of an epoch are its lines in order."""
    plan = Plan(
        job=job, model="tiny", parent=None, first_step=0, seed=0, epochs=epochs, packing=False, micro_batch=1, batch_tokens=64,
        accumulation=1, rows=[[row + 1] for row in range(rows)] * epochs, steps=[1] * rows * epochs,
    )  # fmt: skip
    (Spool(paths).folder(job) / "plan.json").write_bytes(encode_pretty(plan))


def put_head(paths: Paths, name: str) -> None:
    Ledger(paths).write_head("tiny", Head(checkpoint=name, reason="test", at="2026-11-20T21:30:00.000Z"))


def lines(found: Audit) -> dict[str, int]:
    """Give the classes that hold anything."""
    fields = {name: getattr(found.lines, name) for name in found.lines.__struct_fields__}
    return {name: count for name, count in fields.items() if count}


def violations(found: Audit, name: str) -> list[str]:
    return next(invariant.violations for invariant in found.invariants if invariant.id == name)


def test_empty_home_holds(paths: Paths) -> None:
    found = audit(paths)
    assert found.ok
    assert lines(found) == {}
    assert [invariant.id for invariant in found.invariants] == [f"I{n}" for n in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12)]


def test_every_class_of_lines_is_told_apart_and_they_add_up(paths: Paths) -> None:
    done = put_job(paths, "completed", accepted=4, rejected=2, duplicate=1)
    put_job(paths, "normal", number=1, accepted=5)
    put_job(paths, "processing", number=2, accepted=6)
    put_job(paths, "failed", number=3, accepted=7)
    refused = Reason(code="not_json", message="")
    put_job(paths, "rejected", number=4, accepted=8, rejected=3, reason=refused)
    put_job(paths, "rejected", number=5, accepted=9, reason=Reason(code="duplicate", message=""))
    end_job(paths, "rejected", put_job(paths, "rejected", number=6, accepted=10), "removed")
    end_job(paths, "rejected", put_job(paths, "rejected", number=7, accepted=11), "expired")
    put_job(paths, "rejected", number=8, has_lines=False, reason=refused)
    base = train(paths, 0, None, {})
    put_head(paths, train(paths, 10, base, {done: [1, 2, 3, 4]}))
    put_plan(paths, done, 4)
    found = audit(paths)
    assert violations(found, "I1") == []
    assert lines(found) == {
        "dropped": 66, "trained": 4, "rejected": 2 + 8 + 3, "duplicate": 1 + 9, "pending": 11, "failed": 7, "removed": 10,
        "expired": 11,
    }  # fmt: skip
    assert found.ok


def test_completed_line_that_no_checkpoint_consumed_is_unaccounted(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=4)
    put_head(paths, train(paths, 10, train(paths, 0, None, {}), {job: [1, 2, 4]}))
    found = audit(paths)
    assert not found.ok
    assert lines(found) == {"dropped": 4, "trained": 3, "unaccounted": 1}
    assert job in violations(found, "I1")[0]


def test_line_trained_in_two_epochs_counts_once(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=2)
    first = train(paths, 10, train(paths, 0, None, {}), {job: [1, 2]})
    put_head(paths, train(paths, 20, first, {job: [1, 2]}))
    assert lines(audit(paths)) == {"dropped": 2, "trained": 2}


def test_partly_trained_job_is_trained_and_pending(paths: Paths) -> None:
    job = put_job(paths, "low", accepted=5)
    put_head(paths, train(paths, 10, train(paths, 0, None, {}), {job: [1, 5]}))
    assert lines(audit(paths)) == {"dropped": 5, "trained": 2, "pending": 3}


def test_lines_consumed_only_off_the_surviving_history_are_reverted(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=3)
    base = train(paths, 0, None, {})
    good = train(paths, 10, base, {job: [1]})
    train(paths, 20, good, {job: [2, 3]})
    put_head(paths, good)
    put_plan(paths, job, 3)
    found = audit(paths)
    assert lines(found) == {"dropped": 3, "trained": 1, "reverted": 2}
    assert found.ok


def test_history_outlives_removed_weights(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=3)
    old = train(paths, 10, train(paths, 0, None, {}), {job: [1, 2, 3]})
    put_head(paths, train(paths, 20, old, {}))
    shutil.rmtree(paths.model("tiny").checkpoint(old))
    assert lines(audit(paths)) == {"dropped": 3, "trained": 3}


def test_broken_history_accounts_for_nothing_and_says_where(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=3)
    old = train(paths, 10, train(paths, 0, None, {}), {job: [1, 2, 3]})
    put_head(paths, train(paths, 20, old, {}))
    shutil.rmtree(paths.model("tiny").checkpoint(old))
    paths.model("tiny").ledger(old).unlink()
    found = audit(paths)
    assert lines(found) == {"dropped": 3, "unaccounted": 3}
    assert any(old in text for text in violations(found, "I1"))


@pytest.mark.parametrize(("name", "kept"), [("data.jsonl", 1), ("quarantine.jsonl", 0)])
def test_lines_missing_from_a_waiting_job_are_unaccounted(paths: Paths, name: str, kept: int) -> None:
    job = put_job(paths, "normal", accepted=3, rejected=2)
    (paths.state("normal") / job / name).write_bytes(b"{}\n" * kept)
    found = audit(paths)
    assert found.lines.unaccounted == 2
    assert not found.ok


def test_record_that_does_not_add_up_is_a_violation(paths: Paths) -> None:
    path = paths.state("normal") / put_job(paths, "normal", accepted=3) / "job.json"
    record = json.loads(path.read_text())
    record["lines"]["dropped"] = 9
    path.write_text(json.dumps(record))
    found = audit(paths)
    assert (found.ok, found.lines.dropped, found.lines.unaccounted) == (False, 9, 6)


@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_job_without_a_readable_record_is_a_violation(paths: Paths, damage: str) -> None:
    path = paths.state("completed") / put_job(paths, "completed") / "job.json"
    path.unlink() if damage == "missing" else path.write_text("{")
    assert len(violations(audit(paths), "I1")) == 1


def test_rows_of_a_job_that_is_nowhere_are_a_violation(paths: Paths) -> None:
    put_head(paths, train(paths, 10, train(paths, 0, None, {}), {"20261120-213005123-00000000-gone": [1]}))
    assert "gone" in violations(audit(paths), "I1")[0]


def test_line_number_that_the_job_does_not_have_is_a_violation(paths: Paths) -> None:
    job = put_job(paths, "completed", accepted=2)
    put_head(paths, train(paths, 10, train(paths, 0, None, {}), {job: [1, 2, 3]}))
    found = audit(paths)
    assert found.lines.trained == 2
    assert "does not have" in violations(found, "I1")[0]


@pytest.mark.parametrize("damage", ["changed", "missing", "extra", "no manifest"])
def test_checkpoint_that_does_not_match_its_manifest_is_a_violation(paths: Paths, damage: str) -> None:
    good = train(paths, 10, train(paths, 0, None, {}), {})
    folder = paths.model("tiny").checkpoint(good)
    if damage == "changed":
        (folder / "model.safetensors").write_bytes(b"other weights")
    elif damage == "extra":
        (folder / "more").write_bytes(b"")
    else:
        (folder / ("model.safetensors" if damage == "missing" else "MANIFEST.sha256")).unlink()
    found = audit(paths)
    assert not found.ok
    assert good in violations(found, "I7")[0]


def test_damaged_training_state_is_a_violation(paths: Paths) -> None:
    make_state(paths, name := train(paths, 0, None, {}))
    (paths.model("tiny").training_state(name) / "optimizer.pt").write_bytes(b"torn")
    assert "optimizer.pt" in violations(audit(paths), "I7")[0]


def test_child_that_remembers_another_parent_is_a_violation(paths: Paths) -> None:
    train(paths, 10, train(paths, 0, None, {}), {}, weights_id_of_parent="0" * 16)
    assert "remembers" in violations(audit(paths), "I7")[0]


def test_private_and_foreign_names_are_no_checkpoints(paths: Paths) -> None:
    train(paths, 0, None, {})
    for name in (".staging/checkpoint-5-20261120-2130", "runs", "checkpoint-5"):
        (paths.model("tiny").root / name).mkdir(parents=True)
    found = audit(paths)
    assert found.ok
    assert next(invariant.checked for invariant in found.invariants if invariant.id == "I7") == 1


def test_many_violations_are_counted_and_the_first_are_told(paths: Paths) -> None:
    for number in range(105):
        path = paths.state("completed") / put_job(paths, "completed", number=number) / "job.json"
        path.write_text("{")
    told = violations(audit(paths), "I1")
    assert len(told) == 101
    assert told[-1] == "and 5 more"

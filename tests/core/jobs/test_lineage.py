"""Tallies per generator and validator follow from the job folders: whoever adds them up, and in whatever order."""

from __future__ import annotations

import base64
import random
import shutil
import time
from pathlib import Path

import pytest

from core.files import replace_quick
from core.jobs.job import LineCounts, Maker, QuarantinedLine, Reason
from core.jobs.lineage import Lineage, LineageTally, MakerTally, Outcomes, ReasonTally, read_lineage, view_path
from core.jobs.spool import Spool
from core.paths import Paths
from core.records import encode, encode_pretty, read
from tests.core.home_files import job_record

BINARY = Maker(id="binary", version="1.0.0")
VALIDATOR = Maker(id="watch_inbox", version="1.0.0")


def put(
    paths: Paths, number: int, state: str = "completed", *, accepted: int = 0, codes: tuple[str, ...] = (), unwritten: int = 0,
    generator: Maker | None = None, validator: Maker = VALIDATOR, reason: Reason | None = None, is_read: bool = True,
) -> str:  # fmt: skip
    """Write a job as watch_inbox leaves it: codes are those of quarantine.jsonl, unwritten lines were only counted."""
    job = f"20261120-2130{number:05d}-00000000-drop"
    folder = paths.state(state) / job
    folder.mkdir(parents=True)
    repeats = codes.count("duplicate")
    rejected = len(codes) - repeats + unwritten
    lines = LineCounts(dropped=accepted + rejected + repeats, accepted=accepted, rejected=rejected, duplicate=repeats)
    (folder / "job.json").write_bytes(encode_pretty(job_record(
        job, name=f"drop-{number}.jsonl", content_sha256=None, generator=generator, validator=validator,
        lines=lines if is_read else None, reason=reason,
    )))  # fmt: skip
    raw = base64.b64encode(b"x" * 1000).decode()
    refused = [
        QuarantinedLine(line=at, offset=0, code=code, reason=f"it is {code}", raw_b64=raw) for at, code in enumerate(codes, 1)
    ]
    if is_read:
        (folder / "quarantine.jsonl").write_bytes(b"".join(encode(line) + b"\n" for line in refused))
    return job


def whole(paths: Paths) -> Lineage:
    """Add up everything afresh."""
    tally = LineageTally(paths)
    assert tally.look()
    return tally.lineage()


def one(tallies: list[MakerTally]) -> MakerTally:
    assert len(tallies) == 1, tallies
    return tallies[0]


def test_home_without_jobs_has_no_tallies(paths: Paths) -> None:
    assert whole(paths) == Lineage(jobs=0, unreadable=0, generators=[], validators=[])


def test_jobs_of_people_and_of_generators_are_told_apart_by_version(paths: Paths) -> None:
    put(paths, 1, accepted=4)
    put(paths, 2, accepted=6, generator=BINARY)
    put(paths, 3, accepted=5, generator=Maker(id="binary", version="1.1.0"), validator=Maker(id="watch_inbox", version="2.0.0"))
    found = whole(paths)
    assert [(one.id, one.version, one.lines.passed) for one in found.generators] == [
        ("binary", "1.0.0", 6), ("binary", "1.1.0", 5), ("person", None, 4),
    ]  # fmt: skip
    assert [(one.id, one.version, one.jobs.total) for one in found.validators] == [
        ("watch_inbox", "1.0.0", 2), ("watch_inbox", "2.0.0", 1),
    ]  # fmt: skip


def test_refused_lines_are_counted_by_code_and_repeats_apart(paths: Paths) -> None:
    put(paths, 1, accepted=6, codes=("not_json", "bad_role", "not_json", "duplicate"))
    tally = one(whole(paths).generators)
    assert tally.jobs == Outcomes(total=1, passed=1, failed=0, duplicate=0)
    assert tally.lines == Outcomes(total=10, passed=6, failed=3, duplicate=1)
    assert tally.fail_rate == pytest.approx(0.3)
    assert tally.reasons == [ReasonTally(code="not_json", lines=2, jobs=0), ReasonTally(code="bad_role", lines=1, jobs=0)]
    assert tally.worst[0].reason == Reason(code="not_json", message="line 1: it is not_json")


def test_all_lines_of_a_refused_file_failed_and_carry_its_code(paths: Paths) -> None:
    reason = Reason(code="not_json", message="2 of 5 lines are refused")
    put(paths, 1, "rejected", accepted=3, codes=("not_json", "bad_role"), unwritten=4, reason=reason)
    tally = one(whole(paths).generators)
    assert tally.jobs.failed == 1
    assert tally.lines == Outcomes(total=9, passed=0, failed=9, duplicate=0)
    assert tally.reasons == [ReasonTally(code="not_json", lines=8, jobs=1), ReasonTally(code="bad_role", lines=1, jobs=0)]
    assert (tally.fail_rate, tally.worst[0].failed_share, tally.worst[0].reason) == (1.0, 1.0, reason)


def test_file_that_was_never_read_has_no_rate_and_is_still_named(paths: Paths) -> None:
    reason = Reason(code="unknown_ending", message="files ending .txt are not taken")
    job = put(paths, 1, "rejected", reason=reason, is_read=False)
    tally = one(whole(paths).generators)
    assert (tally.jobs.failed, tally.lines.total, tally.fail_rate) == (1, 0, None)
    assert tally.reasons == [ReasonTally(code="unknown_ending", lines=0, jobs=1)]
    [offender] = tally.worst
    assert (offender.job, offender.name, offender.failed_share, offender.reason) == (job, "drop-1.jsonl", None, reason)


def test_duplicate_drop_is_neither_passed_nor_failed(paths: Paths) -> None:
    put(paths, 1, "rejected", accepted=7, reason=Reason(code="duplicate", message="as before"))
    tally = one(whole(paths).generators)
    assert tally.jobs == Outcomes(total=1, passed=0, failed=0, duplicate=1)
    assert tally.lines == Outcomes(total=7, passed=0, failed=0, duplicate=7)
    assert (tally.fail_rate, tally.reasons, tally.worst) == (0.0, [], [])


def test_job_that_was_removed_later_passed_the_validator(paths: Paths) -> None:
    job = put(paths, 1, "normal", accepted=2)
    before = whole(paths)
    Spool(paths).remove(job, "test", "2026-11-20T21:30:00.000Z")
    assert whole(paths) == before


def test_worst_are_those_with_the_highest_share_newest_first(paths: Paths) -> None:
    shares = [(9, 1), (1, 1), (0, 0), (3, 1), (1, 1), (99, 1), (19, 1), (2, 1)]
    for number, (accepted, refused) in enumerate(shares):
        put(paths, number, accepted=accepted, codes=("bad_role",) * refused)
    worst = one(whole(paths).generators).worst
    assert [offender.name for offender in worst] == [f"drop-{number}.jsonl" for number in (4, 1, 7, 3, 0)]


def test_lines_beyond_what_is_read_of_a_quarantine_are_said_to_be_uncounted(paths: Paths) -> None:
    put(paths, 1, accepted=95, codes=("not_json",) * 5)
    bounded = LineageTally(paths, read_bytes=3000)
    assert bounded.look()
    tally = one(bounded.lineage().generators)
    assert tally.lines.failed == 5
    assert 0 < tally.uncounted < 5
    assert tally.reasons[0].lines + tally.uncounted == 5


def test_damaged_record_is_counted_as_unreadable_until_it_is_mended(paths: Paths) -> None:
    job = put(paths, 1, accepted=1)
    record = paths.state("completed") / job / "job.json"
    good = record.read_bytes()
    record.write_bytes(good[:50])
    tally = LineageTally(paths)
    assert tally.look()
    assert (tally.lineage().jobs, tally.lineage().unreadable) == (0, 1)
    record.write_bytes(good)
    assert tally.look()
    assert tally.lineage() == whole(paths)
    assert (tally.lineage().jobs, tally.lineage().unreadable) == (1, 0)


def test_incremental_tally_equals_one_made_afresh_over_a_random_history(paths: Paths) -> None:
    seed = 11
    rng = random.Random(seed)
    tally, jobs = LineageTally(paths), dict[str, str]()
    codes = ("not_json", "bad_role", "over_length", "duplicate")
    for number in range(120):
        act = rng.random()
        if act < 0.6 or not jobs:
            reason = rng.choice([None, None, Reason(code="not_json", message="no"), Reason(code="duplicate", message="again")])
            state = "rejected" if reason else rng.choice(["high", "normal", "low", "completed"])
            job = put(
                paths, number, state, accepted=rng.randrange(9), codes=tuple(rng.choices(codes, k=rng.randrange(5))),
                generator=rng.choice([None, BINARY, Maker(id="binary", version="1.1.0")]), reason=reason,
            )  # fmt: skip
            jobs[job] = state
        elif act < 0.85:
            job = rng.choice(sorted(jobs))
            target = rng.choice(["high", "processing", "failed"])
            shutil.move(paths.state(jobs[job]) / job, paths.state(target) / job)
            jobs[job] = target
        else:
            job = rng.choice(sorted(jobs))
            shutil.rmtree(paths.state(jobs.pop(job)) / job)
        assert tally.look()
        assert tally.lineage() == whole(paths), f"seed {seed}, step {number}"


def test_view_is_written_when_deleted_damaged_or_no_longer_true_and_else_left_alone(paths: Paths) -> None:
    put(paths, 1, accepted=1)
    tally, path = LineageTally(paths), view_path(paths)

    def kept() -> Lineage | None:
        assert tally.keep_view(lambda: False)
        return read_lineage(paths)

    assert kept() == whole(paths)
    written = path.stat().st_ino
    assert kept() is not None and path.stat().st_ino == written
    path.unlink()
    assert kept() == whole(paths)
    shutil.rmtree(paths.status)
    assert kept() == whole(paths)
    replace_quick(path, b'{"schema": "weaver.lineage/1"')
    assert read_lineage(paths) is None
    assert kept() == whole(paths)
    put(paths, 2, accepted=1)
    assert kept() == whole(paths) == read(Lineage, path)


def test_view_is_not_written_before_all_jobs_are_read(paths: Paths) -> None:
    for number in range(5):
        put(paths, number, accepted=1)
    tally, asked = LineageTally(paths), iter([False, False, True, False, False, False])
    assert not tally.keep_view(lambda: next(asked))
    assert read_lineage(paths) is None
    assert tally.keep_view(lambda: next(asked))
    assert read_lineage(paths) == whole(paths)


def test_only_new_jobs_are_read_among_ten_thousand(paths: Paths) -> None:
    """Takes some seconds: it writes 10,000 jobs. What was read once is not opened again, so looking stays cheap."""
    first = put(paths, 0, accepted=3)
    source = paths.state("completed") / first
    record = (source / "job.json").read_bytes()
    for number in range(1, 10_000):
        folder = paths.state("completed") / f"20261120-2130{number:05d}-00000000-drop"
        folder.mkdir()
        (folder / "job.json").write_bytes(record)
    tally = LineageTally(paths)
    assert tally.look()
    for folder in paths.state("completed").iterdir():
        (folder / "job.json").chmod(0)
        (folder / "job.json").unlink()  # whoever opened one again would fail
    put(paths, 10_000, accepted=2)
    started = time.process_time()
    assert tally.look()
    assert tally.lineage().generators[0].lines.passed == 9_999 * 3 + 3 + 2
    assert time.process_time() - started < 2.0


def test_names_of_jobs_that_nobody_gave_are_passed_over(paths: Paths) -> None:
    (paths.state("completed") / ".trash").mkdir()
    (paths.state("completed") / "Not A Job").mkdir()
    Path(paths.state("completed") / "readme").write_text("x")
    assert whole(paths).unreadable == 0
    (paths.state("completed") / "a-folder-without-a-record").mkdir()
    assert whole(paths).unreadable == 1

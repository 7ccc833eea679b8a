"""The real tick of watch_inbox: what becomes of drops, in order, once, whatever happens in between."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.config import DiskConfig, ModelConfig, WeaverConfig
from core.evals.suite import load_suites
from core.jobs.job import LineCounts
from core.paths import STATES
from core.skills.registry import get
from core.skills.skill import generate
from core.text.tokens import load_tokenizer
from tests.daemons.inbox_builder import InboxHome, chat, good, jsonl, raw_of
from tests.fakes import ROOT, HandClock
from trainer.data.dataset import make_rows, read_lines

DATA = ROOT / "tests" / "data"


def drop_data(inbox: InboxHome, name: str) -> None:
    """Drop a file of tests/data with its sidecar, if it has one."""
    sidecar = DATA / f"{name}.meta.json"
    inbox.drop(name, (DATA / name).read_bytes(), sidecar.read_bytes() if sidecar.exists() else None)


def test_gsm8k_with_its_mapping_becomes_a_job_and_its_long_lines_are_quarantined(inbox: InboxHome) -> None:
    drop_data(inbox, "gsm8k-300.jsonl")
    inbox.settle()
    state, job = inbox.only_job()
    assert (state, job.spec, job.source, job.reason) == ("normal", "completion_v1", "gsm8k", None)
    assert job.lines is not None and job.tokens is not None
    assert job.lines.dropped == 300
    quarantined = inbox.quarantine(job)
    assert {line.code for line in quarantined} == {"over_length"}
    assert job.lines.rejected == len(quarantined) > 0
    assert job.lines.accepted == 300 - len(quarantined) == len(inbox.data(job))
    dropped = (DATA / "gsm8k-300.jsonl").read_bytes()
    for line in quarantined:
        raw = raw_of(line)
        assert line.offset is not None
        assert dropped[line.offset : line.offset + len(raw)] == raw == dropped.split(b"\n")[line.line - 1]
    first = json.loads(dropped.split(b"\n")[0])
    assert [message["content"] for message in inbox.data(job)[0]["messages"]] == [first["question"], first["answer"]]
    assert 0 < job.tokens.min <= job.tokens.median <= job.tokens.p95 <= job.tokens.p99 <= job.tokens.max <= 1024
    assert job.tokens.total > 100_000


def test_openai_messages_become_a_job_that_the_trainer_reads_as_it_was_measured(
    inbox: InboxHome, tokenizer_folder: Path
) -> None:
    drop_data(inbox, "chat-messages.jsonl")
    inbox.settle()
    state, job = inbox.only_job()
    assert (state, job.spec) == ("normal", "chat_sft_v1")
    assert job.lines == LineCounts(dropped=42, accepted=42, rejected=0)
    rows = make_rows(load_tokenizer(tokenizer_folder), read_lines(inbox.spool.folder(job.id) / "data.jsonl"), 1024)
    assert job.tokens is not None
    assert sum(len(row.ids) for row in rows) == job.tokens.total
    assert max(len(row.ids) for row in rows) == job.tokens.max


def test_queued_job_holds_what_the_contract_says_and_nothing_else(inbox: InboxHome) -> None:
    inbox.drop("a.jsonl", jsonl(good(20)), {"training": {"epochs": 3}})
    inbox.settle()
    _, job = inbox.only_job()
    folder = inbox.spool.folder(job.id)
    names = ["attempts.jsonl", "data.jsonl", "job.json", "quarantine.jsonl", "sidecar.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert list(inbox.paths.building.iterdir()) == []
    assert sorted(path.name for path in inbox.paths.inbox.iterdir()) == ["high", "low"]
    assert (job.training.epochs, job.model, job.validator.id) == (3, "tiny", "watch_inbox")
    assert inbox.events == [
        ("queued", {"job": job.id, "name": "a.jsonl", "model": "tiny", "priority": "normal", "accepted": 20, "refused": 0})
    ]
    assert inbox.tick().did == 0


def test_same_name_twice_is_two_jobs(inbox: InboxHome) -> None:
    for first in (0, 100):
        inbox.drop("a.jsonl", jsonl(good(10, first)))
        inbox.settle()
    jobs = [inbox.spool.read(job)[1] for job in inbox.spool.list("normal")]
    assert [job.name for job in jobs] == ["a.jsonl", "a.jsonl"]
    assert [inbox.data(job)[0]["messages"][0]["content"] for job in jobs] == ["What is 0 and one?", "What is 100 and one?"]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_same_content_twice_is_recognised_however_it_is_written(inbox: InboxHome, is_restarted: bool) -> None:
    lines = good(10)
    inbox.drop("a.jsonl", jsonl(lines))
    inbox.settle()
    if is_restarted:
        inbox.restart()
    rewritten = [json.dumps(json.loads(line), indent=None, separators=(" , ", " : ")) for line in lines]
    inbox.drop("b.jsonl", "\r\n".join(rewritten))
    inbox.settle()
    jobs = inbox.jobs()
    second = jobs["b.jsonl"]
    assert inbox.spool.find(second.id) == "rejected"
    assert second.reason is not None and second.reason.code == "duplicate"
    assert second.duplicate_of == jobs["a.jsonl"].id and jobs["a.jsonl"].id in second.reason.message
    assert second.lines == LineCounts(dropped=10, accepted=10, rejected=0)


def test_duplicate_is_queued_by_force_by_retry_and_for_another_model(inbox: InboxHome, tokenizer_folder: Path) -> None:
    base = ModelConfig(base="builtin:tiny-qwen3")
    inbox.set_weaver(models={"tiny": base, "other": base})
    inbox.put_base(tokenizer_folder, "other")
    content = jsonl(good(10))
    for name, sidecar in [("a.jsonl", None), ("b.jsonl", {"force": True}), ("c.jsonl", {"model": "other"}), ("d.jsonl", None)]:
        inbox.drop(name, content, sidecar)
        inbox.settle()
    jobs = inbox.jobs()
    states = {name: inbox.spool.find(job.id) for name, job in jobs.items()}
    assert states == {"a.jsonl": "normal", "b.jsonl": "normal", "c.jsonl": "normal", "d.jsonl": "rejected"}
    inbox.spool.retry(jobs["d.jsonl"].id)
    assert len(inbox.data(jobs["d.jsonl"])) == 10


def test_content_of_a_removed_job_may_be_dropped_again(inbox: InboxHome) -> None:
    content = jsonl(good(10))
    inbox.drop("a.jsonl", content)
    inbox.settle()
    inbox.spool.remove(inbox.only_job()[1].id, "anna", "now")
    inbox.drop("b.jsonl", content)
    inbox.settle()
    assert len(inbox.spool.list("normal")) == 1


def test_priorities_come_from_folder_sidecar_and_maker(inbox: InboxHome) -> None:
    inbox.drop("normal.jsonl", jsonl(good(5, 0)))
    inbox.drop("high.jsonl", jsonl(good(5, 10)), place="high")
    inbox.drop("low.jsonl", jsonl(good(5, 20)), place="low")
    inbox.drop("urgent.jsonl", jsonl(good(5, 30)), {"priority": "high"}, place="low")
    inbox.drop("made.jsonl", jsonl(good(5, 40)), {"source": "generate_data"})
    inbox.settle()
    found = {name: (inbox.spool.find(job.id), job.priority) for name, job in inbox.jobs().items()}
    expected = {"normal": "normal", "high": "high", "low": "low", "urgent": "high", "made": "low"}
    assert found == {f"{name}.jsonl": (priority, priority) for name, priority in expected.items()}


def test_jobs_are_in_the_order_of_arrival(inbox: InboxHome) -> None:
    names = [f"{letter}.jsonl" for letter in "gcaebdf"]
    for number, name in enumerate(names):
        inbox.drop(name, jsonl(good(3, 10 * number)))
    arrived = sorted(names, key=lambda name: ((inbox.paths.inbox / name).stat().st_ctime_ns, name))
    inbox.settle()
    jobs = inbox.spool.list("normal")
    assert [inbox.spool.read(job)[1].name for job in jobs] == arrived
    assert inbox.spool.oldest() == jobs[0]


def test_clock_that_was_set_back_gives_no_job_the_name_of_another(inbox: InboxHome) -> None:
    for _ in range(2):
        inbox.drop("a.jsonl", jsonl(good(3)), {"force": True})
        inbox.clock.passed_s = 0.0
        inbox.restart()
        inbox.settle()
    jobs = inbox.spool.list("normal")
    assert len(jobs) == 2
    assert [inbox.spool.read(job)[1].id for job in jobs] == jobs
    assert inbox.spool.read(jobs[1])[1].received_at == "2026-11-20T21:30:01.501Z"


def generated(count: int) -> list[str]:
    """Write lines as generate_data does."""
    problems = generate(get("binary"), 1, count, 7)
    return [chat(p.prompt, p.answer, skill="binary", level=1, problem=p.prompt, answer=p.answer) for p in problems]


def test_generated_lines_are_graded_by_their_skill(inbox: InboxHome) -> None:
    lines = generated(40)
    wrong = json.loads(lines[3])
    wrong["messages"][1]["content"] = wrong["answer"] = "12345"
    lines[3] = json.dumps(wrong)
    sidecar = {"generator_id": "binary", "generator_version": "1.0.0", "source": "generate_data", "made_for": "tiny/x"}
    inbox.drop("train_binary_level1_40_20261120-213000000.jsonl", jsonl(lines), sidecar, place="low")
    inbox.settle()
    state, job = inbox.only_job()
    assert (state, job.spec, job.made_for) == ("low", "syllo_v1", "tiny/x")
    assert job.generator is not None and (job.generator.id, job.generator.version) == ("binary", "1.0.0")
    assert [(line.line, line.code) for line in inbox.quarantine(job)] == [(4, "wrong_answer")]


def test_item_of_a_frozen_suite_is_left_out_whoever_drops_it_and_the_file_still_trains(inbox: InboxHome) -> None:
    item = next(iter(load_suites(inbox.paths.suites).values())).items[0]
    planted = [chat(f" {item.prompt}\n", item.answer), *good(3)]
    inbox.drop("a.jsonl", jsonl(planted))
    inbox.settle()
    state, job = inbox.only_job()
    assert state == "normal", "an eval leak does not count towards the share"
    assert [(line.line, line.code) for line in inbox.quarantine(job)] == [(1, "eval_leak")]
    assert item.prompt not in json.dumps(inbox.data(job))


def test_suite_that_is_added_or_damaged_while_it_runs_is_seen(inbox: InboxHome) -> None:
    inbox.drop("a.jsonl", jsonl(good(3)))
    inbox.settle()
    (inbox.paths.suites / "broken@1.json").write_text("{")
    inbox.drop("b.jsonl", jsonl(good(3, 10)))
    note = inbox.settle().note
    assert "'b.jsonl' waits" in note and "broken@1.json" in note
    assert len(inbox.spool.list("normal")) == 1
    (inbox.paths.suites / "broken@1.json").unlink()
    inbox.tick()
    assert len(inbox.spool.list("normal")) == 2


def test_drop_waits_for_the_base_and_others_do_not_wait_for_it(tmp_path: Path, tokenizer_folder: Path) -> None:
    inbox = InboxHome(tmp_path / "home", tokenizer=None)
    inbox.drop("a.jsonl", "broken\n" + jsonl(good(30)))
    inbox.drop("b.txt", "x")
    inbox.drop("c.jsonl", "")
    report = inbox.settle()
    assert "'a.jsonl' waits" in report.note and "not built yet" in report.note
    assert {name: job.reason.code for name, job in inbox.jobs().items() if job.reason} == {
        "b.txt": "unknown_ending",
        "c.jsonl": "empty_file",
    }
    inbox.tick()
    inbox.put_base(tokenizer_folder)
    inbox.tick()
    job = inbox.jobs()["a.jsonl"]
    assert job.lines == LineCounts(dropped=31, accepted=30, rejected=1)


def test_file_that_is_written_again_after_it_was_taken_is_read_whole(tmp_path: Path, tokenizer_folder: Path) -> None:
    inbox = InboxHome(tmp_path / "home", tokenizer=None)
    path = inbox.drop("a.jsonl", jsonl(good(3)))
    inbox.settle()
    raw = next(inbox.paths.building.glob("*/raw"))
    assert not path.exists()
    with raw.open("r+") as writer:  # a program that had it open all the time
        writer.write(jsonl(good(4, 10)))
        writer.flush()
        inbox.put_base(tokenizer_folder)
        assert "written to after it was taken" in inbox.tick().note
        inbox.clock.passed_s += 5
        assert "still has it open" in inbox.tick().note
        writer.seek(0)
        writer.truncate()
        writer.write(jsonl(good(6, 2000)))
    assert "written to after it was taken" in inbox.tick().note
    assert inbox.spool.list("normal") == []
    inbox.clock.passed_s += 5
    inbox.tick()
    _, job = inbox.only_job()
    assert job.lines == LineCounts(dropped=6, accepted=6, rejected=0)
    assert job.bytes == len(jsonl(good(6, 2000)))
    assert inbox.data(job)[0]["messages"][0]["content"] == "What is 2000 and one?"


def test_raw_is_kept_beside_a_line_that_is_too_long_to_be_quarantined_whole(inbox: InboxHome) -> None:
    inbox.set_intake(max_line_bytes=100_000)
    content = jsonl([*good(40), "x" * 200_000]).encode()
    inbox.drop("a.jsonl", content)
    inbox.settle()
    state, job = inbox.only_job()
    assert state == "normal"
    assert [(line.code, line.line) for line in inbox.quarantine(job)] == [("line_too_long", 41)]
    assert (inbox.spool.folder(job.id) / "raw").read_bytes() == content


@pytest.mark.parametrize("bad", [0, 2, 3])
def test_more_than_the_share_of_bad_lines_rejects_the_file_and_keeps_everything(inbox: InboxHome, bad: int) -> None:
    content = jsonl([*good(40), *["broken"] * bad]).encode()
    inbox.drop("a.jsonl", content)
    inbox.settle()
    state, job = inbox.only_job()
    assert state == ("rejected" if bad == 3 else "normal")
    assert len(inbox.quarantine(job)) == bad
    assert (inbox.spool.folder(job.id) / "raw").exists() == (state == "rejected")
    if job.reason is not None:
        assert job.reason.code == "not_json" and "3 of 43 lines (7.0%)" in job.reason.message
        assert (inbox.spool.folder(job.id) / "raw").read_bytes() == content


def test_blank_lines_are_no_lines(inbox: InboxHome) -> None:
    inbox.drop("a.jsonl", "\n\n" + "\n \n".join(good(4)) + "\n\n")
    inbox.settle()
    assert inbox.only_job()[1].lines == LineCounts(dropped=4, accepted=4, rejected=0)


def test_each_model_has_its_own_length(inbox: InboxHome, tokenizer_folder: Path) -> None:
    short = ModelConfig(base="builtin:tiny-qwen3", max_length=20)
    inbox.set_weaver(models={"tiny": ModelConfig(base="builtin:tiny-qwen3"), "short": short})
    inbox.put_base(tokenizer_folder, "short")
    inbox.drop("a.jsonl", jsonl(good(3)))
    inbox.drop("b.jsonl", jsonl(good(3, 10)), {"model": "short"})
    inbox.settle()
    jobs = inbox.jobs()
    assert jobs["a.jsonl"].reason is None
    assert jobs["b.jsonl"].model == "short"
    assert jobs["b.jsonl"].reason is not None and jobs["b.jsonl"].reason.code == "over_length"


def test_low_disk_pauses_intake_says_so_and_takes_nothing(inbox: InboxHome) -> None:
    inbox.drop("a.jsonl", jsonl(good(3)))
    inbox.set_weaver(disk=DiskConfig(floor_gb=10**9))
    report = inbox.settle()
    assert report.did == 0 and "disk.floor_gb" in report.note and "free some space" in report.note
    assert (inbox.paths.inbox / "a.jsonl").exists()
    inbox.configure(weaver=WeaverConfig())
    inbox.settle()
    assert inbox.only_job()[0] == "normal"


def test_asked_to_stop_it_stops_between_lines_and_goes_on_after(inbox: InboxHome) -> None:
    inbox.drop("a.jsonl", jsonl(good(200)))
    inbox.tick()
    inbox.clock.passed_s += 1.5
    looks = itertools.count()
    inbox.daemon.tick(replace(inbox.context("watch_inbox"), stopping=lambda: next(looks) > 50))
    line = json.loads(next(inbox.paths.building.glob("*/cursor.json")).read_bytes())["line"]
    assert 0 < line <= 50
    inbox.restart()
    inbox.tick()
    assert inbox.only_job()[1].lines == LineCounts(dropped=200, accepted=200, rejected=0)


def test_asked_to_stop_it_takes_nothing_more(inbox: InboxHome) -> None:
    inbox.drop("a.jsonl", jsonl(good(3)))
    inbox.tick()
    inbox.clock.passed_s += 1.5
    inbox.is_stopping = True
    inbox.tick()
    assert (inbox.paths.inbox / "a.jsonl").exists()


class SlowClock(HandClock):
    """A clock on which every look takes its time, so that a slice holds few lines."""

    def mono(self) -> float:
        """Give monotonic seconds, each time later ones."""
        self.passed_s += 0.05
        return super().mono()


def test_large_drop_gives_way_to_small_ones_and_goes_on_after_a_kill(inbox: InboxHome) -> None:
    inbox.clock = SlowClock()
    inbox.set_intake(settle_s=0.0)
    inbox.drop("large.jsonl", jsonl(good(400)))
    report = inbox.tick()
    assert report.again and "validating 'large.jsonl'" in report.note
    first = json.loads(next(inbox.paths.building.glob("*/cursor.json")).read_bytes())["line"]
    assert 0 < first < 400
    inbox.drop("small.jsonl", jsonl(good(5, 1000)))
    report = inbox.tick()
    assert "queued 'small.jsonl'" in report.note
    second = json.loads(next(inbox.paths.building.glob("*/cursor.json")).read_bytes())["line"]
    assert second > first, "the large one goes on in the same tick"
    inbox.restart()
    ticks = 0
    while inbox.tick().again:
        ticks += 1
        assert ticks < 50
    job = inbox.jobs()["large.jsonl"]
    assert job.lines == LineCounts(dropped=400, accepted=400, rejected=0)
    contents = [line["messages"][0]["content"] for line in inbox.data(job)]
    assert contents == [f"What is {number} and one?" for number in range(400)]


def test_many_large_drops_all_get_on(inbox: InboxHome) -> None:
    inbox.clock = SlowClock()
    inbox.set_intake(settle_s=0.0)
    for number in range(3):
        inbox.drop(f"{number}.jsonl", jsonl(good(300, 1000 * number)))
    seen = set()
    for _ in range(4):
        inbox.tick()
        seen |= {json.loads(path.read_bytes())["line"] > 0 for path in inbox.paths.building.glob("*/cursor.json")}
    assert len(list(inbox.paths.building.glob("*/cursor.json"))) == 3 and seen == {True}
    while inbox.tick().again:
        pass
    assert len(inbox.spool.list("normal")) == 3


def test_drops_that_keep_arriving_do_not_starve_the_oldest(inbox: InboxHome) -> None:
    inbox.clock = SlowClock()
    inbox.set_intake(settle_s=0.0)
    inbox.drop("oldest.jsonl", jsonl(good(400)))
    inbox.tick()
    cursor = next(inbox.paths.building.glob("*-oldest/cursor.json"))
    lines = [json.loads(cursor.read_bytes())["line"]]
    for number in range(4):
        inbox.drop(f"{number}.jsonl", jsonl(good(400, 1000 * (number + 1))))
        inbox.tick()
        lines.append(json.loads(cursor.read_bytes())["line"])
    assert lines == sorted(set(lines)), "each tick brought it forward"


def test_removed_inbox_is_made_again(inbox: InboxHome) -> None:
    shutil.rmtree(inbox.paths.inbox)
    inbox.tick()
    inbox.drop("a.jsonl", jsonl(good(3)), place="high")
    inbox.settle()
    assert inbox.only_job()[0] == "high"


def test_file_in_the_way_of_a_place_is_a_drop_like_any_other(inbox: InboxHome) -> None:
    (inbox.paths.inbox / "high").rmdir()
    (inbox.paths.inbox / "high").write_text("x")
    inbox.settle()
    inbox.tick()
    assert inbox.only_job()[1].name == "high"
    assert (inbox.paths.inbox / "high").is_dir()


def test_sidecar_that_cannot_be_used_rejects_the_drop_and_both_are_kept(inbox: InboxHome) -> None:
    inbox.drop("a.jsonl", jsonl(good(3)), b'{"schema": "weaver.sidecar/1", "colums": {}}')
    inbox.settle()
    state, job = inbox.only_job()
    assert state == "rejected"
    assert job.reason is not None and "colums" in job.reason.message
    folder = inbox.spool.folder(job.id)
    assert (folder / "raw").read_text() == jsonl(good(3))
    assert b"colums" in (folder / "sidecar.json").read_bytes()


@pytest.fixture
def nobody(tokenizer_folder: Path) -> Iterator[InboxHome]:
    """Give a home whose daemon may not read every file: as root, it runs as another user."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory() as folder:
            yield InboxHome(Path(folder) / "home", tokenizer_folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        home = InboxHome(Path(folder) / "home", tokenizer_folder)
        for base, _, names in os.walk(folder):
            os.chown(base, 65534, 65534)
            for name in names:
                os.chown(Path(base) / name, 65534, 65534)
        yield home


def test_unreadable_file_is_moved_aside_with_its_reason(nobody: InboxHome) -> None:
    path = nobody.drop("a.jsonl", jsonl(good(3)))
    path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        nobody.settle()
    finally:
        os.seteuid(user)
    state, job = nobody.only_job()
    assert state == "rejected"
    assert job.reason is not None and (job.reason.code, "readable" in job.reason.message) == ("unreadable", True)
    assert (nobody.spool.folder(job.id) / "raw").lstat().st_size == job.bytes


def test_every_state_is_left_alone_by_a_tick_with_nothing_to_do(inbox: InboxHome) -> None:
    inbox.drop("a.jsonl", jsonl(good(3)))
    inbox.settle()
    before = {path: path.stat().st_mtime_ns for state in STATES for path in inbox.paths.state(state).rglob("*")}
    report = inbox.tick()
    assert (report.did, report.note, report.again) == (0, "the inbox is empty", False)
    assert before == {path: path.stat().st_mtime_ns for state in STATES for path in inbox.paths.state(state).rglob("*")}

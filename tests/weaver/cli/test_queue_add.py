"""weaver queue add, wait, pause, resume, stop, skip: what they leave in the inbox, whom they wait for, each exit code."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from core.clock import SystemClock, iso
from core.errors import AlreadyExists
from core.files import Ops
from core.jobs.adding import add, sidecar_bytes
from core.jobs.finding import Receipt
from core.jobs.job import Job, Reason, Sidecar
from core.jobs.spool import Spool
from core.orders import Order, answer, pending
from core.paths import Paths
from core.records import decode_strict, encode_pretty, read
from tests.core.home_files import dead_process, healthy, make_home, put_job
from tests.daemons.inbox_builder import InboxHome, good, jsonl, make_tokenizer
from tests.fakes import wait_for
from tests.weaver.cli.command import command, environment, weaver
from weaver.cli.queue_add import Added


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path / "home")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text(jsonl(good(3)))
    return path


def visible(paths: Paths) -> list[str]:
    return sorted(path.name for path in paths.inbox.rglob("*") if path.is_file())


# -- add -----------------------------------------------------------------------------------------------------------------


def test_add_copies_the_file_and_says_that_nothing_runs(paths: Paths, file: Path) -> None:
    done = weaver(paths.home, "queue", "add", str(file))
    assert (done.returncode, done.stdout) == (0, "mine.jsonl\n")
    assert "not running" in done.stderr and "weaver up" in done.stderr
    assert visible(paths) == ["mine.jsonl"]
    assert (paths.inbox / "mine.jsonl").read_bytes() == file.read_bytes()
    assert file.exists()


def test_add_while_the_factory_runs_says_nothing_but_the_names(paths: Paths, file: Path, tmp_path: Path) -> None:
    healthy(paths, "watch_inbox")
    other = tmp_path / "other.jsonl"
    other.write_text(jsonl(good(2)))
    done = weaver(paths.home, "queue", "add", str(file), str(other), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    added = decode_strict(Added, done.stdout.encode(), "stdout")
    assert added.is_running
    assert [drop.drop for drop in added.drops] == ["mine.jsonl", "other.jsonl"] == visible(paths)


def test_add_writes_the_sidecar_of_its_options_over_the_files_own(paths: Paths, file: Path) -> None:
    own = {"schema": "weaver.sidecar/1", "priority": "low", "columns": {"prompt": "x"}, "drop_duplicate_lines": True}
    file.with_name("mine.jsonl.meta.json").write_text(json.dumps(own))
    options = ["--priority", "high", "--map", "prompt=q", "--map", "completion=a", "--epochs", "2", "--force"]
    assert weaver(paths.home, "queue", "add", str(file), *options, "--spec", "completion_v1", "--model", "tiny").returncode == 0
    sidecar = decode_strict(Sidecar, (paths.inbox / "mine.jsonl.meta.json").read_bytes(), "sidecar")
    assert (sidecar.priority, sidecar.columns) == ("high", {"prompt": "q", "completion": "a"})
    assert (sidecar.training.epochs, sidecar.force, sidecar.spec, sidecar.model) == (2, True, "completion_v1", "tiny")
    assert sidecar.drop_duplicate_lines


def test_sidecar_says_only_what_was_said() -> None:
    assert json.loads(sidecar_bytes(Sidecar(priority="high"))) == {"schema": "weaver.sidecar/1", "priority": "high"}


@pytest.mark.parametrize("place", ["", "high", "low"])
def test_name_that_waits_already_is_7_and_nothing_is_touched(paths: Paths, file: Path, place: str) -> None:
    there = paths.inbox / place / "mine.jsonl"
    there.write_text("first")
    done = weaver(paths.home, "queue", "add", str(file), "--priority", "high")
    assert (done.returncode, done.stdout) == (7, "")
    assert "already exists" in done.stderr
    assert visible(paths) == ["mine.jsonl"] and there.read_text() == "first"


def test_one_bad_file_of_several_leaves_the_inbox_as_it_was(paths: Paths, file: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.jsonl").write_text("{}")
    (tmp_path / ".hidden.jsonl").write_text("{}")
    (tmp_path / "half.jsonl.part").write_text("{}")
    refused = {
        "nowhere.jsonl": 5,
        "notes.txt": 6,
        "sub": 6,
        "sub/mine.jsonl": 2,
        ".hidden.jsonl": 2,
        "half.jsonl.part": 2,
        ".": 6,
        "/": 2,
    }
    for name, code in refused.items():
        done = weaver(paths.home, "queue", "add", str(file), str(tmp_path / name))
        assert (done.returncode, done.stdout) == (code, ""), name
        assert done.stderr.startswith("weaver: ")
    assert visible(paths) == []


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--priority", "top"], 2), (["--map", "prompt"], 2), (["--map", "bogus=x"], 2), (["--spec", "x"], 2),
     (["--model", "x"], 5), (["--epochs", "0"], 2), (["--sidecar", "x"], 6), (["--timeout", "-1"], 2)],
)  # fmt: skip
def test_option_that_cannot_be_meant_is_refused(paths: Paths, file: Path, options: list[str], code: int) -> None:
    done = weaver(paths.home, "queue", "add", str(file), *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert visible(paths) == []


def test_too_little_room_is_refused_before_anything_is_copied(paths: Paths, file: Path) -> None:
    done = weaver(paths.home, "queue", "add", str(file), WEAVER__DISK__FLOOR_GB="1000000")
    assert (done.returncode, done.stdout) == (1, "")
    assert "bytes are free" in done.stderr
    assert visible(paths) == []


class _Broken(Ops):
    """Fails at the n-th call of any system call."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError(5, "the disk broke")

    def write_new(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        self._count()
        super().write_new(path, data, mode)

    def fsync(self, path: Path) -> None:
        self._count()
        super().fsync(path)

    def rename_new(self, source: Path, target: Path) -> None:
        self._count()
        super().rename_new(source, target)


def test_broken_add_leaves_the_drop_whole_or_nothing_and_the_sidecar_is_there_first(paths: Paths, file: Path) -> None:
    broken = 0
    for at in range(1, 20):
        try:
            add(paths, file, "mine.jsonl", Sidecar(priority="high"), _Broken(at))
        except OSError:
            broken += 1
        names = {path.name for path in paths.inbox.iterdir() if path.is_file()}
        assert names in (set(), {"mine.jsonl.meta.json"}, {"mine.jsonl", "mine.jsonl.meta.json"}), names
        if "mine.jsonl" in names:
            assert (paths.inbox / "mine.jsonl").read_bytes() == file.read_bytes()
        for name in names:
            (paths.inbox / name).unlink()
    assert broken >= 5


def test_name_taken_at_the_last_moment_leaves_the_others_sidecar_alone(paths: Paths, file: Path) -> None:
    class Late(Ops):
        def rename_new(self, source: Path, target: Path) -> None:
            if target.name == "mine.jsonl":
                target.write_text("theirs")
            super().rename_new(source, target)

    with pytest.raises(AlreadyExists):
        add(paths, file, "mine.jsonl", Sidecar(priority="high"), Late())
    assert visible(paths) == ["mine.jsonl"] and (paths.inbox / "mine.jsonl").read_text() == "theirs"


def test_copy_that_was_killed_is_swept_by_the_next_add_and_a_living_one_is_not(paths: Paths, file: Path) -> None:
    dead, alive = f".add-{dead_process().pid}-00", f".add-{os.getpid()}-00"
    for name in (dead, alive):
        (paths.inbox / name).write_text("half")
    assert weaver(paths.home, "queue", "add", str(file)).returncode == 0
    assert visible(paths) == [alive, "mine.jsonl"]


# -- waiting -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def living(tmp_path: Path, tokenizer_folder: Path) -> Iterator[InboxHome]:
    """Give a home in which a real watch_inbox ticks, as a factory that is alive."""
    make_home(tmp_path / "home")
    home = InboxHome(tmp_path / "home", tokenizer_folder)
    healthy(home.paths, "watch_inbox", "train_next")
    ends = threading.Event()

    def tick() -> None:
        while not ends.wait(0.05):
            home.settle()

    thread = threading.Thread(target=tick)
    thread.start()
    yield home
    ends.set()
    thread.join()


def test_add_waits_for_the_receipt_of_this_very_drop(living: InboxHome, file: Path, tmp_path: Path) -> None:
    first = weaver(living.paths.home, "queue", "add", str(file), "--wait", "--timeout", "50")
    assert first.returncode == 0, first.stderr
    assert "normal (3 of 3 lines accepted)" in first.stdout
    again = weaver(living.paths.home, "queue", "add", str(file), "--wait", "--timeout", "50", "--json")
    assert again.returncode == 6
    receipt = decode_strict(Added, again.stdout.encode(), "stdout").drops[0]
    assert receipt.reason is not None and receipt.reason.code == "duplicate"
    assert receipt.duplicate_of == first.stdout.split()[0]
    assert weaver(living.paths.home, "queue", "add", str(file), "--wait", "--timeout", "50", "--force").returncode == 0


def test_add_that_waits_for_a_stopped_factory_is_3_and_the_file_is_there(paths: Paths, file: Path) -> None:
    done = weaver(paths.home, "queue", "add", str(file), "--wait")
    assert done.returncode == 3
    assert visible(paths) == ["mine.jsonl"]


def test_verdict_that_does_not_come_in_time_is_124(paths: Paths, file: Path) -> None:
    healthy(paths, "watch_inbox")
    done = weaver(paths.home, "queue", "add", str(file), "--wait", "--timeout", "0.3")
    assert (done.returncode, done.stdout) == (124, "")
    assert "mine.jsonl" in done.stderr


@pytest.mark.parametrize(("state", "code"), [("completed", 0), ("failed", 1), ("rejected", 1)])
def test_wait_for_what_has_ended_gives_its_code_also_while_nothing_runs(paths: Paths, state: str, code: int) -> None:
    job = put_job(paths, state, reason=Reason(code="not_json", message="m") if state == "rejected" else None)
    done = weaver(paths.home, "queue", "wait", job)
    assert done.returncode == code
    assert done.stdout.startswith(f"{job} {state}")
    receipt = decode_strict(Receipt, weaver(paths.home, "queue", "wait", job, "--json").stdout.encode(), "stdout")
    assert (receipt.job, receipt.state) == (job, state)


def test_wait_for_a_queued_job_while_nothing_runs_is_3_and_late_is_124(paths: Paths) -> None:
    job = put_job(paths, "normal")
    assert weaver(paths.home, "queue", "wait", job).returncode == 3
    healthy(paths, "train_next")
    done = weaver(paths.home, "queue", "wait", job, "--timeout", "0.3")
    assert (done.returncode, done.stdout) == (124, "")


def started(paths: Paths, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(paths.home)
    )


def test_wait_follows_a_drop_through_its_verdict_to_its_end(living: InboxHome) -> None:
    living.drop("late.jsonl", jsonl(good(2, 50)))
    waiting = started(living.paths, "queue", "wait", "late.jsonl", "--timeout", "55")
    job = wait_for("the job", lambda: next(iter(Spool(living.paths).list("normal")), None), 30.0)
    assert waiting.poll() is None
    for source, target in (("normal", "processing"), ("processing", "completed")):
        (living.paths.state(source) / job).rename(living.paths.state(target) / job)
    out, error = waiting.communicate(timeout=60)
    assert (waiting.returncode, error) == (0, "")
    assert out.startswith(f"{job} completed")


# -- orders --------------------------------------------------------------------------------------------------------------


def answered_by_train_next(
    paths: Paths, verb: str, ok: bool, ordered: Callable[[], subprocess.Popen[str]]
) -> tuple[int, str, str]:
    running = ordered()
    order = wait_for("the order", lambda: next(iter(pending(paths, "train_next")), None), 40.0)
    assert (order.verb, order.by) == (verb, "cli")
    answer(paths, "train_next", order, ok, f"{verb}: no job runs")
    out, error = running.communicate(timeout=60)
    return running.returncode, out, error


@pytest.mark.parametrize("verb", ["pause", "resume", "stop", "skip"])
def test_order_prints_its_answer(paths: Paths, verb: str) -> None:
    healthy(paths, "train_next")
    code, out, error = answered_by_train_next(paths, verb, True, lambda: started(paths, "queue", verb))
    assert (code, out, error) == (0, f"{verb}: no job runs\n", "")
    code, out, _ = answered_by_train_next(paths, verb, False, lambda: started(paths, "queue", verb, "--json"))
    assert code == 1
    assert decode_strict(Order, out.encode(), "stdout").ok is False


def test_order_to_a_stopped_factory_waits_for_the_next_start(paths: Paths) -> None:
    done = weaver(paths.home, "queue", "pause")
    assert (done.returncode, done.stdout) == (0, "pause: ordered\n")
    assert "obeyed when it is started" in done.stderr
    assert [order.verb for order in pending(paths, "train_next")] == ["pause"]


def test_drop_of_the_same_name_as_an_old_job_is_not_taken_for_it(paths: Paths, file: Path) -> None:
    old = put_job(paths, "completed", "mine")
    record = read(Job, paths.state("completed") / old / "job.json")
    changed = msgspec.structs.replace(record, received_at=iso(SystemClock().now()))
    (paths.state("completed") / old / "job.json").write_bytes(encode_pretty(changed))
    healthy(paths, "watch_inbox")
    adding = started(paths, "queue", "add", str(file), "--wait", "--timeout", "3")
    wait_for("the drop", (paths.inbox / "mine.jsonl").exists, 40.0)
    (paths.inbox / "mine.jsonl").unlink()  # somebody takes it back: it never gets a verdict
    out, _ = adding.communicate(timeout=60)
    assert (adding.returncode, out) == (124, "")
    assert weaver(paths.home, "queue", "wait", "mine.jsonl").returncode == 0

"""The child that unpacks: bounded, judged by how it ends, gone with its parent, and never taken for done when it is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pyarrow as pa
import pytest

from core.errors import DiskLow
from core.jobs.unpack import child
from core.jobs.unpack.child import PATIENCE, STILL_S, Unpackers, answer, needs_unpacking, unpack
from core.jobs.unpack.order import ANSWER, LINES
from tests.core.jobs.unpack.unpacking import order_for, parquet
from tests.fakes import wait_for

ARRAY = b'[{"prompt": "a", "completion": "b"}]'
LARGE = b"prompt,completion\n" + b"".join(b"%d,%d\n" % (number, number * 7919) for number in range(3_000_000))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jsonl", False), ("A.JSONL", False), ("a.json", True), ("a.jsonl.gz", True), ("a.csv", True), ("a.parquet", True)],
)
def test_only_plain_json_lines_are_read_as_they_are(name: str, expected: bool) -> None:
    assert needs_unpacking(name) is expected


def test_answer_is_about_the_file_as_it_lies_there(tmp_path: Path) -> None:
    order = order_for(tmp_path, "a.json", ARRAY)
    found = unpack(order)
    assert (found.refusal, found.unit) == (None, "element") and answer(order) == found
    with (tmp_path / "raw").open("ab") as file:
        file.write(b" ")
    assert answer(order) is None


def test_lines_that_a_power_cut_took_are_unpacked_again(tmp_path: Path) -> None:
    order = order_for(tmp_path, "a.json", ARRAY)
    unpack(order)
    os.truncate(tmp_path / LINES, 3)
    assert answer(order) is None
    (tmp_path / ANSWER).write_bytes(b"{")
    assert answer(order) is None
    unpack(order)
    assert json.loads((tmp_path / LINES).read_bytes()) == json.loads(ARRAY)[0]


def test_nearly_full_disk_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(DiskLow):
        unpack(order_for(tmp_path, "a.json", ARRAY, floor_bytes=2**60))
    assert not (tmp_path / ANSWER).exists()


def test_table_that_needs_more_memory_than_there_is_address_space_is_refused(tmp_path: Path) -> None:
    """Takes a few seconds: a dictionary of 3 GB, packed small, is read until the bound stops it."""
    column = pa.chunked_array([pa.array(["x" * (64 * 2**20)]) for _ in range(50)])
    content = parquet({"prompt": column}, compression="zstd", use_dictionary=False, row_group_size=50, write_statistics=False)
    assert len(content) < 2**20
    found = unpack(order_for(tmp_path, "a.parquet", content, max_unpack_ratio=10**9))
    assert found.refusal is not None and found.refusal.code == "too_big", found.refusal
    assert "more than 3 GiB of memory" in found.refusal.message and "row groups" in found.refusal.message


def test_child_that_is_killed_is_started_again_and_in_the_end_the_drop_is_refused(tmp_path: Path) -> None:
    order, unpackers = order_for(tmp_path, "a.csv", LARGE), Unpackers()
    killed = 0
    while True:
        found = unpackers.bring(order, len(LARGE), 0.0)
        if found is not None:
            break
        for process in psutil.Process().children():
            process.kill()
            killed += 1
    assert killed >= PATIENCE
    assert found.refusal is not None and found.refusal.code == "unreadable"
    assert f"broke {PATIENCE} times" in found.refusal.message and "ended with -9" in found.refusal.message


def test_child_that_is_killed_once_costs_nothing(tmp_path: Path) -> None:
    order, unpackers = order_for(tmp_path, "a.json", ARRAY), Unpackers()
    assert unpackers.bring(order, len(ARRAY), 0.0) is None
    (process,) = psutil.Process().children()
    process.kill()
    found = wait_for("the second child", lambda: unpackers.bring(order, len(ARRAY), 0.0))
    assert found.refusal is None and found.bytes == len(ARRAY) - 1


def test_child_that_stands_still_is_killed(tmp_path: Path) -> None:
    order, unpackers = order_for(tmp_path, "a.csv", LARGE), Unpackers()
    for attempt in range(PATIENCE):
        assert unpackers.bring(order, len(LARGE), 0.0) is None
        (process,) = psutil.Process().children()
        process.send_signal(signal.SIGSTOP)
        wait_for("it stands", lambda process=process: process.status() == psutil.STATUS_STOPPED)  # type: ignore[misc]
        unpackers.bring(order, len(LARGE), 1.0)  # its processor time since the start is seen
        assert unpackers.bring(order, len(LARGE), STILL_S - 1.0) is None, "not yet"
        found = unpackers.bring(order, len(LARGE), 2.0 + STILL_S)
        assert (found is None) == (attempt < PATIENCE - 1)
        assert not process.is_running()
    assert found is not None and found.refusal is not None and "stood still for 120 s" in found.refusal.message


def test_only_so_many_children_work_at_once_and_one_of_them_on_a_large_file(tmp_path: Path) -> None:
    unpackers = Unpackers()
    orders = [order_for(tmp_path / str(number), "a.csv", LARGE) for number in range(6)]
    for order in orders[:2]:
        unpackers.bring(order, child.LARGE_BYTES + 1, 0.0)
    assert len(psutil.Process().children()) == 1
    for order in orders[2:]:
        unpackers.bring(order, 10, 0.0)
    assert len(psutil.Process().children()) == child.MOST
    unpackers.keep_only(set())
    assert psutil.Process().children() == []


def test_child_dies_with_its_parent(tmp_path: Path) -> None:
    order = order_for(tmp_path, "a.csv", LARGE)
    code = (
        "import sys, time, msgspec\nfrom core.jobs.unpack.child import Unpackers\nfrom core.jobs.unpack.order import Order\n"
        "order = msgspec.json.decode(sys.argv[1], type=Order)\nUnpackers().bring(order, 1, 0.0)\n"
        "print('begun', flush=True)\ntime.sleep(600)"
    )
    argv = [sys.executable, "-c", code, msgspec.json.encode(order).decode()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline()
        lines = tmp_path / LINES
        wait_for("it writes", lambda: lines.exists())
        (process,) = psutil.Process(parent.pid).children()
        parent.kill()
    wait_for("it is gone", lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert not (tmp_path / ANSWER).exists()


def test_child_whose_parent_is_gone_already_does_nothing(tmp_path: Path) -> None:
    order = msgspec.structs.replace(order_for(tmp_path, "a.json", ARRAY), parent=1)
    done = subprocess.run([sys.executable, "-m", "core.jobs.unpack", msgspec.json.encode(order).decode()], check=True)
    assert done.returncode == 0 and sorted(path.name for path in tmp_path.iterdir()) == ["raw"]

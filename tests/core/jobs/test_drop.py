"""Taking a drop and publishing its job, killed at every system call: nothing is lost, nothing appears twice."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.files import Ops
from core.jobs.drop import Taken, final_id, printable, priority_of, read_sidecar, resume_taking, take
from core.jobs.formats import DropRefused
from core.jobs.job import Reason, Sidecar
from core.jobs.spool import Spool
from core.jobs.verdict import publish, refused, write_job
from core.names import is_identifier
from core.paths import STATES, Paths

NOW = datetime(2026, 11, 20, 21, 30, 5, 123000, tzinfo=UTC)
NO = Reason(code="unknown_ending", message="no")


class Killed(BaseException):
    """The process ends here."""


class KilledAt(Ops):
    """System calls that end the process before the k-th of them, or after it."""

    def __init__(self, at: int, is_after: bool) -> None:
        super().__init__()
        self.left, self._is_after = at, is_after

    def _count(self, is_after: bool) -> None:
        if is_after == self._is_after:
            if self.left == 0:
                raise Killed
            self.left -= 1

    def write_new(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        self._count(False)
        super().write_new(path, data, mode)
        self._count(True)

    def fsync(self, path: Path) -> None:
        self._count(False)
        super().fsync(path)
        self._count(True)

    def replace(self, source: Path, target: Path) -> None:
        self._count(False)
        super().replace(source, target)
        self._count(True)

    def rename_new(self, source: Path, target: Path) -> None:
        self._count(False)
        super().rename_new(source, target)
        self._count(True)


def put(paths: Paths, name: str = "my file.jsonl", place: str = "") -> None:
    (paths.inbox / place / name).write_text("content")
    (paths.inbox / place / f"{name}.meta.json").write_text('{"schema": "weaver.sidecar/1"}')


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("at", range(16))
def test_taking_killed_at_any_call_is_taken_up_again(paths: Paths, at: int, is_after: bool) -> None:
    put(paths, place="high")
    ops = KilledAt(at, is_after)
    try:
        folder = take(paths, "high", "my file.jsonl", NOW, None, ops)
        assert ops.left or at > 8, "the loop over calls is too short"
    except Killed:
        folder = None
    for leftover in [path for path in paths.building.iterdir() if is_identifier(path.name)]:
        resume_taking(paths, leftover)
    if (paths.inbox / "high" / "my file.jsonl").exists():
        folder = take(paths, "high", "my file.jsonl", NOW, None)
    folders = [path for path in paths.building.iterdir() if is_identifier(path.name)]
    assert len(folders) == 1 and (folder is None or folder == folders[0])
    assert (folders[0] / "raw").read_text() == "content"
    assert (folders[0] / "sidecar.json").exists()
    assert list((paths.inbox / "high").iterdir()) == []
    taken = resume_taking(paths, folders[0])
    assert taken is not None and (taken.name, taken.place) == ("my file.jsonl", "high")


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("at", range(12))
def test_publishing_killed_at_any_call_is_finished_once(paths: Paths, at: int, is_after: bool) -> None:
    put(paths)
    folder = take(paths, "", "my file.jsonl", NOW, NO)
    assert folder is not None
    taken = resume_taking(paths, folder)
    assert taken is not None
    ops = KilledAt(at, is_after)
    try:
        write_job(folder, refused(taken, Sidecar(), "tiny", NO), ops)
        publish(Spool(paths), folder, ops)
    except Killed:
        if folder.exists():
            again = resume_taking(paths, folder)
            assert again is not None
            if not (folder / "job.json").exists():
                write_job(folder, refused(again, Sidecar(), "tiny", NO))
            publish(Spool(paths), folder)
    jobs = [(state, job) for state in STATES for job in Spool(paths).list(state)]
    assert [state for state, _ in jobs] == ["rejected"]
    published = Spool(paths).folder(jobs[0][1])
    assert sorted(path.name for path in published.iterdir()) == ["job.json", "raw", "sidecar.json"]
    assert (published / "raw").read_text() == "content"
    assert not [path for path in paths.building.iterdir() if is_identifier(path.name)]


def test_damaged_facts_of_a_taken_drop_never_lose_it(paths: Paths) -> None:
    put(paths)
    folder = take(paths, "", "my file.jsonl", NOW, None)
    assert folder is not None
    (folder / "taken.json").write_text("damaged")
    taken = resume_taking(paths, folder)
    assert taken is not None and taken.bytes == len("content")
    assert (folder / "raw").read_text() == "content"


def test_folder_without_a_drop_is_swept(paths: Paths) -> None:
    folder = paths.building / "20261120-213005123-00000000-x"
    folder.mkdir()
    assert resume_taking(paths, folder) is None
    assert not folder.exists()


def test_drops_of_one_moment_and_name_get_folders_of_their_own(paths: Paths) -> None:
    folders = []
    for _ in range(3):
        put(paths)
        folders.append(take(paths, "", "my file.jsonl", NOW, None))
    assert len(set(folders)) == 3
    assert folders == sorted(folders, key=str), "arrival order is the order of names"


def test_drop_that_went_away_is_no_drop(paths: Paths) -> None:
    assert take(paths, "", "nothing.jsonl", NOW, None) is None
    assert list(paths.building.iterdir()) == []


def test_link_is_taken_itself_not_what_it_points_to(paths: Paths, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    (paths.inbox / "link.jsonl").symlink_to(outside)
    folder = take(paths, "", "link.jsonl", NOW, NO)
    assert folder is not None and (folder / "raw").is_symlink()
    assert outside.read_text() == "secret"


@pytest.mark.parametrize(
    "name",
    [
        "new\nline.jsonl",
        "..jsonl",
        "...",
        "-rf.jsonl",
        "x" * 255,
        "ü ß 🙂.jsonl",
        "a\\..\\b.jsonl",
        "$(id).jsonl",
        "%2e%2e%2f.jsonl",
    ],
)
def test_hostile_name_becomes_a_plain_id_and_is_kept_as_it_was(paths: Paths, name: str) -> None:
    (paths.inbox / name).write_text("x")
    folder = take(paths, "", name, NOW, None)
    assert folder is not None and folder.parent == paths.building and is_identifier(folder.name)
    taken = resume_taking(paths, folder)
    assert taken is not None and taken.name == name
    assert is_identifier(final_id(taken.name, taken.received_at, None))


def test_name_that_is_no_text_is_written_readably(paths: Paths) -> None:
    name = os.fsdecode(b"caf\xe9.jsonl")
    (paths.inbox / name).write_text("x")
    folder = take(paths, "", name, NOW, None)
    assert folder is not None
    taken = resume_taking(paths, folder)
    assert taken is not None and taken.name == "caf\\xe9.jsonl" == printable(name)


def test_id_has_time_content_and_name() -> None:
    found = final_id("My File.jsonl", "2026-11-20T21:30:05.123Z", "9f2c01ab" + "0" * 56)
    assert found == "20261120-213005123-9f2c01ab-my-file"


@pytest.mark.parametrize(
    ("place", "sidecar", "expected"),
    [
        ("", {}, "normal"),
        ("high", {}, "high"),
        ("low", {}, "low"),
        ("low", {"priority": "high"}, "high"),
        ("high", {"priority": "low"}, "low"),
        ("", {"source": "generate_data"}, "low"),
        ("", {"source": "spar"}, "high"),
        ("high", {"source": "generate_data"}, "high"),
        ("", {"source": "somebody"}, "normal"),
    ],
)
def test_priority_is_the_sidecars_then_the_folders_then_the_makers(place: str, sidecar: dict[str, Any], expected: str) -> None:
    taken = Taken(
        name="x",
        place=place,
        received_at="2026-11-20T21:30:05.123Z",
        bytes=1,
        inode=1,
        mtime_ns=1,
        has_sidecar=True,
        refusal=None,
    )
    assert priority_of(taken, Sidecar(**sidecar)) == expected


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"{", "unknown_keys", "the sidecar cannot be used"),
        (b"[]", "unknown_keys", "A sidecar looks like"),
        (b'{"columns": {}}', "unknown_keys", "schema"),
        (b'{"schema": "weaver.sidecar/1", "colums": {}}', "unknown_keys", "colums"),
        (b'{"schema": "weaver.sidecar/1", "spec": "alpaca"}', "unknown_keys", "alpaca"),
        (b'{"schema": "weaver.sidecar/2"}', "unknown_keys", "weaver.sidecar/2"),
        (b'{"schema": "weaver.sidecar/1", "priority": "high", "priority": "low"}', "unknown_keys", "twice"),
        (b'{"schema": "weaver.sidecar/1", "columns": {"promt": "q"}}', "unknown_keys", "promt"),
        (
            b'{"schema": "weaver.sidecar/1", "model": "../../etc"}',
            "unknown_keys",
            "there is no model '../../etc'; configured: tiny",
        ),
        (b'{"schema": "weaver.sidecar/1", "training": {"epochs": 0}}', "unknown_keys", "at least 1"),
        (b'{"schema": "weaver.sidecar/1", "params": {"x": NaN}}', "unknown_keys", "NaN"),
        (b"\xff\xfe", "unknown_keys", "the sidecar cannot be used"),
        (b" " * (2**20 + 1), "too_big", "larger than"),
    ],
)
def test_bad_sidecar_is_refused_with_what_to_mend(tmp_path: Path, content: bytes, code: str, says: str) -> None:
    (tmp_path / "sidecar.json").write_bytes(content)
    with pytest.raises(DropRefused) as caught:
        read_sidecar(tmp_path, {"tiny": None})
    assert caught.value.code == code
    assert says in caught.value.detail, caught.value.detail


def test_no_sidecar_is_an_empty_one(tmp_path: Path) -> None:
    assert read_sidecar(tmp_path, {"tiny": None}) == Sidecar()


def test_sidecar_of_the_contract_is_read(tmp_path: Path) -> None:
    sidecar = {
        "schema": "weaver.sidecar/1", "columns": {"prompt": "question", "completion": "answer"}, "spec": "completion_v1",
        "priority": "high", "model": "tiny", "training": {"epochs": 1}, "drop_duplicate_lines": False, "generator_id": "binary",
        "generator_version": "1.0.0", "generated_at": "now", "example_count": 100, "params": {"level": 1, "seed": 7},
        "source": "generate_data", "made_for": "tiny/checkpoint-0-20261120-2130",
    }  # fmt: skip
    (tmp_path / "sidecar.json").write_text(json.dumps(sidecar))
    assert read_sidecar(tmp_path, {"tiny": None}).params == {"level": 1, "seed": 7}

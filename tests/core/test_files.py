"""Publishing, broken at every system call: a reader sees the old or the new, and damage costs no more than the damaged line.

Append-only files: every line is strict JSON that anybody can read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import AlreadyExists, CorruptRecord
from core.files import (
    Ops,
    append_record,
    move,
    read_records,
    remove_left_over,
    remove_tree,
    replace_durable,
    replace_quick,
    seal,
    sha256_of,
)
from core.records import strict_json

OLD, NEW = b"old " * 2000, b"new content " * 3000
LONG_NAMES = ["n" * 255, "\U0001f9f6" * 63, "line\nbreak", os.fsdecode(b"\xff\xfe" * 127)]
NAME_IDS = ["255 letters", "63 emoji", "newline", "not UTF-8"]


class Killed(BaseException):
    """The process ends here."""


class Watched(Ops):
    """The real system calls, noted down; call number `at` fails with `error`, or the process ends before or after it.

    A write that fails, or during which the process ends, has half of its data on the disk.
    """

    def __init__(self, at: int = -1, error: int | None = None, is_after: bool = False) -> None:
        super().__init__()
        self.calls: list[tuple[str, ...]] = []
        self._at, self._error, self._is_after = at, error, is_after

    def _do(self, name: str, paths: tuple[Path, ...], act: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        is_last = len(self.calls) == self._at
        self.calls.append((name, *(path.name for path in paths)))
        if is_last and not self._is_after:
            if half is not None:
                half()
            raise Killed if self._error is None else OSError(self._error, os.strerror(self._error), str(paths[0]))
        act()
        if is_last:
            raise Killed

    def write_new(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        half = data[: len(data) // 2]
        write = super().write_new
        self._do("write", (path,), lambda: write(path, data, mode), lambda: write(path, half, mode))

    def append(self, path: Path, data: bytes) -> None:
        append = super().append
        self._do("append", (path,), lambda: append(path, data), lambda: append(path, data[: len(data) // 2]))

    def fsync(self, path: Path) -> None:
        fsync = super().fsync
        self._do("fsync", (path,), lambda: fsync(path))

    def replace(self, source: Path, target: Path) -> None:
        replace = super().replace
        self._do("replace", (source, target), lambda: replace(source, target))

    def rename_new(self, source: Path, target: Path) -> None:
        rename = super().rename_new
        self._do("rename", (source, target), lambda: rename(source, target))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- replace -------------------------------------------------------------------------------------------------------------


def test_durable_replace_flushes_the_content_before_the_rename_and_the_folder_after_it(tmp_path: Path) -> None:
    ops = Watched()
    replace_durable(tmp_path / "a.json", NEW, ops)
    temporary = ops.calls[0][1]
    assert temporary.startswith(".a.json.") and temporary.endswith(".tmp")
    expected = [("write", temporary), ("fsync", temporary), ("replace", temporary, "a.json"), ("fsync", tmp_path.name)]
    assert ops.calls == expected
    assert (tmp_path / "a.json").read_bytes() == NEW and names(tmp_path) == ["a.json"]


def test_quick_replace_renames_without_a_flush(tmp_path: Path) -> None:
    ops = Watched()
    replace_quick(tmp_path / "a.json", NEW, ops)
    assert [call[0] for call in ops.calls] == ["write", "replace"]
    assert (tmp_path / "a.json").read_bytes() == NEW and names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("old", [OLD, None], ids=["over an old file", "new"])
@pytest.mark.parametrize(("replace", "calls", "rename"), [(replace_durable, 4, 2), (replace_quick, 2, 1)])
def test_replace_that_fails_anywhere_leaves_old_or_new_and_no_temporary(
    tmp_path: Path, replace: Callable[..., None], calls: int, rename: int, old: bytes | None, error: int
) -> None:
    path = tmp_path / "a.json"
    for at in range(calls):
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)
        with pytest.raises(OSError, match=os.strerror(error)):
            replace(path, NEW, Watched(at, error))
        there = path.read_bytes() if path.exists() else None
        assert there == (old if at <= rename else NEW), f"after the failure of call {at}"
        assert names(tmp_path) == (["a.json"] if there is not None else []), f"after the failure of call {at}"


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("replace", "calls"), [(replace_durable, 4), (replace_quick, 2)])
def test_replace_killed_anywhere_leaves_old_or_new_and_the_next_one_works(
    tmp_path: Path, replace: Callable[..., None], calls: int, is_after: bool
) -> None:
    path = tmp_path / "a.json"
    for at in range(calls):
        path.write_bytes(OLD)
        with pytest.raises(Killed):
            replace(path, NEW, Watched(at, is_after=is_after))
        assert path.read_bytes() in (OLD, NEW)
        left = [name for name in names(tmp_path) if name != "a.json"]
        assert remove_left_over(tmp_path) == left and names(tmp_path) == ["a.json"]
        replace(path, NEW + b"!")
        assert path.read_bytes() == NEW + b"!"


def test_reader_beside_many_replaces_never_sees_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    contents = [bytes([number]) * 50_000 for number in range(60)]
    replace_quick(path, contents[0])
    seen: list[bytes] = []
    is_done = threading.Event()

    def watch() -> None:
        while not is_done.is_set():
            seen.append(path.read_bytes())

    reader = threading.Thread(target=watch)
    reader.start()
    for content in contents:
        replace_quick(path, content)
    is_done.set()
    reader.join()
    assert seen and set(seen) <= set(contents)


@pytest.mark.parametrize("name", LONG_NAMES, ids=NAME_IDS)
@pytest.mark.parametrize("replace", [replace_durable, replace_quick])
def test_any_name_that_a_file_may_have_is_published(tmp_path: Path, replace: Callable[..., None], name: str) -> None:
    path = tmp_path / name
    replace(path, OLD)
    with pytest.raises(Killed):
        replace(path, NEW, Watched(1))
    assert path.read_bytes() == OLD
    assert len(remove_left_over(tmp_path)) == 1, "also the left-over of such a name is recognised"
    assert names(tmp_path) == [name]


def test_only_left_overs_are_removed_and_only_old_enough_ones(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        replace_durable(tmp_path / "a.json", NEW, Watched(1))
    others = [".a.json.tmp", ".hidden", "a.json.1.0a1b2c3d.tmp", ".a.json.1.0A1B2C3D.tmp", ".a.json.1.0a1b2c3d.tmp.part"]
    for name in others:
        (tmp_path / name).write_text("")
    made = next(path for path in tmp_path.iterdir() if path.name not in others)
    assert remove_left_over(tmp_path, before=made.stat().st_mtime) == []
    assert remove_left_over(tmp_path, before=made.stat().st_mtime + 0.1) == [made.name]
    assert names(tmp_path) == sorted(others)
    assert remove_left_over(tmp_path / "nowhere") == [] == remove_left_over(tmp_path / ".hidden")


def test_replacing_keeps_a_secret_private_from_its_first_byte(tmp_path: Path) -> None:
    modes = []

    class Looking(Ops):
        def fsync(self, path: Path) -> None:
            modes.append(path.stat().st_mode & 0o777)
            super().fsync(path)

    replace_durable(tmp_path / "key", NEW, Looking(), mode=0o600)
    assert modes[0] == 0o600 and (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_durable_replace_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_durable(tmp_path / "gone" / "a.json", NEW)
    assert names(tmp_path) == []


class Deleting(Ops):
    """Somebody deletes the folder between the write and the rename, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def replace(self, source: Path, target: Path) -> None:
        if self.left:
            self.left -= 1
            for path in source.parent.iterdir():
                path.unlink()
            source.parent.rmdir()
        super().replace(source, target)


@pytest.mark.parametrize("times", [0, 1])
def test_quick_replace_makes_its_folder_again_also_when_it_goes_meanwhile(tmp_path: Path, times: int) -> None:
    path = tmp_path / "status" / "procs" / "a.json"
    replace_quick(path, NEW, Deleting(times))
    assert path.read_bytes() == NEW and names(path.parent) == ["a.json"]


def test_quick_replace_gives_up_when_its_folder_goes_every_time(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_quick(tmp_path / "status" / "a.json", NEW, Deleting(100))


def test_quick_replace_where_a_file_stands_for_its_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("")
    with pytest.raises(NotADirectoryError):
        replace_quick(tmp_path / "status" / "a.json", NEW)


# -- append --------------------------------------------------------------------------------------------------------------

RECORDS = [b"{}", b'{"a":1}', '{"b":{"c":"ü \\n"}}'.encode(), b'{"crc32":"0"}']


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def test_every_line_is_strict_json_and_every_record_comes_back_byte_for_byte(path: Path) -> None:
    for record in RECORDS[:3]:
        append_record(path, record)
    lines = [strict_json(line) for line in path.read_bytes().splitlines()]
    assert [set(line) - {"crc32"} for line in lines] == [set(), {"a"}, {"b"}]
    assert list(read_records(path)) == RECORDS[:3]


@pytest.mark.parametrize("cut", [1, 10, 20, 26])
def test_torn_tail_spoils_no_later_record(path: Path, cut: int) -> None:
    for record in RECORDS[:2]:
        append_record(path, record)
    path.write_bytes(path.read_bytes()[:-cut])
    append_record(path, RECORDS[2])
    whole = [RECORDS[0], *([RECORDS[1]] if cut == 1 else []), RECORDS[2]]
    assert list(read_records(path)) == whole


def test_any_changed_byte_is_noticed(path: Path) -> None:
    append_record(path, RECORDS[1])
    line = path.read_bytes()
    for at in range(len(line) - 1):
        path.write_bytes(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :])
        assert list(read_records(path)) == []


@pytest.mark.parametrize("record", [b"", b"[1]", b'{"a":1}\n', b'{"a":\n1}', b"text"])
def test_what_is_no_json_object_on_one_line_is_refused(path: Path, record: bytes) -> None:
    with pytest.raises(CorruptRecord):
        append_record(path, record)
    assert not path.exists()


def test_first_append_makes_the_file_durable_before_it_holds_a_record(path: Path) -> None:
    ops = Watched()
    append_record(path, RECORDS[1], ops)
    assert ops.calls == [("append", path.name), ("fsync", path.parent.name), ("append", path.name)]
    ops.calls.clear()
    append_record(path, RECORDS[2], ops)
    assert ops.calls == [("append", path.name)], "one write and one flush"
    path.write_bytes(b"")
    ops.calls.clear()
    append_record(path, RECORDS[1], ops)
    assert ("fsync", path.parent.name) in ops.calls, "its maker may have died before it flushed the folder"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, None], ids=["ENOSPC", "EIO", "killed"])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_append_broken_anywhere_loses_nothing_that_was_there_or_comes_later(path: Path, before: int, error: int | None) -> None:
    there = [b'{"n":%d}' % number for number in range(before)]
    for at in range(3 if not before else 1):
        path.unlink(missing_ok=True)
        for record in there:
            append_record(path, record)
        with pytest.raises(Killed if error is None else OSError):
            append_record(path, b'{"n":"broken"}', Watched(at, error))
        assert list(read_records(path)) == there
        append_record(path, b'{"n":"later"}')
        assert list(read_records(path)) == [*there, b'{"n":"later"}']


def test_record_cut_at_any_byte_is_whole_or_passed_over_and_spoils_nothing(path: Path) -> None:
    append_record(path, RECORDS[1])
    first = path.stat().st_size
    append_record(path, RECORDS[2])
    whole = path.read_bytes()
    for end in range(first, len(whole)):
        path.write_bytes(whole[:end])
        known = list(read_records(path))
        assert known in ([RECORDS[1]], RECORDS[1:3])
        append_record(path, b'{"later":1}')
        assert list(read_records(path)) == [*known, b'{"later":1}']


def test_damage_in_the_middle_costs_only_its_line(path: Path) -> None:
    for number in range(5):
        append_record(path, b'{"n":%d}' % number)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join([lines[0], b"\0" * 4096 + b"\n", lines[1], b"\xff\xfe\n", b"\n", lines[2][5:], lines[3], lines[4]])
    )
    assert list(read_records(path)) == [b'{"n":0}', b'{"n":1}', b'{"n":3}', b'{"n":4}']


def test_appenders_side_by_side_lose_no_record(path: Path) -> None:
    def append(writer: int) -> None:
        for number in range(10):
            append_record(path, b'{"writer":%d,"n":%d}' % (writer, number))

    threads = [threading.Thread(target=append, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_records(path)) == sorted(b'{"writer":%d,"n":%d}' % (w, n) for w in range(4) for n in range(10))


def test_records_of_a_missing_file_are_none(path: Path) -> None:
    assert list(read_records(path)) == []


# -- move and seal -------------------------------------------------------------------------------------------------------


def test_move_renames_and_flushes_the_rename_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "job").mkdir()
    ops = Watched()
    move(tmp_path / "a" / "job", tmp_path / "b" / "job", ops)
    assert ops.calls == [("rename", "job", "job"), ("fsync", "b")]
    ops.calls.clear()
    move(tmp_path / "b" / "job", tmp_path / "b" / "other", ops)
    assert ops.calls == [("rename", "job", "other"), ("fsync", "b")]
    assert names(tmp_path / "a") == [] and names(tmp_path / "b") == ["other"]


@pytest.mark.parametrize("kind", ["file", "empty file", "empty folder", "folder", "dangling link"])
@pytest.mark.parametrize("is_folder", [True, False], ids=["folder", "file"])
def test_move_refuses_whatever_exists_and_changes_nothing(tmp_path: Path, is_folder: bool, kind: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    if is_folder:
        source.mkdir()
        (source / "data").write_bytes(NEW)
    else:
        source.write_bytes(NEW)
    if "folder" in kind:
        target.mkdir()
        if kind == "folder":
            (target / "data").write_bytes(OLD)
    elif "file" in kind:
        target.write_bytes(OLD if kind == "file" else b"")
    else:
        target.symlink_to(tmp_path / "nowhere")
    before = target.lstat()
    with pytest.raises(AlreadyExists, match="target already exists") as caught:
        move(source, target)
    assert caught.value.exit_code == 7
    after = target.lstat()
    assert (after.st_ino, after.st_size, after.st_mode) == (before.st_ino, before.st_size, before.st_mode)
    assert (source / "data" if is_folder else source).read_bytes() == NEW


def test_move_of_what_is_gone_or_to_where_no_folder_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        move(tmp_path / "gone", tmp_path / "b")
    (tmp_path / "a").write_bytes(NEW)
    with pytest.raises(FileNotFoundError):
        move(tmp_path / "a", tmp_path / "no folder" / "a")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(("source", "target"), [("a\0b", "c"), ("a", "c\0d")])
def test_name_with_a_nul_is_refused_and_not_cut_short(tmp_path: Path, source: str, target: str) -> None:
    (tmp_path / "a").write_bytes(NEW)
    with pytest.raises(ValueError, match="NUL"):
        move(tmp_path / source, tmp_path / target)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_move_killed_anywhere_leaves_the_folder_whole_in_one_place(tmp_path: Path, is_after: bool) -> None:
    for at in range(2):
        home = tmp_path / f"{at}"
        for name in ("a/job", "b"):
            (home / name).mkdir(parents=True)
        (home / "a" / "job" / "data").write_bytes(NEW)
        with pytest.raises(Killed):
            move(home / "a" / "job", home / "b" / "job", Watched(at, is_after=is_after))
        there = [path for path in (home / "a" / "job", home / "b" / "job") if path.exists()]
        assert len(there) == 1 and (there[0] / "data").read_bytes() == NEW


def race(count: int, act: Callable[[int], None]) -> list[int]:
    """Let so many threads act at one moment; give the numbers of those that raised nothing."""
    start, won = threading.Barrier(count), list[int]()

    def run(number: int) -> None:
        start.wait()
        try:
            act(number)
        except (FileNotFoundError, AlreadyExists):
            return
        won.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_of_many_movers_of_one_folder_exactly_one_wins(tmp_path: Path) -> None:
    for turn in range(20):
        source, targets = tmp_path / f"job {turn}", [tmp_path / f"target {turn} {number}" for number in range(6)]
        source.mkdir()
        won = race(6, lambda number, source=source, targets=targets: move(source, targets[number]))  # type: ignore[misc]
        assert [number for number, target in enumerate(targets) if target.exists()] == won and len(won) == 1


def test_of_many_folders_moved_to_one_name_exactly_one_gets_it_and_the_others_stay(tmp_path: Path) -> None:
    for turn in range(20):
        sources, target = [tmp_path / f"job {turn} {number}" for number in range(6)], tmp_path / f"target {turn}"
        for number, source in enumerate(sources):
            source.mkdir()
            (source / "number").write_text(str(number))
        won = race(6, lambda number, sources=sources, target=target: move(sources[number], target))  # type: ignore[misc]
        assert len(won) == 1 and (target / "number").read_text() == str(won[0])
        assert [number for number, source in enumerate(sources) if source.exists()] == [n for n in range(6) if n not in won]


def test_seal_flushes_every_file_before_its_folder_and_every_folder_before_its_parent(tmp_path: Path) -> None:
    folder = tmp_path / "staged"
    (folder / "inner" / "deep").mkdir(parents=True)
    for name in ("x", ".hidden", "inner/y", "inner/deep/z"):
        (folder / name).write_bytes(NEW)
    ops = Watched()
    seal(folder, ops)
    order = [call[1] for call in ops.calls]
    assert {call[0] for call in ops.calls} == {"fsync"}
    assert sorted(order) == [".hidden", "deep", "inner", "staged", "x", "y", "z"]
    for first, then in (
        ("z", "deep"),
        ("deep", "inner"),
        ("y", "inner"),
        ("inner", "staged"),
        ("x", "staged"),
        (".hidden", "staged"),
    ):
        assert order.index(first) < order.index(then), order


def test_seal_of_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        seal(tmp_path / "staged")


@pytest.mark.parametrize("at", range(3))
def test_seal_hands_on_every_failed_flush(tmp_path: Path, at: int) -> None:
    (tmp_path / "staged" / "inner").mkdir(parents=True)
    (tmp_path / "staged" / "x").write_bytes(NEW)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        seal(tmp_path / "staged", Watched(at, errno.EIO))


# -- removing ------------------------------------------------------------------------------------------------------------


def make_tree(folder: Path) -> None:
    (folder / "inner").mkdir(parents=True)
    for name in ("a", "inner/b"):
        (folder / name).write_bytes(OLD)


def is_whole(folder: Path) -> bool:
    return [(folder / name).read_bytes() for name in ("a", "inner/b")] == [OLD, OLD]


def test_folder_is_removed_and_a_missing_one_is_fine(tmp_path: Path) -> None:
    trash = tmp_path / ".trash"
    make_tree(tmp_path / "x")
    remove_tree(tmp_path / "x", trash)
    remove_tree(tmp_path / "x", trash)
    assert names(tmp_path) == [".trash"] and names(trash) == []


def test_nothing_is_deleted_before_the_rename_into_the_trash_is_durable(tmp_path: Path) -> None:
    trash = tmp_path / ".trash"
    make_tree(tmp_path / "x")

    class Looking(Watched):
        def fsync(self, path: Path) -> None:
            super().fsync(path)
            assert is_whole(next(trash.iterdir()))

    ops = Looking()
    remove_tree(tmp_path / "x", trash, ops)
    assert [call[0] for call in ops.calls] == ["rename", "fsync"]
    assert {call[1] for call in ops.calls[1:]} == {".trash"}


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_removal_killed_anywhere_leaves_all_or_nothing_and_the_next_one_cleans_up(tmp_path: Path, is_after: bool) -> None:
    for at in range(2):
        folder, trash = tmp_path / f"x{at}", tmp_path / ".trash"
        make_tree(folder)
        with pytest.raises(Killed):
            remove_tree(folder, trash, Watched(at, is_after=is_after))
        assert not folder.exists() or is_whole(folder)
        assert folder.exists() == (at == 0 and not is_after)
        remove_tree(folder, trash)
        assert not folder.exists() and names(trash) == []


@pytest.mark.parametrize("name", LONG_NAMES, ids=NAME_IDS)
def test_folder_of_any_name_is_removed(tmp_path: Path, name: str) -> None:
    make_tree(tmp_path / name)
    remove_tree(tmp_path / name, tmp_path / ".trash")
    assert names(tmp_path) == [".trash"] and names(tmp_path / ".trash") == []


def test_removal_of_a_link_or_a_file_leaves_what_a_link_points_to(tmp_path: Path) -> None:
    make_tree(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "file").write_bytes(OLD)
    remove_tree(tmp_path / "link", tmp_path / ".trash")
    remove_tree(tmp_path / "file", tmp_path / ".trash")
    assert names(tmp_path) == [".trash", "kept"] and names(tmp_path / ".trash") == []
    assert is_whole(tmp_path / "kept")


def test_new_file_never_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OLD)
    with pytest.raises(FileExistsError):
        Ops().write_new(tmp_path / "a", NEW)
    assert (tmp_path / "a").read_bytes() == OLD


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 7])
def test_digest_is_that_of_the_whole_file(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a").write_bytes(data[:size])
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data[:size]).hexdigest()

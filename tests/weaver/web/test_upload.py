"""POST /api/inbox: whole files under plain names, sidecar first, nothing overwritten, nothing left behind."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.hosts import Endpoint
from core.keys import read_key
from core.process import this_process
from core.records import read_if_there
from tests.core.home_files import dead_process, make_home, put_job
from tests.weaver.web.web_process import Answer, WebProcess, running, start, until

LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
BOUNDARY = "boundary7"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    """Write one part of a form."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post(web: WebProcess, body: bytes, kind: str = f"multipart/form-data; boundary={BOUNDARY}") -> Answer:
    return web.ask("POST", "/api/inbox", {**web.authorized, "Content-Type": kind}, body)


def inbox(web: WebProcess) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in web.paths.inbox.iterdir() if path.is_file()}


@pytest.fixture(autouse=True)
def clean(web: WebProcess) -> Iterator[None]:
    yield
    shutil.rmtree(web.paths.queue)
    web.paths.make()


def test_file_lands_whole_under_its_name_and_has_a_receipt(web: WebProcess) -> None:
    content = LINE * 50_000  # 4 MB: several blocks
    answer = post(web, form(part("file", content, "my data.jsonl")))
    assert answer.status == 202
    assert answer.json == {"job": None, "drop": "my data.jsonl"}
    assert inbox(web) == {"my data.jsonl": content}
    assert web.get("/api/inbox/my%20data.jsonl")["state"] == "inbox"
    (web.paths.inbox / "my data.jsonl").unlink()
    assert web.get("/api/inbox/my%20data.jsonl")["state"] == "validating"


def test_receipt_follows_the_drop_to_its_job(web: WebProcess) -> None:
    post(web, form(part("file", LINE, "followed.jsonl")))
    (web.paths.inbox / "followed.jsonl").unlink()
    job = put_job(web.paths, "normal", "followed")
    receipt = web.get("/api/inbox/followed.jsonl")
    assert (receipt["state"], receipt["job"], receipt["lines"]["dropped"]) == ("normal", job, 3)
    assert receipt["schema"] == "weaver.receipt/1", "the record that `weaver queue wait --json` prints"
    (web.paths.inbox / "followed.jsonl").write_bytes(LINE)
    assert web.get("/api/inbox/followed.jsonl")["state"] == "inbox", "the newest drop of a name is the one that is meant"


def test_sidecar_comes_with_the_file_and_a_bad_one_is_refused_with_it(web: WebProcess) -> None:
    sidecar = b'{"schema": "weaver.sidecar/1", "columns": {"prompt": "question"}}'
    assert post(web, form(part("file", LINE, "a.jsonl"), part("sidecar", sidecar))).status == 202
    assert inbox(web) == {"a.jsonl": LINE, "a.jsonl.meta.json": sidecar}
    answer = post(web, form(part("sidecar", b'{"schema": "weaver.sidecar/1", "colums": {}}'), part("file", LINE, "b.jsonl")))
    assert answer.status == 400
    assert "colums" in answer.json["error"]["message"]
    assert sorted(inbox(web)) == ["a.jsonl", "a.jsonl.meta.json"]


def test_same_name_again_is_another_drop(web: WebProcess) -> None:
    names = [post(web, form(part("file", str(number).encode(), "same.jsonl"))).json["drop"] for number in range(3)]
    assert names[0] == "same.jsonl"
    assert len(set(names)) == 3
    assert all(name.endswith("-same.jsonl") for name in names[1:])
    assert inbox(web) == {name: str(number).encode() for number, name in enumerate(names)}


def test_uploads_of_one_name_at_the_same_time_all_survive_under_different_names(web: WebProcess) -> None:
    contents = [b"%d\n" % number * 200_000 for number in range(6)]
    with ThreadPoolExecutor(len(contents)) as pool:
        answers = list(pool.map(lambda content: post(web, form(part("file", content, "same.jsonl"))), contents))
    assert [answer.status for answer in answers] == [202] * len(contents)
    assert inbox(web) == {answer.json["drop"]: content for answer, content in zip(answers, contents, strict=True)}
    assert len(inbox(web)) == len(contents)


def test_name_of_an_earlier_job_is_not_used_again(web: WebProcess) -> None:
    put_job(web.paths, "completed", "earlier")
    assert post(web, form(part("file", LINE, "earlier.jsonl"))).json["drop"].endswith("-earlier.jsonl")


@pytest.mark.parametrize(
    "name",
    ["", ".hidden", "../up.jsonl", "/abs.jsonl", "a/b.jsonl", "a\\\\b.jsonl", "high", "x.part", "x.jsonl.meta.json", "x~",
     "a\x1bb.jsonl", "n" * 250 + ".jsonl"],
)  # fmt: skip
def test_name_that_is_no_plain_file_name_is_refused(web: WebProcess, name: str) -> None:
    assert post(web, form(part("file", LINE, name))).status == 400
    assert inbox(web) == {}


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", form(), form(part("file", LINE)), form(part("other", LINE, "a.jsonl")),
     form(part("file", LINE, "a.jsonl"), part("file", LINE, "b.jsonl")),
     form(part("sidecar", b"{}"), part("sidecar", b"{}"), part("file", LINE, "a.jsonl")),
     part("file", LINE, "a.jsonl"), form(part("file", LINE, "a.jsonl"), part("sidecar", b" " * (2**20 + 1)))],
)  # fmt: skip
def test_body_that_is_not_the_form_is_refused_and_leaves_nothing(web: WebProcess, body: bytes) -> None:
    assert post(web, body).status == 400
    assert inbox(web) == {}


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 5000])
def test_other_content_type_is_refused(web: WebProcess, kind: str) -> None:
    assert post(web, form(part("file", LINE, "a.jsonl")), kind).status == 400


@pytest.mark.parametrize("drop", ["unknown.jsonl", "..%2f..%2fhosts.json", ".hidden"])
def test_unknown_drop_has_no_receipt(web: WebProcess, drop: str) -> None:
    assert web.ask("GET", f"/api/inbox/{drop}").status in (400, 404)


def test_broken_upload_leaves_nothing(web: WebProcess) -> None:
    with socket.create_connection(("127.0.0.1", web.port)) as connection:
        head = (
            f"POST /api/inbox HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {web.key}\r\nContent-Length: 10000000\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        )
        connection.sendall(head.encode() + part("file", LINE * 40_000, "broken.jsonl"))
        until(lambda: list(web.paths.inbox.glob(".upload-*/file")), "the upload began")
    until(lambda: not list(web.paths.inbox.glob(".upload-*")), "the broken upload was cleared away")
    assert inbox(web) == {}


def test_upload_is_cleared_away_by_the_next_web_process_when_the_first_was_killed_in_it(tmp_path: Path) -> None:
    paths = make_home(tmp_path / "home")
    process = start(paths)
    endpoint = until(lambda: read_if_there(Endpoint, paths.status / "endpoints" / "web.json"), "the port was taken")
    with socket.create_connection(("127.0.0.1", endpoint.port)) as connection:
        head = (
            f"POST /api/inbox HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {read_key(paths.tokens / 'web')}\r\n"
            f"Content-Length: 10000000\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        )
        connection.sendall(head.encode() + part("file", LINE * 40_000, "broken.jsonl"))
        until(lambda: list(paths.inbox.glob(".upload-*/file")), "the upload began")
        process.kill()
        process.wait()
    (paths.status / "endpoints" / "web.json").unlink()
    with running(paths):
        assert sorted(path.name for path in paths.inbox.iterdir()) == ["high", "low"]


def test_upload_over_the_limit_is_413_also_when_its_length_is_not_announced(tmp_path: Path) -> None:
    paths = make_home(tmp_path / "home")
    with running(paths, WEAVER__WEB__MAX_UPLOAD_MB="1") as web:
        body = form(part("file", b"x" * 4 * 2**20, "big.jsonl"))
        headers = {**web.authorized, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        assert web.ask("POST", "/api/inbox", headers, body).status == 413
        with socket.create_connection(("127.0.0.1", web.port)) as connection:
            lines = "".join(f"{key}: {value}\r\n" for key, value in {**headers, "Transfer-Encoding": "chunked"}.items())
            connection.sendall(f"POST /api/inbox HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode())
            with contextlib.suppress(ConnectionError):  # refused while we were still sending
                for start in range(0, len(body), 65536):
                    piece = body[start : start + 65536]
                    connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            assert connection.recv(100).startswith(b"HTTP/1.1 413")
        assert [path.name for path in paths.inbox.iterdir() if path.is_file()] == []


def test_low_disk_refuses_an_upload(tmp_path: Path) -> None:
    with running(make_home(tmp_path / "home"), WEAVER__DISK__FLOOR_GB="1000000") as web:
        answer = post(web, form(part("file", LINE, "a.jsonl")))
        assert (answer.status, answer.json["error"]["code"]) == (507, "disk_low")


def test_unfinished_uploads_of_dead_processes_are_swept_at_start_and_others_are_not(tmp_path: Path) -> None:
    paths = make_home(tmp_path / "home")
    ours, dead = paths.inbox / f".upload-{this_process().pid}-a", paths.inbox / f".upload-{dead_process().pid}-b"
    (paths.inbox / "drop.jsonl").write_bytes(b"x")
    for folder in (ours, dead, paths.inbox / ".upload-strange"):
        folder.mkdir()
        (folder / "file").write_bytes(b"x")
    with running(paths):
        there = sorted(path.name for path in paths.inbox.iterdir())
    assert there == sorted([ours.name, ".upload-strange", "drop.jsonl", "high", "low"])


def test_name_of_any_script_is_kept(web: WebProcess) -> None:
    drop = post(web, form(part("file", LINE, "한국어.jsonl"))).json["drop"]
    assert drop == "한국어.jsonl"
    assert web.get("/api/inbox/%ED%95%9C%EA%B5%AD%EC%96%B4.jsonl")["drop"] == drop

"""weaver chat speaks with whatever answers as the oracle does: streaming, its errors, its list of checkpoints.

The oracle here is a fake at the boundary, which is HTTP: what it answers is what trainer/serve answers, shortened.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.files import replace_quick
from core.hosts import Endpoint
from core.keys import make_keys, read_key
from core.paths import Paths
from core.records import encode, read
from tests.core.home_files import beat, dead_process, healthy, make_home
from tests.weaver.cli.command import weaver

CHECKPOINT = "tiny/checkpoint-9-20261120-2130"


class FakeOracle(BaseHTTPRequestHandler):
    """Answers every conversation with what was said last, in two pieces, and keeps what it was asked."""

    key = ""
    asked: list[dict[str, Any]] = []

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        info = {"checkpoint": CHECKPOINT, "loaded": True, "held": True, "weights_id": "w", "step": 9, "dtype": None,
                "device": None, "bytes": 1}  # fmt: skip
        row = {"object": "model", "created": 1, "owned_by": "weaver", "weaver": info}
        rows = [{**row, "id": name} for name in (CHECKPOINT, "champion")]
        self._answer(200, {"object": "list", "data": rows})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(request)
        if self.headers["authorization"] != f"Bearer {self.key}":
            self._answer(401, {"error": {"message": "no key"}})
        elif request["model"] not in (CHECKPOINT, "champion"):
            self._answer(404, {"error": {"message": "no such model"}})
        elif request["messages"][-1]["content"] == "too long":
            self._answer(400, {"error": {"message": "the conversation is too long"}})
        else:
            self._stream(request["messages"][-1]["content"])

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        pieces = [{"delta": {"role": "assistant"}}, {"delta": {"content": text[:2]}}, {"delta": {"content": text[2:]}}]
        for piece in [*pieces, {"delta": {}, "finish_reason": "stop"}]:
            self.wfile.write(b"data: " + json.dumps({"model": CHECKPOINT, "choices": [piece]}).encode() + b"\n\n")
        if text == "breaks":
            self.wfile.write(b'data: {"error": {"message": "the worker died"}}\n\n')
        self.wfile.write(b"data: [DONE]\n\n")


@contextmanager
def serving(root: Path) -> Iterator[Paths]:
    """Give a home whose oracle answers."""
    paths = make_home(root)
    make_keys(paths)
    FakeOracle.key, FakeOracle.asked = read_key(paths.tokens / "oracle-read"), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeOracle)
    endpoint = Endpoint(service="inference", host="local", address="127.0.0.1", port=server.server_port, pid=os.getpid())
    replace_quick(paths.status / "endpoints" / "inference.json", encode(endpoint))
    beat(paths, "oracle")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield paths
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    with serving(tmp_path / "home") as paths:
        yield paths


def test_one_question_is_answered_on_stdout_and_the_champion_is_the_default(paths: Paths) -> None:
    done = weaver(paths.home, "chat", "-m", "hello there")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello there\n", "")
    assert FakeOracle.asked[0]["model"] == "champion"
    assert FakeOracle.asked[0]["stream"] is True


def test_unknown_checkpoint_is_5_with_the_list(paths: Paths) -> None:
    for arguments in (["other/x", "-m", "hello"], ["other/x"]):
        done = weaver(paths.home, "chat", *arguments)
        assert (done.returncode, done.stdout) == (5, "")
        assert f"{CHECKPOINT}, champion" in done.stderr


def test_conversation_keeps_what_was_said_and_survives_a_refused_turn(paths: Paths) -> None:
    done = weaver(paths.home, "chat", CHECKPOINT, stdin="first\n\ntoo long\nlast\n")
    assert (done.returncode, done.stdout) == (0, "first\nlast\n")
    assert "too long" in done.stderr
    said = [(message["role"], message["content"]) for message in FakeOracle.asked[-1]["messages"]]
    assert said == [("user", "first"), ("assistant", "first"), ("user", "last")]


def test_error_in_the_middle_of_an_answer_is_an_error(paths: Paths) -> None:
    done = weaver(paths.home, "chat", "-m", "breaks")
    assert done.returncode == 8
    assert "the worker died" in done.stderr


def test_escapes_in_an_answer_do_not_reach_the_terminal(paths: Paths) -> None:
    done = weaver(paths.home, "chat", "-m", "a\x1b[2Jb\x07\nc")
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert done.stdout.endswith("\nc\n")


@pytest.mark.parametrize("what", ["no heartbeat", "a dead oracle", "another process's port", "no endpoint"])
def test_stranger_on_the_port_gets_no_key(paths: Paths, what: str) -> None:
    endpoint = paths.status / "endpoints" / "inference.json"
    if what == "no heartbeat":
        paths.heartbeat("oracle").unlink()
    elif what == "a dead oracle":
        gone = dead_process()
        beat(paths, "oracle", process=gone)
        replace_quick(endpoint, encode(msgspec.structs.replace(read(Endpoint, endpoint), pid=gone.pid)))
    elif what == "no endpoint":
        endpoint.unlink()
    else:
        replace_quick(endpoint, encode(msgspec.structs.replace(read(Endpoint, endpoint), pid=1)))
    healthy(paths)
    port = str(read(Endpoint, endpoint).port) if endpoint.exists() else "1"
    done = weaver(paths.home, "chat", "-m", "hello", WEAVER_ORACLE_PORT=port)
    assert done.returncode == 8 and "no process of this home has taken its port" in done.stderr
    assert FakeOracle.asked == []


def test_key_that_others_can_read_is_refused(paths: Paths) -> None:
    (paths.tokens / "oracle-read").chmod(0o644)
    done = weaver(paths.home, "chat", "-m", "hello")
    assert done.returncode == 78
    assert "chmod 600" in done.stderr
    assert FakeOracle.asked == []

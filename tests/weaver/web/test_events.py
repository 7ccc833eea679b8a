"""/api/events: a snapshot, then patches with rising ids that give exactly the next state; nothing is missed after a break."""

from __future__ import annotations

import asyncio
import copy
import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.clock import SystemClock
from core.overview import collect
from tests.core.home_files import make_home, put_job
from tests.weaver.web.web_process import WebProcess, until
from weaver.web.events import COMMENT_S, MOST_LISTENERS, Hub, patch


def apply(value: Any, steps: list[dict[str, Any]]) -> Any:
    """Apply replace operations as RFC 6902 says."""
    value = copy.deepcopy(value)
    for step in steps:
        assert step["op"] == "replace"
        if not step["path"]:
            value = step["value"]
            continue
        *way, last = [key.replace("~1", "/").replace("~0", "~") for key in step["path"][1:].split("/")]
        target = value
        for key in way:
            target = target[int(key)] if isinstance(target, list) else target[key]
        if isinstance(target, list):
            target[int(last)] = step["value"]
        else:
            assert last in target
            target[last] = step["value"]
    return value


@pytest.mark.parametrize(
    ("old", "new", "count"),
    [
        ({"a": 1}, {"a": 1}, 0),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, 1),
        ({"a": {"b": {"c": None}}}, {"a": {"b": {"c": 0}}}, 1),
        ({"a": True}, {"a": 1}, 1),
        ({"a": 1}, {"a": 1.0}, 1),
        ({"a": {"b": 1}}, {"a": None}, 1),
        ({"a": [1, 2, 3]}, {"a": [1, 5, 6]}, 2),
        ({"a": [1, 2]}, {"a": [1]}, 1),
        ({"a": []}, {"a": [{"b": 1}]}, 1),
        ({"a": {"x": 1}}, {"a": {"y": 1}}, 1),
        ({"a/b": 1, "c~d": 1}, {"a/b": 2, "c~d": 2}, 2),
        ({"a": 1}, {"b": 1}, 1),
    ],
)
def test_patch_turns_the_old_value_into_the_new_and_says_no_more_than_needed(old: Any, new: Any, count: int) -> None:
    steps = patch(old, new)
    assert len(steps) == count
    assert json.dumps(apply(old, steps)) == json.dumps(new)


@contextmanager
def listening(web: WebProcess, last_id: int | str | None = None) -> Iterator[Iterator[tuple[str, int, Any]]]:
    """Listen; gives (kind, id, data) event by event."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    headers = web.authorized | ({} if last_id is None else {"Last-Event-ID": str(last_id)})
    connection.request("GET", "/api/events", headers=headers)
    response = connection.getresponse()
    assert (response.status, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")

    def events() -> Iterator[tuple[str, int, Any]]:
        fields: dict[str, str] = {}
        while line := response.readline().decode():
            if line == "\n" and fields:
                yield fields["event"], int(fields["id"]), json.loads(fields["data"])
                fields = {}
            elif ": " in line and not line.startswith(":"):
                key, _, value = line.rstrip("\n").partition(": ")
                fields[key] = value

    try:
        yield events()
    finally:
        response.close()
        connection.close()


def test_snapshot_then_patches_follow_the_files(web: WebProcess) -> None:
    before = web.get("/api/status")["queue"]["normal"]
    with listening(web) as events:
        kind, number, state = next(events)
        assert kind == "snapshot"
        assert state["status"]["schema"] == "weaver.status/1"
        assert state["status"]["queue"]["normal"] == before
        put_job(web.paths, "normal")
        while state["status"]["queue"]["normal"] == before:
            kind, after, steps = next(events)
            assert kind == "patch"
            assert after > number
            number, state = after, apply(state, steps)
        assert state["status"]["queue"]["normal"] == before + 1


def test_listener_that_comes_back_gets_the_patches_it_missed(web: WebProcess) -> None:
    with listening(web) as keeper:  # the stream lives while anybody listens
        number = next(keeper)[1]
        missed = [next(keeper) for _ in range(2)]
        with listening(web, number) as events:
            assert [next(events) for _ in range(2)] == missed
        with listening(web, missed[0][1]) as events:
            assert next(events) == missed[1]


@pytest.mark.parametrize("last_id", [0, 5, 10**18, "x", "-1"])
def test_unknown_last_id_gets_a_snapshot(web: WebProcess, last_id: int | str) -> None:
    with listening(web, last_id) as events:
        assert next(events)[0] == "snapshot"


def test_ids_rise_over_a_pause_without_listeners(web: WebProcess) -> None:
    with listening(web) as events:
        next(events)
        last = next(events)[1]
    with listening(web) as events:
        kind, number, _ = next(events)
        assert kind == "snapshot"
        assert number >= last


def test_comments_keep_a_stream_alive_in_which_nothing_happens(tmp_path: Path) -> None:
    paths = make_home(tmp_path / "home")
    still = collect(paths, {}, SystemClock())

    async def listen() -> list[bytes]:
        hub = Hub(lambda: still, start_id=1, every_s=0.01, comment_s=0.05)
        stream = hub.listen(None)
        got = [await anext(stream) for _ in range(3)]
        hub.close()
        return got + [item async for item in stream]

    snapshot, *comments = asyncio.run(asyncio.wait_for(listen(), 30))
    assert snapshot.startswith(b"event: snapshot\nid: 1\n")
    assert set(comments) == {b": still here\n\n"}
    assert COMMENT_S == 15.0


def test_no_more_listeners_than_fit(web: WebProcess) -> None:
    with ExitStack() as stack:
        for _ in range(MOST_LISTENERS):
            next(stack.enter_context(listening(web)))
        answer = web.ask("GET", "/api/events")
        assert (answer.status, answer.json["error"]["code"]) == (503, "too_many_listeners")
    for _ in range(2 * MOST_LISTENERS):  # those that left have made room
        until(lambda: _can_listen(web), "a listener that left made room")


def _can_listen(web: WebProcess) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    connection.request("GET", "/api/events", headers=web.authorized)
    response = connection.getresponse()
    response.close()
    connection.close()
    return response.status == 200

"""GET /api/events: the overview as a snapshot, then as patches, over server-sent events.

Place in the flow: one task collects every 2 s while anybody listens, and nothing at rest; the page applies what it gets.
Reads what core.overview reads. Invariants: ids rise, also over a restart (they start at the wall clock in milliseconds); a
listener gets every patch after the id it names, or a new snapshot; at most MOST_LISTENERS hold a connection.

A patch is an RFC 6902 list of `replace` operations: the overview has a fixed shape, so nothing else is needed; a list that
changed its length is replaced whole.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from anyio import to_thread

from core.errors import WeaverError
from core.overview import Overview
from core.records import to_builtins

EVERY_S = 2.0
COMMENT_S = 15.0
KEPT_PATCHES = 300
MOST_LISTENERS = 32


def patch(old: Any, new: Any, path: str = "") -> list[dict[str, Any]]:
    """Give the operations that turn one JSON value into another."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        return [step for key in new for step in patch(old[key], new[key], f"{path}/{_escaped(key)}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [step for index, item in enumerate(new) for step in patch(old[index], item, f"{path}/{index}")]
    return [] if type(old) is type(new) and old == new else [{"op": "replace", "path": path, "value": new}]


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def event(kind: str, number: int, data: Any) -> bytes:
    """Write one event of the stream."""
    return f"event: {kind}\nid: {number}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"


class Hub:
    """The present overview and the latest patches, kept only while somebody listens. All methods belong to one event loop."""

    def __init__(
        self, collect: Callable[[], Overview], start_id: int, every_s: float = EVERY_S, comment_s: float = COMMENT_S
    ) -> None:
        self._collect, self._every_s, self._comment_s = collect, every_s, comment_s
        self._id = start_id
        self._now: Any = None
        self._patches: deque[tuple[int, bytes]] = deque(maxlen=KEPT_PATCHES)
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._listeners = 0
        self._closing = False

    @property
    def is_full(self) -> bool:
        """Say whether no more listeners fit."""
        return self._listeners >= MOST_LISTENERS

    def close(self) -> None:
        """End every stream; each notices within a second."""
        self._closing = True

    async def listen(self, last_id: int | None) -> AsyncIterator[bytes]:
        """Give the stream for one listener: from the patch after last_id if it is still held, else from a snapshot."""
        self._listeners += 1
        try:
            await self._refresh_if_alone()
            seen = last_id if last_id is not None and self._holds(last_id) else None
            if seen is None:
                seen = self._id
                yield event("snapshot", seen, self._now)
            comment_at = asyncio.get_running_loop().time() + self._comment_s
            while not self._closing:
                for number, data in [item for item in self._patches if item[0] > seen]:
                    seen = number
                    yield data
                if asyncio.get_running_loop().time() >= comment_at:
                    comment_at += self._comment_s
                    yield b": still here\n\n"
                await self._wait(seen)
                await self._refresh_if_alone()
                if not self._holds(seen):
                    seen = self._id
                    yield event("snapshot", seen, self._now)
        finally:
            self._listeners -= 1
            if self._listeners == 0 and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _refresh_if_alone(self) -> None:
        """Bring the state up to date and start looking, if nobody does: none was listening, or looking broke."""
        if self._task is None or self._task.done():
            await self._look()
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._keep_looking())

    def _holds(self, number: int) -> bool:
        """Say whether every patch after an id is still held."""
        return number == self._id or (bool(self._patches) and self._patches[0][0] <= number + 1 and number < self._id)

    async def _wait(self, seen: int) -> None:
        async with self._changed:
            try:
                async with asyncio.timeout(min(1.0, self._comment_s)):
                    await self._changed.wait_for(lambda: self._id != seen)
            except TimeoutError:
                return

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._look()

    async def _look(self) -> None:
        """Collect once and keep the difference. What cannot be collected (hosts.json just being edited) changes nothing."""
        try:
            new = to_builtins(await to_thread.run_sync(self._collect))
        except WeaverError:
            if self._now is None:
                raise
            return
        async with self._changed:
            steps = patch(self._now, new) if self._now is not None else []
            if steps:
                self._id += 1
                self._patches.append((self._id, event("patch", self._id, steps)))
            self._now = new
            self._changed.notify_all()

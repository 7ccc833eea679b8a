"""The routes of the oracle: parse, resolve the name, submit to the worker, shape the answer.

Place in the flow: behind core.http.doors, which has checked Host, Origin, key and size before. Reads and writes no file itself.
Invariants: a request is answered by the checkpoint it names or refused; no error is a 200; a GET changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from core.clock import Clock
from core.errors import WeaverError
from core.http.oracle import (
    MOST_CONVERSATIONS,
    AliasRequest,
    BatchAnswers,
    BatchRequest,
    ModelRequest,
    ScoreAnswer,
    ScoreAnswers,
    ScoreRequest,
    Served,
)
from trainer.serve.api_errors import ApiError, as_api_error, invalid
from trainer.serve.bodies import read_pairs, read_typed
from trainer.serve.listing import Listing
from trainer.serve.loaded import Loaded, Target
from trainer.serve.names import Names
from trainer.serve.openai_answers import Chunks, Kind, whole
from trainer.serve.openai_requests import CHAT, COMPLETIONS, Wish, read_body, read_messages, read_prompts, read_wish
from trainer.serve.pool import Pool
from trainer.serve.work import Answered, Batch, Began, Completion, Piece, encode_messages, encode_text, score_pairs
from trainer.serve.worker import Work, Worker

# How long a request waits for a checkpoint to be read from the disk before it is told to come back.
LOAD_WAIT_S = 20.0
CLIENT_GONE = 499

Event = Began | Piece | Answered | BaseException


@dataclass(frozen=True)
class Handlers:
    """What all routes share."""

    pool: Pool
    worker: Worker
    names: Names
    listing: Listing
    clock: Clock
    load_wait_s: float = LOAD_WAIT_S

    async def health(self, request: Request) -> Response:
        """GET /health: say that requests are answered, and nothing else."""
        return _json({"status": "ok"})

    async def models(self, request: Request) -> Response:
        """GET /v1/models."""
        return _json(self.listing.models())

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        body = read_body(await request.body())
        wish, messages = read_wish(body, CHAT), read_messages(body.get("messages"))
        return await self._complete("chat", request, body, [messages], encode_messages, wish)

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        body = read_body(await request.body())
        wish, prompts = read_wish(body, COMPLETIONS), read_prompts(body.get("prompt"))
        return await self._complete("text", request, body, prompts, encode_text, wish)

    async def batch(self, request: Request) -> Response:
        """POST /v1/weaver/batch."""
        asked = read_typed(await request.body(), BatchRequest)
        if not 0 < len(asked.conversations) <= MOST_CONVERSATIONS:
            raise invalid("conversations", f"expected 1 to {MOST_CONVERSATIONS} of them, got {len(asked.conversations)}")
        if asked.max_tokens < 1:
            raise invalid("max_tokens", "expected at least 1")
        batch = Batch(self.names.resolve(asked.model), asked.conversations, asked.max_tokens)
        answers: BatchAnswers = await self._result(request, self.worker.generate(batch, self.pool))
        return _json(answers)

    async def score(self, request: Request) -> Response:
        """POST /v1/score."""
        asked = read_typed(await request.body(), ScoreRequest)
        pairs, target = read_pairs(asked), self.names.resolve(asked.model)

        def run() -> list[ScoreAnswer]:
            loaded = self.pool.get(target)
            return score_pairs(loaded, pairs(loaded))

        size = len(asked.prompt_ids or [[]])
        scores: list[ScoreAnswer] = await self._result(request, self.worker.task(run, target, size))
        if asked.prompt_ids is None:
            return _json(scores[0])
        return _json(ScoreAnswers(model=scores[0].model, system_fingerprint=scores[0].system_fingerprint, scores=scores))

    async def load(self, request: Request) -> Response:
        """POST /admin/load."""
        target = self.names.resolve(read_typed(await request.body(), ModelRequest).model)
        loaded: Loaded = await self._admin(lambda: self.pool.get(target), target)
        return _json(Served(model=loaded.id, system_fingerprint=loaded.weights_id))

    async def unload(self, request: Request) -> Response:
        """POST /admin/unload."""
        target = self.names.resolve(read_typed(await request.body(), ModelRequest).model)
        weights_id = self.listing.weights_id(target.id)
        await self._admin(lambda: self.pool.unload(target), None)
        return _json(Served(model=target.id, system_fingerprint=weights_id))

    async def alias(self, request: Request) -> Response:
        """POST /admin/alias: load, record, then let the name mean it."""
        asked = read_typed(await request.body(), AliasRequest)
        alias, target = self.names.alias(asked.alias), self.names.resolve(asked.model)
        if not alias.startswith(f"{target.model}/"):
            raise invalid("alias", f"{alias} cannot mean {target.id}, which is of another model")
        loaded: Loaded = await self._admin(lambda: self.pool.set_alias(alias, target, self.clock.now()), target)
        return _json(Served(model=loaded.id, system_fingerprint=loaded.weights_id, alias=alias))

    async def _admin(self, run: Callable[[], Any], target: Target | None) -> Any:
        """Have the worker do something that goes on even if nobody waits for the answer."""
        return await asyncio.shield(asyncio.wrap_future(self.worker.task(run, target).future))

    async def _complete(
        self, kind: Kind, request: Request, body: Mapping[str, Any], prompts: Any, encode: Any, wish: Wish
    ) -> Response:
        target = self.names.resolve(body.get("model"))
        if wish.stream:
            return await self._stream(kind, request, Completion(target, prompts, encode, wish), wish)
        work = self.worker.generate(Completion(target, prompts, encode, wish), self.pool)
        answered: Answered = await self._result(request, work)
        return _json(whole(kind, answered, wish.logprobs))

    async def _result(self, request: Request, work: Work) -> Any:
        return await self._wait(request, work, asyncio.wrap_future(work.future))

    async def _wait(self, request: Request, work: Work, future: asyncio.Future[Any]) -> Any:
        """Wait as long as the client does; a checkpoint that takes long to load is a 503. Else the work is given up."""
        future.add_done_callback(_notice)
        gone = asyncio.ensure_future(_disconnected(request))
        both: set[asyncio.Future[Any]] = {future, gone}
        try:
            done, _ = await asyncio.wait(both, timeout=self.load_wait_s, return_when=asyncio.FIRST_COMPLETED)
            if not done and work.target is not None and not self.pool.is_loaded(work.target):
                raise ApiError(503, "loading", f"{work.target.id} is being loaded; try again in a moment.", "model")
            if not done:
                done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if future not in done:
                raise ApiError(CLIENT_GONE, "client_gone", "The client went away.")
            return future.result()
        finally:
            gone.cancel()
            if not future.done():
                work.cancel()
                future.cancel()

    async def _stream(self, kind: Kind, request: Request, completion: Completion, wish: Wish) -> Response:
        """Start a stream. What is wrong with the request is still a status of its own; a later error is an event."""
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

        def give(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        def end(future: Future[Answered]) -> None:
            if not future.cancelled():
                give(future.exception() or future.result())

        completion.emit = give
        work = self.worker.generate(completion, self.pool)
        work.future.add_done_callback(end)
        began: Event = await self._wait(request, work, asyncio.ensure_future(events.get()))
        if not isinstance(began, Began):
            assert isinstance(began, BaseException)  # a stream either begins or fails
            raise began
        chunks = Chunks(kind, began.origin, completion.size, wish.logprobs, wish.include_usage)
        return StreamingResponse(_events(chunks, events, work), media_type="text/event-stream")


async def _events(chunks: Chunks, events: asyncio.Queue[Event], work: Work) -> AsyncIterator[bytes]:
    try:
        for chunk in chunks.first():
            yield _event(chunk)
        while True:
            event = await events.get()
            if isinstance(event, Piece):
                yield _event(chunks.piece(event))
            elif isinstance(event, Answered):
                yield b"".join(_event(chunk) for chunk in chunks.last(event)) + b"data: [DONE]\n\n"
                return
            elif isinstance(event, WeaverError):
                yield _event(as_api_error(event).body())
                return
            elif isinstance(event, BaseException):
                raise event
    finally:
        work.cancel()


def _event(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _disconnected(request: Request) -> None:
    """Return once the client is gone. The body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _notice(future: asyncio.Future[Any]) -> None:
    """Look at the error of work that nobody waits for any more, so that asyncio does not report it as forgotten."""
    if not future.cancelled():
        future.exception()

"""Writing answers in the shapes of the OpenAI API, with what CONTRACTS.md section 10 adds.

`model` is the id of the checkpoint that answered, whatever was asked for; `system_fingerprint` its weights_id; `weaver` its
step and its folder relative to models/. Log-probabilities are the model's own, before temperature and top_p.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from trainer.serve.text import BROKEN
from trainer.serve.work import Answer, Answered, Origin, Piece, Token

Kind = Literal["chat", "text"]
_OBJECTS = {"chat": "chat.completion", "text": "text_completion"}
_IDS = {"chat": "chatcmpl-", "text": "cmpl-"}


def _usage(answers: Sequence[Answer]) -> dict[str, int]:
    prompt, completion = sum(one.prompt_tokens for one in answers), sum(one.tokens for one in answers)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _bytes(text: str) -> list[int] | None:
    """Give the bytes of a token's text; a part of a character has no text of its own, so they are unknown."""
    return None if BROKEN in text else list(text.encode())


def _chat_logprobs(shown: Sequence[Token]) -> dict[str, Any]:
    content = [
        {
            "token": token.text, "logprob": token.logprob, "bytes": _bytes(token.text),
            "top_logprobs": [
                {"token": text, "logprob": logprob, "bytes": _bytes(text)} for text, logprob in token.top
            ],
        }
        for token in shown
    ]  # fmt: skip
    return {"content": content, "refusal": None}


def _text_logprobs(shown: Sequence[Token], start: int = 0) -> dict[str, Any]:
    offsets = []
    for token in shown:
        offsets.append(start)
        start += len(token.text)
    return {
        "tokens": [token.text for token in shown], "token_logprobs": [token.logprob for token in shown],
        "top_logprobs": [dict(token.top) for token in shown], "text_offset": offsets,
    }  # fmt: skip


def _head(kind: Kind, origin: Origin, chunk: bool) -> dict[str, Any]:
    return {
        "id": _IDS[kind] + secrets.token_hex(12), "object": _OBJECTS[kind] + (".chunk" if chunk and kind == "chat" else ""),
        "created": int(time.time()), "model": origin.id, "system_fingerprint": origin.weights_id,
        "weaver": {"step": origin.step, "model_path": origin.id},
    }  # fmt: skip


def whole(kind: Kind, answered: Answered, logprobs: bool) -> dict[str, Any]:
    """Give the body of an answer that is sent at once."""
    choices: list[dict[str, Any]] = []
    for index, answer in enumerate(answered.answers):
        choice: dict[str, Any] = {"index": index, "finish_reason": answer.finish, "logprobs": None}
        if kind == "chat":
            choice["message"] = {"role": "assistant", "content": answer.text, "refusal": None}
        else:
            choice["text"] = answer.text
        if logprobs:
            choice["logprobs"] = _chat_logprobs(answer.shown) if kind == "chat" else _text_logprobs(answer.shown)
        choices.append(choice)
    return {**_head(kind, answered.origin, chunk=False), "choices": choices, "usage": _usage(answered.answers)}


class Chunks:
    """The chunks of one streamed answer."""

    def __init__(self, kind: Kind, origin: Origin, prompts: int, logprobs: bool, include_usage: bool) -> None:
        self._kind, self._logprobs, self._include_usage = kind, logprobs, include_usage
        self._head = _head(kind, origin, chunk=True)
        self._prompts = prompts
        self._offsets = [0] * prompts

    def first(self) -> Iterator[dict[str, Any]]:
        """Open each choice of a chat with its role."""
        if self._kind == "chat":
            for index in range(self._prompts):
                yield self._chunk(index, {"role": "assistant", "content": "", "refusal": None}, None, ())

    def piece(self, piece: Piece) -> dict[str, Any]:
        """Give a piece of text."""
        return self._chunk(piece.index, {"content": piece.text}, None, piece.shown)

    def last(self, answered: Answered) -> Iterator[dict[str, Any]]:
        """Close each choice with its reason, and give the usage where it was asked for."""
        for index, answer in enumerate(answered.answers):
            yield self._chunk(index, {}, answer.finish, ())
        if self._include_usage:
            yield {**self._head, "choices": [], "usage": _usage(answered.answers)}

    def _chunk(self, index: int, delta: dict[str, Any], finish: str | None, shown: Sequence[Token]) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index, "finish_reason": finish, "logprobs": None}
        if self._kind == "chat":
            choice["delta"] = delta
        else:
            choice["text"] = delta.get("content", "")
        if self._logprobs and shown:
            chat = self._kind == "chat"
            choice["logprobs"] = _chat_logprobs(shown) if chat else _text_logprobs(shown, self._offsets[index])
            self._offsets[index] += sum(len(token.text) for token in shown)
        return {**self._head, "choices": [choice], **({"usage": None} if self._include_usage else {})}

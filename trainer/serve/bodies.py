"""Reading the bodies of the routes beyond the OpenAI API: typed by the records that their clients send."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from core.http.oracle import MOST_CONVERSATIONS, ScoreRequest
from core.text.tokens import encode_plain
from trainer.serve.api_errors import ApiError, invalid, unsupported
from trainer.serve.loaded import Loaded
from trainer.serve.openai_requests import Prompt, read_body, read_messages
from trainer.serve.work import encode_messages, encode_text

B = TypeVar("B", bound=msgspec.Struct)
Pairs = list[tuple[list[int], list[int]]]


def read_typed(data: bytes, kind: type[B]) -> B:
    """Parse a body as a record. Raises ApiError naming what is not right."""
    body = read_body(data)
    for name in body:
        if name not in kind.__struct_fields__:
            raise unsupported(name)
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise ApiError(400, "invalid_value", f"The body is not as expected: {error}") from error


def read_pairs(asked: ScoreRequest) -> Callable[[Loaded], Pairs]:
    """Check a request for scores and give what makes its pairs of ids, in the worker's thread. Raises ApiError."""
    by_ids = asked.prompt_ids is not None or asked.completion_ids is not None
    texts = [asked.prompt, asked.messages, asked.completion]
    if by_ids and any(text is not None for text in texts):
        raise invalid("prompt_ids", "give prompt_ids with completion_ids, or prompt or messages with completion, not both")
    if by_ids:
        return _ids(asked)
    return _text(asked)


def _ids(asked: ScoreRequest) -> Callable[[Loaded], Pairs]:
    prompts, completions = asked.prompt_ids or [], asked.completion_ids or []
    if len(prompts) != len(completions) or not 0 < len(prompts) <= MOST_CONVERSATIONS:
        raise invalid("completion_ids", f"expected one list for each of 1 to {MOST_CONVERSATIONS} prompt_ids")
    return lambda loaded: list(zip(prompts, completions, strict=True))


def _text(asked: ScoreRequest) -> Callable[[Loaded], Pairs]:
    completion = asked.completion
    if not completion:
        raise invalid("completion", "expected a text that is not empty")
    if (asked.prompt is None) == (asked.messages is None):
        raise invalid("prompt", "expected exactly one of prompt and messages")
    messages = None if asked.messages is None else read_messages(asked.messages)
    prompt: Prompt = asked.prompt or ""

    def make(loaded: Loaded) -> Pairs:
        ids = encode_text(loaded, prompt) if messages is None else encode_messages(loaded, messages)
        return [(ids, encode_plain(loaded.tokenizer, completion))]

    return make

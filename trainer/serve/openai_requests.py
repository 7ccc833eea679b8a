"""Reading the bodies of /v1/chat/completions and /v1/completions. What is not understood is refused by name, never ignored.

A parameter that is null counts as not given, as in the OpenAI API. Every other parameter outside CONTRACTS.md section 10 is 400
`unsupported_parameter`, also where its value would change nothing: a client that sends it expects something of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.records import strict_json
from trainer.serve.api_errors import ApiError, invalid, unsupported

COMMON = frozenset({"model", "max_tokens", "temperature", "top_p", "seed", "stop", "stream", "stream_options", "logprobs", "n"})
CHAT = COMMON | {"messages", "max_completion_tokens", "top_logprobs"}
COMPLETIONS = COMMON | {"prompt"}
MESSAGE = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
ROLES = ("system", "developer", "user", "assistant", "tool")
# The limits of the OpenAI API.
MOST_STOPS, MOST_TOP_LOGPROBS, MOST_COMPLETION_LOGPROBS = 4, 20, 5
COMPLETION_TOKENS = 16
MOST_PROMPTS = 512
MOST_SEED = 2**63

Prompt = str | list[int]


@dataclass(frozen=True, slots=True)
class Wish:
    """How to decode. max_tokens null: as many as the context holds. top: how many likeliest tokens to report with logprobs."""

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    logprobs: bool = False
    top: int = 0
    stream: bool = False
    include_usage: bool = False


GREEDY = Wish(temperature=0.0)


def read_body(data: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises ApiError."""
    try:
        body = strict_json(data)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", f"The body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_json", "The body is not a JSON object.")
    return {key: value for key, value in body.items() if value is not None}


def read_wish(body: Mapping[str, Any], known: frozenset[str]) -> Wish:
    """Check every parameter and give those of decoding. known: CHAT or COMPLETIONS. Raises ApiError naming the parameter."""
    for name in body:
        if name not in known:
            raise unsupported(name)
    if body.get("n", 1) != 1 or isinstance(body.get("n"), bool):
        raise unsupported("n")
    stream = _flag(body, "stream")
    options = body.get("stream_options", {})
    if not isinstance(options, dict) or set(options) - {"include_usage"} or (options and not stream):
        raise invalid("stream_options", "expected {'include_usage': true or false}, together with stream")
    logprobs, top = _chat_logprobs(body) if known is CHAT else _completion_logprobs(body)
    return Wish(
        max_tokens=_max_tokens(body, known), temperature=_number(body, "temperature", 0.0, 2.0),
        top_p=_number(body, "top_p", 0.0, 1.0), seed=_integer(body, "seed", -MOST_SEED, MOST_SEED - 1), stops=_stops(body),
        logprobs=logprobs, top=top, stream=stream, include_usage=_flag(options, "include_usage"),
    )  # fmt: skip


def read_messages(value: object, where: str = "messages") -> list[dict[str, Any]]:
    """Check the messages of one conversation; null keys are dropped. Raises ApiError naming the place."""
    if not isinstance(value, list) or not value:
        raise invalid(where, "expected a list of at least one message")
    return [_message(message, f"{where}[{at}]") for at, message in enumerate(value)]


def read_prompts(value: object) -> list[Prompt]:
    """Give the prompts of a completion: one text, several texts, one list of token ids, or several. Raises ApiError."""
    prompts: list[Any] = [value] if isinstance(value, str) or _is_ids(value) else value if isinstance(value, list) else []
    if not 0 < len(prompts) <= MOST_PROMPTS or not all((isinstance(one, str) and one) or _is_ids(one) for one in prompts):
        raise invalid("prompt", f"expected a text, a list of token ids, or a list of 1 to {MOST_PROMPTS} of either, none empty")
    return prompts


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(id_, int) and not isinstance(id_, bool) for id_ in value)


def _message(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(where, "expected an object with role and content")
    message = {key: item for key, item in value.items() if item is not None}
    for key in message:
        if key not in MESSAGE:
            raise unsupported(f"{where}.{key}")
    role, content, calls = message.get("role"), message.get("content"), message.get("tool_calls")
    if role not in ROLES:
        raise invalid(f"{where}.role", f"expected one of {', '.join(ROLES)}")
    if calls is not None and not (role == "assistant" and isinstance(calls, list) and all(map(_is_call, calls))):
        raise invalid(f"{where}.tool_calls", "expected calls of functions, in a message of the assistant")
    if not isinstance(content, str) and not _is_text_parts(content) and not (content is None and calls):
        raise invalid(f"{where}.content", "expected a text or a list of text parts; there is no other kind here")
    for key in ("name", "tool_call_id"):
        if not isinstance(message.get(key, ""), str):
            raise invalid(f"{where}.{key}", "expected a text")
    return message


def _is_text_parts(content: object) -> bool:
    return isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    )


def _is_call(call: object) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str) and "arguments" in function


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise invalid(name, "expected true or false")
    return value


def _number(body: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = body.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise invalid(name, f"expected a number from {low:g} to {high:g}")
    return float(value)


def _integer(body: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise invalid(name, f"expected a whole number from {low} to {high}")
    return value


def _max_tokens(body: Mapping[str, Any], known: frozenset[str]) -> int | None:
    given = [_integer(body, name, 1, 2**31) for name in ("max_tokens", "max_completion_tokens") if name in body]
    if len(set(given)) > 1:
        raise invalid("max_tokens", "differs from max_completion_tokens; give one of them")
    return given[0] if given else None if known is CHAT else COMPLETION_TOKENS


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    value = body.get("stop", [])
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        raise invalid("stop", f"expected a text or a list of at most {MOST_STOPS} texts, none empty")
    return tuple(stops)


def _chat_logprobs(body: Mapping[str, Any]) -> tuple[bool, int]:
    wanted = _flag(body, "logprobs")
    top = _integer(body, "top_logprobs", 0, MOST_TOP_LOGPROBS) or 0
    if top and not wanted:
        raise invalid("top_logprobs", "needs logprobs to be true")
    return wanted, top


def _completion_logprobs(body: Mapping[str, Any]) -> tuple[bool, int]:
    top = _integer(body, "logprobs", 0, MOST_COMPLETION_LOGPROBS)
    return top is not None, top or 0

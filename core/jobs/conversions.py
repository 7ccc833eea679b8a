"""A line of every format as the canonical line: one list of OpenAI messages, the tools, and everything else as metadata.

Place in the flow: core/jobs/validate converts every line of a drop here, then core/jobs/spec checks its messages. Reads and
writes no file. Invariants: what is not meant to be trained carries weight 0; keys that a format does not take are never lost;
nothing is guessed: what a format does not say is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from core.errors import LineRefused
from core.jobs.formats import BY_NAME, PREFERENCE, UNKNOWN, detect, kind_of, preference_reason, shown
from core.jobs.job import Line
from core.records import strict_json

DEEPEST = 60
_SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant", "system": "system",
    "function_call": "assistant", "observation": "tool", "tool": "tool",
}  # fmt: skip


def to_line(value: Mapping[str, Any], format_name: str, is_given: bool, mapped: Collection[str] = ()) -> Line:
    """Give the canonical line, its messages not yet checked.

    is_given: the sidecar named the spec, so more keys may be there; mapped: keys that it maps columns to. Raises LineRefused:
    preference_data, wrong_spec for a line of another format, bad_role for an unknown speaker.
    """
    found = detect(value, mapped)
    if found == PREFERENCE:
        raise LineRefused(code="preference_data", detail=preference_reason(value))
    missing = [key for key in BY_NAME[format_name].needs if key not in value]
    fits = found == format_name or (format_name == "chat_sft_v1" and found == "syllo_v1") or is_given
    if missing or not fits:
        other = f"this line is {found}" if found != UNKNOWN else f"this line lacks {', '.join(missing)}"
        raise LineRefused(code="wrong_spec", detail=f"the file is {format_name}, {other}; it has the keys {shown(value)}")
    return _CONVERSIONS[format_name](value)


def opened(value: Any, start: str) -> Any:
    """Give what a text that begins with `start` holds as JSON, as CSV and many tables have it; else the value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(start):
        return value
    try:
        found = strict_json(value)
    except (ValueError, RecursionError):
        return value
    return found if _depth_is_sane(found) else value


def _depth_is_sane(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        inner = [held.values() if isinstance(held, dict) else held for held in level if isinstance(held, dict | list)]
        level = [item for items in inner for item in items]
    return not level


def _chat(value: Mapping[str, Any]) -> Line:
    return Line(
        messages=opened(value["messages"], "["), tools=_tools(value.get("tools")), meta=_meta(value, "messages", "tools")
    )


def _tools(tools: Any) -> Any:
    """Give tools in OpenAI form, opened if they are text; those without a type, as ShareGPT has them, are wrapped."""
    tools = opened(tools, "[")
    if isinstance(tools, str) and not tools.strip():
        return None
    if not isinstance(tools, list):
        return tools
    return [
        {"type": "function", "function": tool} if isinstance(tool, dict) and "name" in tool and "function" not in tool else tool
        for tool in tools
    ]


def _sharegpt(value: Mapping[str, Any]) -> Line:
    turns = opened(value["conversations"], "[")
    if not isinstance(turns, list):
        raise LineRefused(code="wrong_spec", detail=f"conversations holds {kind_of(turns)}; expected a list of turns")
    messages = [_turn(turn, at) for at, turn in enumerate(turns, 1)]
    system = _optional_text(value, "system")
    if system and not (messages and messages[0]["role"] == "system"):
        messages.insert(0, {"role": "system", "content": system})
    return Line(messages=messages, tools=_tools(value.get("tools")), meta=_meta(value, "conversations", "system", "tools"))


def _turn(turn: Any, at: int) -> dict[str, Any]:
    """Give one turn of ShareGPT as a message; role and content may take the place of from and value."""
    if not isinstance(turn, dict):
        raise LineRefused(code="bad_role", detail=f"turn {at} is {kind_of(turn)}; expected an object with from and value")
    turn = dict(turn)
    speaker, said = turn.pop("from", turn.get("role")), turn.pop("value", turn.get("content"))
    rest = {key: item for key, item in turn.items() if key not in ("role", "content")}
    role = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise LineRefused(code="bad_role", detail=f"turn {at} is from {speaker!r}; known: {', '.join(_SPEAKERS)}")
    if speaker == "function_call":
        return {"role": role, "content": "", "tool_calls": _calls(said, at), **rest}
    if role == "tool" and isinstance(said, dict):
        raise LineRefused(code="wrong_spec", detail=f"turn {at} ({speaker}) holds an object; expected text, JSON as text too")
    return {"role": role, "content": said, **rest}


def _calls(said: Any, at: int) -> list[dict[str, Any]]:
    """Give the tool calls of a function_call turn: {"name", "arguments"} or a list of them, as JSON text or as it is."""
    found = opened(opened(said, "{"), "[")
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise LineRefused(
            code="wrong_spec",
            detail=f'turn {at} (function_call) is not {{"name": ..., "arguments": {{...}}}} as JSON, nor a list of such calls',
        )
    return [{"type": "function", "function": {"name": call["name"], "arguments": call.get("arguments", {})}} for call in calls]


def _alpaca(value: Mapping[str, Any]) -> Line:
    system, more = _optional_text(value, "system"), _optional_text(value, "input")
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    weight = {} if value.get("train_history") is True else {"weight": 0}
    for at, pair in enumerate(_history(value.get("history")), 1):
        if not (isinstance(pair, list) and len(pair) == 2):
            raise LineRefused(code="wrong_spec", detail=f"history turn {at} is no pair of instruction and answer")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1], **weight}]
    asked = "\n".join(text for text in (_text(value, "instruction"), more) if text.strip())
    messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": _text(value, "output")}]
    return Line(messages=messages, meta=_meta(value, *BY_NAME["alpaca"].needs, *BY_NAME["alpaca"].takes))


def _history(history: Any) -> list[Any]:
    history = opened(history, "[")
    if history is None or history == "":
        return []
    if not isinstance(history, list):
        raise LineRefused(code="wrong_spec", detail=f"history holds {kind_of(history)}; expected a list of pairs")
    return history


def _completion(value: Mapping[str, Any]) -> Line:
    """Give prompt and completion as text, or as lists of messages, of which only the completion's are trained."""
    if isinstance(value["prompt"], list) and isinstance(value["completion"], list) and value.get("raw") is not True:
        given = [
            {**message, "weight": 0} if isinstance(message, dict) and message.get("role") == "assistant" else message
            for message in value["prompt"]
        ]
        meta = _meta(value, "prompt", "completion", "tools")
        return Line(messages=[*given, *value["completion"]], tools=_tools(value.get("tools")), meta=meta)
    messages = [
        {"role": "user", "content": _text(value, "prompt")},
        {"role": "assistant", "content": _text(value, "completion")},
    ]
    meta = _meta(value, "prompt", "completion")
    return Line(messages=messages, meta={**meta, "raw": True} if value.get("raw") is True else meta)


def _plain_text(value: Mapping[str, Any]) -> Line:
    text = _text(value, "text")
    return Line(messages=[{"role": "assistant", "content": text}], meta={**_meta(value, "text"), "raw": True})


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise LineRefused(code="wrong_spec", detail=f"{key} holds {kind_of(text)}; expected text")
    return text


def _optional_text(value: Mapping[str, Any], key: str) -> str:
    return "" if value.get(key) is None else _text(value, key)


def _meta(value: Mapping[str, Any], *taken: str) -> dict[str, Any]:
    """Keep every other key. `raw` in meta switches the chat template off, so a stray one is kept as raw_."""
    meta = {key: item for key, item in value.items() if key not in taken and key != "raw"}
    if "raw" in value and not ("prompt" in taken and isinstance(value["raw"], bool)):
        meta["raw_"] = value["raw"]
    return meta


_CONVERSIONS: Mapping[str, Callable[[Mapping[str, Any]], Line]] = {
    "syllo_v1": _chat, "chat_sft_v1": _chat, "sharegpt": _sharegpt, "alpaca": _alpaca, "completion_v1": _completion,
    "text_v1": _plain_text,
}  # fmt: skip

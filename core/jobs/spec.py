"""What a conversation may be: roles, order, content, tools (specs chat_sft_v1, completion_v1, syllo_v1, text_v1).

Place in the flow: intake checks every canonical line here before it is tokenised. Reads and writes no file. Invariant: a line
that passes has only known roles in a possible order and something to train; its contents are NFC, stripped unless trained raw.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

from core.errors import LineRefused
from core.jobs.formats import kind_of
from core.text.labels import trained_messages

ROLES = ("system", "developer", "user", "assistant", "tool")


def checked_messages(messages: object, is_raw: bool) -> list[dict[str, Any]]:
    """Give the messages cleaned. Raises LineRefused: wrong_spec, bad_role, empty_content, no_assistant, nothing_to_train."""
    if not isinstance(messages, list):
        raise LineRefused(code="wrong_spec", detail=f"messages holds {kind_of(messages)}; expected a list of messages")
    cleaned = [_message(message, at, is_raw) for at, message in enumerate(messages, 1)]
    trained_messages(cleaned)
    if not is_raw:
        _check_order(cleaned)
    return cleaned


def checked_tools(tools: object) -> list[dict[str, Any]] | None:
    """Give the tools of a line, None when there are none. Raises LineRefused (wrong_spec)."""
    if tools is None:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise LineRefused(code="wrong_spec", detail="tools is no list of objects; expected the OpenAI form")
    return tools or None


def _message(message: object, at: int, is_raw: bool) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise LineRefused(
            code="bad_role", detail=f"message {at} is {kind_of(message)}; expected an object with role and content"
        )
    role = message.get("role")
    if role not in ROLES:
        raise LineRefused(code="bad_role", detail=f"message {at} has the role {role!r}; known: {', '.join(ROLES)}")
    if message.get("function_call") is not None:
        raise LineRefused(code="wrong_spec", detail=f"message {at} has the old function_call; write it as tool_calls")
    calls = _tool_calls(message.get("tool_calls"), at)
    weight = message.get("weight")
    if isinstance(weight, bool) or weight not in (0, 1, None):
        raise LineRefused(code="wrong_spec", detail=f"message {at} has the weight {weight!r}; expected 0 or 1")
    content = _content(message.get("content"), at, is_raw)
    if not content and not calls and role in ("user", "assistant") and not (is_raw and role == "user"):
        raise LineRefused(code="empty_content", detail=f"message {at} ({role}) is empty; expected text")
    rest = {key: item for key, item in message.items() if key not in ("role", "content", "tool_calls") and item is not None}
    return {"role": role, "content": content, **({"tool_calls": calls} if calls else {}), **rest}


def _content(content: object, at: int, is_raw: bool) -> str:
    """Give a message's content as one text, NFC; stripped, but for raw lines, where each blank is trained as written."""
    if content is None:
        content = ""
    elif isinstance(content, list):
        content = "".join(_part(part, at) for part in content)
    elif not isinstance(content, str):
        raise LineRefused(code="wrong_spec", detail=f"message {at} has {kind_of(content)} as content; expected text")
    text = unicodedata.normalize("NFC", content)
    return text if is_raw else text.strip()


def _part(part: object, at: int) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    what = f"of type {part.get('type')!r}" if isinstance(part, dict) else f"that is {kind_of(part)}"
    raise LineRefused(code="wrong_spec", detail=f"message {at} has a content part {what}; only text parts can be trained")


def _tool_calls(calls: object, at: int) -> list[dict[str, Any]]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise LineRefused(code="wrong_spec", detail=f"message {at}: tool_calls holds {kind_of(calls)}; expected a list")
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not _are_arguments(function):
            raise LineRefused(
                code="wrong_spec",
                detail=f"message {at} has a tool call that is not "
                '{"type": "function", "function": {"name": ..., "arguments": <an object, or one as JSON text>}}',
            )
    return calls


def _are_arguments(function: dict[str, Any]) -> bool:
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return False
    return isinstance(arguments, dict)


def _check_order(messages: Sequence[dict[str, Any]]) -> None:
    """Refuse an order that cannot be a conversation. Raises LineRefused (bad_role)."""
    previous: dict[str, Any] | None = None
    for at, message in enumerate(messages, 1):
        role = message["role"]
        opens = previous is None or previous["role"] in ("system", "developer")
        if opens and role in ("assistant", "tool"):
            raise LineRefused(
                code="bad_role", detail=f"message {at} ({role}) opens the conversation; expected a user message before it"
            )
        if role == "tool" and previous is not None and previous["role"] != "tool" and not previous.get("tool_calls"):
            raise LineRefused(code="bad_role", detail=f"message {at} is a tool's result, but no tool was called before it")
        previous = message

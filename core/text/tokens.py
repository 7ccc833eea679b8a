"""Tokenizers and rendering: messages -> ids, the same call for intake, preview, trainer and oracle.

Place in the flow: everybody who needs ids comes here. Files read: tokenizer.json, tokenizer_config.json and the chat template
of a local model folder. Never torch, never the network, never code from the folder. Invariant: only the chat template writes
control tokens; a control token inside a message, a tool or an argument is encoded as ordinary text or refused.

The flags of a fast tokenizer stay set between calls, so each thread has its own (`load_tokenizer`).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import InvalidData, LineRefused

Message = Mapping[str, Any]

# Half a surrogate pair is no text; the other two are what transformers wraps control tokens of the input in while rendering,
# and deletes from the input.
_NOT_TEXT = re.compile("[\ud800-\udfff\U000f0000\U000f0001]")

# A template that may open a thought writes the closed, empty one: then an answer begins where the prompt ends.
TEMPLATE_OPTIONS = {"enable_thinking": False}

_per_thread = threading.local()


def load_tokenizer(folder: Path) -> Any:
    """Give this thread's tokenizer of a local model folder, loading it once. Raises InvalidData."""
    loaded: dict[Path, Any] = _per_thread.__dict__.setdefault("loaded", {})
    key = folder.resolve()
    if key not in loaded:
        loaded[key] = _load(key)
    return loaded[key]


def _load(folder: Path) -> Any:
    if not (folder / "tokenizer.json").is_file():
        raise InvalidData(where=str(folder), detail="there is no tokenizer.json; expected a model folder with a fast tokenizer")
    from transformers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidData(where=str(folder), detail=f"its tokenizer cannot be loaded ({error})") from error


@lru_cache(maxsize=64)
def special_ids(tokenizer: Any) -> frozenset[int]:
    """Give the ids of all special tokens."""
    marked = {at for at, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(marked.union(tokenizer.all_special_ids))


@lru_cache(maxsize=64)
def _control_tokens(tokenizer: Any) -> tuple[str, ...]:
    contents = {str(token.content) for token in tokenizer.added_tokens_decoder.values()}
    return tuple(sorted(content for content in contents.union(tokenizer.all_special_tokens) if content.strip()))


def check_control_text(tokenizer: Any, value: Any) -> None:
    """Refuse what the sanitiser cannot make harmless, anywhere inside value. Raises LineRefused (control_text, not_utf8).

    These are its own two marker characters, and control tokens in the keys of objects, which it leaves as they are.
    """
    if isinstance(value, str):
        found = _NOT_TEXT.search(value)
        if found is not None:
            code, kind = ("not_utf8", "half a surrogate pair") if found[0] < "\ue000" else ("control_text", "reserved")
            raise LineRefused(code=code, detail=f"the text holds U+{ord(found[0]):X} ({kind}); remove it from the data")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_control_text(tokenizer, key)
            check_control_text(tokenizer, item)
            held = next((token for token in _control_tokens(tokenizer) if token in key), None)
            if held is not None:
                raise LineRefused(code="control_text", detail=f"the key {key!r} holds the control token {held!r}")
    elif isinstance(value, list | tuple):
        for item in value:
            check_control_text(tokenizer, item)


def _renderable(message: Message) -> dict[str, Any]:
    """Give what the template sees: no weight, and tool arguments as the objects that templates expect."""
    shown = {key: value for key, value in message.items() if key != "weight"}
    if shown.get("tool_calls"):
        shown["tool_calls"] = [_open_arguments(call) for call in shown["tool_calls"]]
    return shown


def _open_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function") or {})
    if isinstance(function.get("arguments"), str):
        try:
            parsed = json.loads(function["arguments"])
        except ValueError:
            return dict(call)
        if isinstance(parsed, dict):
            function["arguments"] = parsed
    return {**call, "function": function}


def encode_chat(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, *, prompt: bool
) -> list[int]:
    """Render messages through the chat template and encode them; prompt adds the generation prompt.

    Raises LineRefused: control_text, or bad_role with the template's own words when it refuses the messages.
    """
    from jinja2 import TemplateError

    shown = [_renderable(message) for message in messages]
    check_control_text(tokenizer, shown)
    check_control_text(tokenizer, tools)
    try:
        ids = tokenizer.apply_chat_template(
            shown,
            tools=list(tools) if tools else None,
            add_generation_prompt=prompt,
            sanitize_control_tokens=True,
            return_dict=False,
            **TEMPLATE_OPTIONS,
        )
    except (TemplateError, TypeError) as error:
        raise LineRefused(code="bad_role", detail=f"the chat template refuses these messages: {error}") from error
    except ValueError as error:
        raise LineRefused(code="control_text", detail=str(error)) from error
    return [int(at) for at in ids]


def encode_prompt(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None) -> list[int]:
    """Give the ids after which the assistant answers: what generation starts from and what labels are made against."""
    return encode_chat(tokenizer, messages, tools, prompt=True)


def encode_plain(tokenizer: Any, text: str) -> list[int]:
    """Encode text as it stands, without template and without control tokens. Raises LineRefused (control_text)."""
    check_control_text(tokenizer, text)
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return [int(at) for at in ids]


def decode_ids(tokenizer: Any, ids: Sequence[int]) -> str:
    """Give the exact text of ids, control tokens included."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

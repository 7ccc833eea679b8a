"""Tokenizers and rendering: messages -> ids, the same call for intake, preview, trainer and oracle.

Place in the flow: everybody who needs ids comes here. Files read: tokenizer.json, tokenizer_config.json and the chat template
of a local model folder. Never torch, never the network, never code from the folder. Invariant: only the chat template writes
control tokens; a control token inside a message, a tool or an argument is encoded as ordinary text or refused.

The flags of a fast tokenizer stay set between calls, so each thread has its own (`load_tokenizer`).
"""

from __future__ import annotations

import json
import os
import re
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InvalidData, LineRefused

Message = Mapping[str, Any]

# Half a surrogate pair is no text; the other two are what transformers wraps control tokens of the input in while rendering,
# and deletes from the input.
NOT_TEXT = re.compile("[\ud800-\udfff\U000f0000\U000f0001]")

# A template that may open a thought writes the closed, empty one: then an answer begins where the prompt ends.
TEMPLATE_OPTIONS = {"enable_thinking": False}

KEPT_PER_THREAD = 4

_per_thread = threading.local()
_facts: weakref.WeakKeyDictionary[Any, _Facts] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is asked of a tokenizer for every line, computed once."""

    special_ids: frozenset[int]
    control_tokens: tuple[str, ...]


def load_tokenizer(folder: Path) -> Any:
    """Give this thread's tokenizer of a local model folder, loading it once; the last few are kept. Raises InvalidData."""
    loaded: dict[Path, Any] = _per_thread.__dict__.setdefault("loaded", {})
    key = folder.resolve()
    tokenizer = loaded.pop(key) if key in loaded else _load(key)
    loaded[key] = tokenizer
    if len(loaded) > KEPT_PER_THREAD:
        del loaded[next(iter(loaded))]
    return tokenizer


def _load(folder: Path) -> Any:
    if not (folder / "tokenizer.json").is_file():
        raise InvalidData(where=str(folder), detail="there is no tokenizer.json; expected a model folder with a fast tokenizer")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the cores belong to training; whoever wants more sets it
    from transformers import PreTrainedTokenizerFast

    with _Loading(folder):
        return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


class _Loading:
    """Names the folder when its tokenizer cannot be loaded. The library under it raises a bare Exception, just that class."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is Exception or isinstance(error, OSError | ValueError | KeyError | TypeError):
            detail = f"its tokenizer cannot be loaded ({error}); expected the files that its maker wrote"
            raise InvalidData(where=str(self._folder), detail=detail) from error


def _facts_of(tokenizer: Any) -> _Facts:
    facts = _facts.get(tokenizer)
    if facts is None:
        added = tokenizer.added_tokens_decoder
        contents = {str(token.content) for token in added.values()}.union(tokenizer.all_special_tokens)
        facts = _Facts(
            special_ids=frozenset({at for at, token in added.items() if token.special}.union(tokenizer.all_special_ids)),
            control_tokens=tuple(sorted(content for content in contents if content.strip())),
        )
        _facts[tokenizer] = facts
    return facts


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Give the ids of all special tokens."""
    return _facts_of(tokenizer).special_ids


def check_control_text(tokenizer: Any, value: Any) -> None:
    """Refuse what the sanitiser cannot make harmless, anywhere inside value. Raises LineRefused (control_text, not_utf8).

    These are its own two marker characters, and control tokens in the keys of objects, which it leaves as they are.
    """
    if isinstance(value, str):
        found = NOT_TEXT.search(value)
        if found is not None:
            code, kind = ("not_utf8", "half a surrogate pair") if found[0] < "\ue000" else ("control_text", "reserved")
            raise LineRefused(code=code, detail=f"the text holds U+{ord(found[0]):X} ({kind}); remove it from the data")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_control_text(tokenizer, key)
            check_control_text(tokenizer, item)
            held = next((token for token in _facts_of(tokenizer).control_tokens if token in key), None)
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

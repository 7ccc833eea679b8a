"""The formats of dropped lines: which one a file has, and a line of it as a canonical line (CONTRACTS.md section 5).

Place in the flow: intake asks once per file for the format, then turns every line into a Line, whose messages core/jobs/spec
checks. Reads and writes no file. Invariants: keys that a format does not take are kept as meta, never lost; no format is
guessed: what fits none is refused with the sidecar to write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from core.errors import InvalidData, LineRefused
from core.jobs.job import Line, Sidecar, Spec

PREFERENCE_KEYS = ("chosen", "rejected", "kto_tag")
SYLLO_KEYS = ("skill", "level", "problem", "answer")
TARGETS = ("messages", "tools", "prompt", "completion", "raw", "text", *SYLLO_KEYS)

_NEEDS: dict[Spec, tuple[str, ...]] = {
    "syllo_v1": ("messages", *SYLLO_KEYS),
    "chat_sft_v1": ("messages",),
    "completion_v1": ("prompt", "completion"),
    "text_v1": ("text",),
}
_CHAT: tuple[Spec, ...] = ("syllo_v1", "chat_sft_v1")
_ASKS = ("question", "instruction", "query", "input", "problem", "prompt", "user", "source")
_ANSWERS = ("answer", "output", "response", "solution", "completion", "assistant", "target")


class DropRefused(InvalidData):
    """{code}: {detail}"""

    code: str
    detail: str


def detect(value: Mapping[str, Any]) -> str:
    """Name the format of a line: a spec, or preference, sharegpt, alpaca, unknown. The first that fits decides."""
    if any(key in value for key in PREFERENCE_KEYS) or isinstance(value.get("label"), bool):
        return "preference"
    for spec in _CHAT:
        if all(key in value for key in _NEEDS[spec]):
            return spec
    if "conversations" in value:
        return "sharegpt"
    if "instruction" in value and "output" in value:
        return "alpaca"
    if "prompt" in value and "completion" in value:
        return "completion_v1"
    return "text_v1" if "text" in value else "unknown"


def decide_spec(value: Mapping[str, Any], sidecar: Sidecar) -> Spec:
    """Give the spec of a file from its first object, columns already mapped. Raises DropRefused with what to do."""
    found = detect(value)
    if found == "preference":
        raise DropRefused(code="preference_data", detail=_preference(value))
    if sidecar.spec is not None:
        return sidecar.spec
    if found == "text_v1":
        opt_in = _suggestion({"schema": "weaver.sidecar/1", "spec": "text_v1"})
        raise DropRefused(
            code="text_needs_opt_in",
            detail=f"the lines hold plain text, which is trained without template and only when you ask for it. {opt_in}",
        )
    for spec in _NEEDS:
        if found == spec:
            return spec
    raise DropRefused(code="unknown_keys", detail=_unknown(value, found))


def _preference(value: Mapping[str, Any]) -> str:
    held = [key for key in (*PREFERENCE_KEYS, "label") if key in value]
    return (
        f"the lines hold {', '.join(held)}: this is preference data, and training on it as if every answer were good would "
        "teach the bad ones too. Keep only the good answers as messages, without these keys, and drop the file again"
    )


def _unknown(value: Mapping[str, Any], found: str) -> str:
    keys = shown(value)
    if found == "sharegpt":
        return (
            "the lines hold `conversations` (ShareGPT), which is not read yet. Write each conversation as "
            '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}; a sidecar helps only if '
            f"a column holds such messages already. {_suggestion(_columns(messages='<that column>'))}"
        )
    asks, answers = _guess(value)
    if answers is not None:
        extra = ""
        if found == "alpaca" and value.get("input"):
            extra = (
                " The key input would be kept as metadata and not be trained: join it to the instruction first if it matters."
            )
        return (
            f"the keys {keys} are no known format. {_suggestion(_columns(prompt=asks or '<key>', completion=answers))}{extra}"
        )
    if asks is not None:
        sidecar = {"schema": "weaver.sidecar/1", "spec": "text_v1", "columns": {"text": asks}}
        return f"the keys {keys} are no known format; to train {asks} as plain text: {_suggestion(sidecar)}"
    return (
        f"the keys {keys} are no known format; expected messages, or prompt and completion. "
        f"{_suggestion(_columns(prompt='<key>', completion='<key>'))}"
    )


def _guess(value: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Guess which keys hold the question and the answer: by their names, else the first two that hold text."""
    texts = [key for key in value if isinstance(value[key], str)]
    asks = next((key for name in _ASKS for key in texts if key.lower() == name), None)
    answers = next((key for name in _ANSWERS for key in texts if key.lower() == name), None)
    rest = [key for key in texts if key not in (asks, answers)]
    if asks is None and rest:
        asks = rest.pop(0)
    if answers is None and rest:
        answers = rest.pop(0)
    return asks, answers


def _columns(**columns: str) -> dict[str, Any]:
    return {"schema": "weaver.sidecar/1", "columns": columns}


def _suggestion(sidecar: Mapping[str, Any]) -> str:
    return f"Write beside the file, as <its name>.meta.json: {json.dumps(sidecar, ensure_ascii=False)} and drop it again."


def map_columns(value: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Give a line under the names of the sidecar's columns. Raises LineRefused (wrong_spec) for a column it lacks."""
    if not columns:
        return dict(value)
    for target, source in columns.items():
        if source not in value:
            raise LineRefused(
                code="wrong_spec",
                detail=f"the sidecar takes {target} from {source!r}, which this line lacks; it has {shown(value)}",
            )
    mapped = {target: value[source] for target, source in columns.items()}
    taken = set(columns.values())
    for key, item in value.items():
        if key not in taken:
            mapped[key if key not in mapped else f"{key}_"] = item
    return mapped


def to_line(value: Mapping[str, Any], spec: Spec, is_given: bool) -> Line:
    """Give the canonical line, its messages not yet checked. is_given: the sidecar named the spec, so more keys may be there.

    Raises LineRefused (wrong_spec) for a line of another format.
    """
    found = detect(value)
    missing = [key for key in _NEEDS[spec] if key not in value]
    fits = found == spec or (spec == "chat_sft_v1" and found == "syllo_v1") or (is_given and found != "preference")
    if missing or not fits:
        other = f"this line is {found}" if found != "unknown" else f"this line lacks {', '.join(missing)}"
        raise LineRefused(
            code="wrong_spec", detail=f"the file is {spec}, {other}; it has the keys {', '.join(list(value)[:12])}"
        )
    if spec == "completion_v1":
        return _completion(value)
    if spec == "text_v1":
        text = _text(value, "text")
        return Line(messages=[{"role": "assistant", "content": text}], meta={**_meta(value, "text"), "raw": True})
    return Line(messages=value["messages"], tools=value.get("tools"), meta=_meta(value, "messages", "tools"))


def _completion(value: Mapping[str, Any]) -> Line:
    messages = [
        {"role": "user", "content": _text(value, "prompt")},
        {"role": "assistant", "content": _text(value, "completion")},
    ]
    meta = _meta(value, "prompt", "completion")
    return Line(messages=messages, meta={**meta, "raw": True} if value.get("raw") is True else meta)


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise LineRefused(code="wrong_spec", detail=f"{key} holds {kind_of(text)}; expected text")
    return text


def _meta(value: Mapping[str, Any], *taken: str) -> dict[str, Any]:
    """Keep every other key. `raw` in meta switches the chat template off, so a stray one is kept as raw_."""
    meta = {key: item for key, item in value.items() if key not in taken and key != "raw"}
    if "raw" in value and not ("prompt" in taken and isinstance(value["raw"], bool)):
        meta["raw_"] = value["raw"]
    return meta


def shown(keys: Iterable[str], most: int = 12) -> str:
    """List keys for people, not too many and none too long."""
    names = [key if len(key) <= 40 else key[:40] + "..." for key in islice(keys, most + 1)]
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "") if names else "no keys"


def kind_of(value: object) -> str:
    """Name what JSON calls a value, for people."""
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names[type(value)]

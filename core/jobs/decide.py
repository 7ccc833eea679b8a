"""Which format a dropped file has, or why none, with the sidecar that makes it readable.

Place in the flow: intake asks once per file, with its first object. Reads and writes no file. Invariant: what is suggested is a
whole sidecar that a person can write as it stands; with it the file is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.jobs.formats import (
    BY_NAME,
    FORMATS,
    LIST_KEYS,
    PREFERENCE,
    UNKNOWN,
    DropRefused,
    Format,
    detect,
    preference_reason,
    shown,
)
from core.jobs.job import Sidecar

_ASKS = ("question", "instruction", "query", "input", "problem", "prompt", "user", "source")
_ANSWERS = ("answer", "output", "response", "solution", "completion", "assistant", "target")
_CONTEXTS = ("context", "input", "passage", "document")
_SYSTEMS = ("system", "system_prompt")
_EMPTY: dict[str, Any] = {"schema": "weaver.sidecar/1"}


def decide_format(value: Mapping[str, Any], sidecar: Sidecar) -> Format:
    """Give the format of a file from its first object, columns already mapped. Raises DropRefused with what to do."""
    mapped = sidecar.columns or {}
    found = detect(value, mapped)
    if found == PREFERENCE:
        raise DropRefused(code="preference_data", detail=preference_reason(value))
    if sidecar.spec is not None:
        wanted = [form for form in FORMATS if form.spec == sidecar.spec]
        return next((form for form in wanted if form.fits(value, mapped)), wanted[0])
    if found == "text_v1":
        raise DropRefused(code="text_needs_opt_in", detail=_unwanted_text(mapped))
    if found == UNKNOWN:
        raise DropRefused(code="unknown_keys", detail=_unknown(value, mapped))
    return BY_NAME[found]


def _unwanted_text(mapped: Mapping[str, str]) -> str:
    """Say how plain text is asked for."""
    sidecar = {**_EMPTY, "spec": "text_v1", **({"columns": dict(mapped)} if mapped else {})}
    return f"the lines hold plain text, which is trained without template and only when you ask for it. {_suggestion(sidecar)}"


def _unknown(value: Mapping[str, Any], mapped: Mapping[str, str]) -> str:
    """Say which keys a line has, and the sidecar to write; the file's own names, not those that a sidecar gave them."""
    value = {mapped.get(key, key): item for key, item in value.items()}
    keys = f"the keys {shown(value)} are no known format"
    talk = _talk(value)
    if talk is not None:
        return f"{keys}. {_suggestion(_columns(**talk))}"
    asks, answers = _guess(value)
    if answers is not None:
        return f"{keys}. {_suggestion(_columns(**_mapping(value, asks or '<key>', answers)))}"
    if asks is not None:
        return f"{keys}; to train {asks} as plain text: {_suggestion({**_EMPTY, 'spec': 'text_v1', 'columns': {'text': asks}})}"
    return f"{keys}; expected messages, or prompt and completion. {_suggestion(_columns(prompt='<key>', completion='<key>'))}"


def _columns(**columns: str) -> dict[str, Any]:
    return {**_EMPTY, "columns": columns}


def _suggestion(sidecar: Mapping[str, Any]) -> str:
    return f"Write beside the file, as <its name>.meta.json: {json.dumps(sidecar, ensure_ascii=False)} and drop it again."


def _talk(value: Mapping[str, Any]) -> dict[str, str] | None:
    """Find a column that holds a conversation under another name."""
    for key, item in value.items():
        first = item[0] if isinstance(item, list) and item else None
        if isinstance(first, dict):
            for target, marks in zip(LIST_KEYS, ({"role", "content"}, {"from", "value"}), strict=True):
                if marks <= first.keys():
                    return {target: key}
    return None


def _mapping(value: Mapping[str, Any], asks: str, answers: str) -> dict[str, str]:
    """Map question and answer, and what belongs to the question: to Alpaca's keys if there is more than these two."""
    more = {
        target: key
        for target, names in (("input", _CONTEXTS), ("system", _SYSTEMS))
        if (key := _named(value, names)) is not None and key not in (asks, answers)
    }
    if more and asks in value:
        return {"instruction": asks, "output": answers, **more}
    return {"prompt": asks, "completion": answers}


def _named(value: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Give the key that has the first of these names and holds text."""
    return next((key for name in names for key in value if isinstance(value[key], str) and key.lower() == name), None)


def _guess(value: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Guess which keys hold the question and the answer: by their names, else the first two that hold text."""
    asks, answers = _named(value, _ASKS), _named(value, _ANSWERS)
    if asks == answers:
        asks = None
    rest = [key for key in value if isinstance(value[key], str) and key not in (asks, answers)]
    if asks is None and rest:
        asks = rest.pop(0)
    if answers is None and rest:
        answers = rest.pop(0)
    return asks, answers

"""The formats of dropped lines: what there is, which one a file has, which columns it names (CONTRACTS.md section 5).

Place in the flow: core/jobs/decide asks once per file for the format, core/jobs/conversions makes every line of it a Line, and
core/jobs/spec checks its messages. The README's table is made from FORMATS. Reads and writes no file. Invariants: no format is
guessed: what fits none is refused with the sidecar to write; preference data is known by its names, whatever a sidecar maps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from core.errors import InvalidData, LineRefused
from core.jobs.job import Spec

PREFERENCE_KEYS = ("chosen", "rejected", "kto_tag")
SYLLO_KEYS = ("skill", "level", "problem", "answer")
LIST_KEYS = ("messages", "conversations")
PREFERENCE = "preference"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Format:
    """A format: the keys it needs, those it also takes, how it is trained. line and says are for people.

    Every other key of a line is kept as metadata.
    """

    name: str
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    spec: Spec
    line: str
    says: str

    def fits(self, value: Mapping[str, Any], mapped: Collection[str] = ()) -> bool:
        """Say whether a line has what this format needs and, if columns are mapped, uses at least one of them."""
        return all(key in value for key in self.needs) and (
            not mapped or any(key in mapped for key in (*self.needs, *self.takes))
        )


FORMATS = (
    Format(
        "syllo_v1", ("messages", *SYLLO_KEYS), ("tools",), "syllo_v1",
        '{"messages": [...], "skill": "binary", "level": 1, "problem": "...", "answer": "..."}',
        "a conversation whose answer the skill grades at the inbox; a wrong one is left out",
    ),
    Format(
        "chat_sft_v1", ("messages",), ("tools",), "chat_sft_v1",
        '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}], "tools": [...]}',
        'a conversation in OpenAI form, tool calls too; the assistant is trained, but where a message has `"weight": 0`',
    ),
    Format(
        "sharegpt", ("conversations",), ("system", "tools"), "chat_sft_v1",
        '{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}',
        "ShareGPT; also `system`, `function_call` and `observation` turns",
    ),
    Format(
        "alpaca", ("instruction", "output"), ("input", "system", "history", "train_history"), "chat_sft_v1",
        '{"instruction": "...", "input": "...", "output": "...", "system": "...", "history": [["...", "..."]]}',
        'Alpaca; `history` is read but not trained, unless `"train_history": true`',
    ),
    Format(
        "completion_v1", ("prompt", "completion"), ("raw", "tools"), "completion_v1",
        '{"prompt": "...", "completion": "..."}',
        'one user and one assistant turn, or lists of messages; `"raw": true` trains text without a chat template',
    ),
    Format(
        "text_v1", ("text",), (), "text_v1", '{"text": "..."}',
        'plain text, trained whole; only with `"spec": "text_v1"` in the sidecar',
    ),
)  # fmt: skip
BY_NAME = {form.name: form for form in FORMATS}
TARGETS = tuple(dict.fromkeys(key for form in reversed(FORMATS) for key in (*form.needs, *form.takes)))

_NEVER = frozenset(name for key in PREFERENCE_KEYS for name in (key, key.capitalize(), key.upper()))
_LABELS = ("label", "Label", "LABEL")


class DropRefused(InvalidData):
    """{code}: {detail}"""

    code: str
    detail: str


def detect(value: Mapping[str, Any], mapped: Collection[str] = ()) -> str:
    """Name the format of a line, preference or unknown: the first of FORMATS that fits. mapped: keys that a sidecar maps."""
    if is_preference(value):
        return PREFERENCE
    return next((form.name for form in FORMATS if form.fits(value, mapped)), UNKNOWN)


def is_preference(value: Mapping[str, Any]) -> bool:
    """Say whether a line says which of several answers is better, or whether its answer is good; CSV has `true` as text."""
    if not _NEVER.isdisjoint(value):
        return True
    return any(key in value and _is_boolean(value[key]) for key in _LABELS)


def _is_boolean(label: object) -> bool:
    return isinstance(label, bool) or (isinstance(label, str) and label.strip().lower() in ("true", "false"))


def preference_reason(value: Mapping[str, Any]) -> str:
    """Say why preference data is not trained."""
    held = [key for key in value if key in _NEVER or key in _LABELS]
    return (
        f"the lines hold {', '.join(held)}: this is preference data, and training on it as if every answer were good would "
        "teach the bad ones too. Keep only the good answers as messages, without these keys, and drop the file again"
    )


def map_columns(value: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Give a line under the names of the sidecar's columns.

    Raises LineRefused: wrong_spec for a column that it lacks, preference_data when the names would be hidden by the mapping.
    """
    if not columns:
        return dict(value)
    if is_preference(value):
        raise LineRefused(code="preference_data", detail=preference_reason(value))
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


def is_line(value: Mapping[str, Any], columns: Mapping[str, str]) -> bool:
    """Say whether an object is itself a line: it has the columns that are mapped, or some format's keys."""
    return all(source in value for source in columns.values()) if columns else detect(value) != UNKNOWN


def trained_keys(shape: Mapping[str, Any], columns: Mapping[str, str]) -> frozenset[str]:
    """Give those keys of a table that its format takes, as the table names them. shape: key -> True if boolean, else None."""
    try:
        form = BY_NAME.get(detect(map_columns(shape, columns), columns))
    except LineRefused:  # it will be refused line by line
        return frozenset(columns.values())
    return frozenset(columns.get(key, key) for key in (*form.needs, *form.takes)) if form else frozenset()


def format_table() -> str:
    """Give the table of formats in Markdown, in the order in which they are tried."""
    rows = [f"| `{form.line}` | {form.says} | `{form.spec}` |" for form in FORMATS]
    keys = ", ".join(f"`{key}`" for key in PREFERENCE_KEYS)
    return "\n".join(
        [
            "| a line | is read as | spec |",
            "|---|---|---|",
            f"| {keys} or a `label` that is true or false | preference data: the whole file is refused | |",
            *rows,
            '| any other keys | refused, with the sidecar to write: `"columns"` maps them to the keys above | |',
        ]
    )


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

"""Stage QUICK: one line of a drop -> one canonical line, or the reason why not.

Place in the flow: the first of the two stages that every line goes through; core/jobs/validate has both in one. Checked here:
UTF-8, strict JSON, depth, format, roles and their order, content, answers of skills, questions of frozen suites, text that
spells control tokens. Most lines of most files need not come here: core/jobs/plain finds them fine a block at a time. Reads
and writes no file. Invariants: pure: one line, one setting, one verdict; what passes is valid JSON of the file's spec and holds
nothing of an examination.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from core.errors import LineRefused, WeaverError
from core.jobs.conversions import to_line
from core.jobs.formats import detect, kind_of, map_columns
from core.jobs.job import Line, Reason, Spec
from core.jobs.plain import PlainLines
from core.jobs.spec import checked_messages, checked_tools
from core.records import strict_json
from core.text.digest import problem_digest
from core.text.labels import content_text
from core.text.tokens import special_ids

DEEPEST = 60
RESERVED = ("\U000f0000", "\U000f0001")  # transformers wraps control tokens of the input in these while rendering
LONGEST_REASON = 1500

Grader = Callable[[str, int, str, str], bool]
"""(skill, level, problem, answer) -> is it right. Raises WeaverError for an unknown skill, level or problem."""


@dataclass(frozen=True)
class Setting:
    """What one file's lines are checked against. max_length in tokens; eval_digests: of all frozen suite items.

    eval_heads: what their questions begin with (plain.head_of), None when not known. is_given: the sidecar named the spec.
    format: of core/jobs/formats, the one of the spec's name if not given.
    """

    spec: Spec
    tokenizer: Any
    max_length: int
    grade: Grader
    eval_digests: frozenset[str] = frozenset()
    eval_heads: frozenset[bytes] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    is_given: bool = False
    format: str | None = None


def clipped(code: str, detail: str) -> Reason:
    """Make a reason that fits a screen and a record, whatever the data put into it."""
    text = detail.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) > LONGEST_REASON:
        text = f"{text[: LONGEST_REASON - 40]} ... ({len(text)} characters in all)"
    return Reason(code=code, message=text)


def parse_line(data: bytes) -> dict[str, Any]:
    """Parse one line. Raises LineRefused: not_utf8, not_json, wrong_spec for JSON that is no object."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LineRefused(
            code="not_utf8", detail=f"byte {error.start} of the line is not UTF-8 ({error.reason}); save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise LineRefused(
            code="not_utf8", detail="the line holds zero bytes: the file is binary, or UTF-16; save it as UTF-8 text"
        )
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(text)
    try:
        value = strict_json(text)
    except ValueError as error:
        raise LineRefused(code="not_json", detail=f"the line is not JSON: {error}") from error
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise LineRefused(
            code="not_utf8", detail="an escape holds half of a surrogate pair, which is no character; write the whole character"
        ) from error
    if not isinstance(value, dict):
        raise LineRefused(code="wrong_spec", detail=f"the line is {kind_of(value)}; expected one JSON object a line")
    return value


_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{\]}]', re.DOTALL)


def _check_depth(text: str) -> None:
    """Refuse JSON that is nested so deep that parsing or rendering it would overflow. Raises LineRefused (not_json)."""
    depth = 0
    for match in _STRUCTURE.finditer(text):
        mark = match[0][0]
        depth += 1 if mark in "[{" else -1 if mark in "]}" else 0
        if depth > DEEPEST:
            raise LineRefused(code="not_json", detail=f"the line nests lists and objects more than {DEEPEST} deep")


def check(data: bytes, setting: Setting) -> Line:
    """Give the canonical form of a line that passes stage QUICK. Raises LineRefused."""
    value = map_columns(parse_line(data), setting.columns)
    line = to_line(value, setting.format or setting.spec, setting.is_given, setting.columns)
    messages = checked_messages(line.messages, is_raw(line))
    line = Line(messages=messages, tools=checked_tools(line.tools), meta=line.meta)
    _check_leak(line, setting.eval_digests)
    if setting.spec == "syllo_v1" or (detect(value, setting.columns) == "syllo_v1" and not setting.is_given):
        _check_answer(line, setting.grade)
    _check_control(line, setting.tokenizer)
    return line


def plain_lines(setting: Setting) -> PlainLines | None:
    """Give the quick way through this stage, None where no line of a file can go it."""
    if setting.spec != "chat_sft_v1" or setting.format not in (None, "chat_sft_v1") or setting.columns:
        return None
    return PlainLines(_control_texts(setting.tokenizer), setting.eval_digests, setting.eval_heads)


def is_raw(line: Line) -> bool:
    """Say whether a line is trained as it stands, without the chat template."""
    return line.meta.get("raw") is True


def _check_leak(line: Line, digests: frozenset[str]) -> None:
    """Refuse a line that holds an item of a frozen suite. Raises LineRefused (eval_leak)."""
    asked = [content_text(message) for message in line.messages if message["role"] == "user"][-1:]
    problem = line.meta.get("problem")
    texts = [*(asked or [content_text(message) for message in line.messages]), *([problem] if isinstance(problem, str) else [])]
    if any(problem_digest(text) in digests for text in texts):
        raise LineRefused(
            code="eval_leak",
            detail="the line holds a question of a frozen suite: examinations are measured, never trained on. It is left out",
        )


def _check_answer(line: Line, grade: Grader) -> None:
    """Refuse a wrong answer, in the metadata or in what is trained. Raises LineRefused (wrong_spec, wrong_answer)."""
    skill, level, problem, answer = (line.meta.get(key) for key in ("skill", "level", "problem", "answer"))
    is_level = isinstance(level, int) and not isinstance(level, bool)
    if not (isinstance(skill, str) and is_level and isinstance(problem, str) and isinstance(answer, str)):
        raise LineRefused(
            code="wrong_spec", detail="a syllo_v1 line has skill, problem and answer as text and level as a number"
        )
    trained = [content_text(message) for message in line.messages if message["role"] == "assistant"][-1]
    for where, given in (("answer", answer), ("the last assistant message", trained)):
        try:
            is_right = grade(skill, int(level or 0), problem, given)
        except WeaverError as error:
            raise LineRefused(code="wrong_answer", detail=f"it cannot be graded: {error}") from error
        if not is_right:
            raise LineRefused(
                code="wrong_answer", detail=f"{where} {given[:200]!r} is not right for the problem {problem[:300]!r}"
            )


def _control_texts(tokenizer: Any) -> frozenset[str]:
    """Give the literal text of every control token of a tokenizer, and the two characters that the sanitiser reserves."""
    texts = {str(tokenizer.convert_ids_to_tokens(at)) for at in special_ids(tokenizer)}
    return frozenset(text for text in texts.union(RESERVED) if text)


@lru_cache(maxsize=8)
def _control_pattern(tokenizer: Any) -> re.Pattern[str]:
    """Match any of them."""
    return re.compile("|".join(map(re.escape, sorted(_control_texts(tokenizer), key=len, reverse=True))))


def _check_control(line: Line, tokenizer: Any) -> None:
    """Refuse text that spells a control token. Raises LineRefused (control_text)."""
    found = _find(_control_pattern(tokenizer), [line.messages, line.tools])
    if found is not None:
        name = repr(found) if found not in RESERVED else f"the reserved character U+{ord(found):X}"
        raise LineRefused(
            code="control_text",
            detail=f"the text spells {name}, which the model uses to tell turns apart; a text that does could forge a turn. "
            "Write it another way",
        )


def _find(pattern: re.Pattern[str], value: object) -> str | None:
    """Give the first match in any text inside value, keys included."""
    if isinstance(value, str):
        match = pattern.search(value)
        return match[0] if match else None
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        return next((found for item in value if (found := _find(pattern, item)) is not None), None)
    return None

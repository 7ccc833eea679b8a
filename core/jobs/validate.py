"""One line of a drop -> one canonical line with its token length, or the reason why not. The same verdict for every caller.

Place in the flow: intake (watch_inbox) and `weaver data check` call check_line for every line; the trainer encodes what passed
with the same functions of core/text. Reads and writes no file. Invariants: pure: one line, one setting, one verdict; what
passes is valid JSON of the file's spec, holds nothing of an examination, and is trained as it reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from core.errors import LineRefused, WeaverError
from core.jobs.formats import detect, kind_of, map_columns, to_line
from core.jobs.job import Line, Reason, Spec
from core.jobs.spec import checked_messages, checked_tools
from core.records import strict_json
from core.text.digest import problem_digest
from core.text.labels import content_text, encode_conversation
from core.text.tokens import special_ids

DEEPEST = 60
RESERVED = ("\U000f0000", "\U000f0001")  # transformers wraps control tokens of the input in these while rendering
LONGEST_REASON = 1500

Grader = Callable[[str, int, str, str], bool]
"""(skill, level, problem, answer) -> is it right. Raises WeaverError for an unknown skill, level or problem."""


@dataclass(frozen=True)
class Setting:
    """What one file's lines are checked against. max_length in tokens; eval_digests: of all frozen suite items.

    is_given: the sidecar named the spec.
    """

    spec: Spec
    tokenizer: Any
    max_length: int
    grade: Grader
    eval_digests: frozenset[str] = frozenset()
    columns: Mapping[str, str] = field(default_factory=dict)
    is_given: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line that will be trained. data: the canonical line as JSON, no newline; longest: tokens of its longest example."""

    data: bytes
    longest: int
    tokens: int


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


def check_line(data: bytes, setting: Setting) -> Accepted | Reason:
    """Give the canonical form of a line, or why it is refused. Raises nothing for what a line may hold."""
    try:
        value = map_columns(parse_line(data), setting.columns)
        line = to_line(value, setting.spec, setting.is_given)
        is_raw = line.meta.get("raw") is True
        line = Line(messages=checked_messages(line.messages, is_raw), tools=checked_tools(line.tools), meta=line.meta)
        _check_leak(line, setting.eval_digests)
        if setting.spec == "syllo_v1" or (detect(value) == "syllo_v1" and not setting.is_given):
            _check_answer(line, setting.grade)
        _check_control(line, setting.tokenizer)
        longest, total = _measure(line, is_raw, setting)
    except LineRefused as error:
        return clipped(error.code, error.detail)
    return Accepted(data=msgspec.json.encode(line), longest=longest, tokens=total)


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


@lru_cache(maxsize=8)
def _control_pattern(tokenizer: Any) -> re.Pattern[str]:
    """Match the literal text of every control token of a tokenizer, and the two characters that the sanitiser reserves."""
    tokens = {str(tokenizer.convert_ids_to_tokens(at)) for at in special_ids(tokenizer)}
    return re.compile("|".join(re.escape(token) for token in sorted(tokens.union(RESERVED), key=len, reverse=True) if token))


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


@lru_cache(maxsize=8)
def _longest_token(tokenizer: Any) -> int:
    return max(len(token) for token in tokenizer.get_vocab())


def _measure(line: Line, is_raw: bool, setting: Setting) -> tuple[int, int]:
    """Give the tokens of the longest example and of all. Raises LineRefused (over_length and what encoding refuses)."""
    text = sum(len(content_text(message)) for message in line.messages)
    least = text // _longest_token(setting.tokenizer)
    if least > setting.max_length:  # spares the memory of tokenising what cannot fit
        raise _too_long(f"at least {least}", setting.max_length)
    lengths = [len(example.ids) for example in encode_conversation(setting.tokenizer, line.messages, line.tools, raw=is_raw)]
    if max(lengths) > setting.max_length:
        raise _too_long(str(max(lengths)), setting.max_length)
    return max(lengths), sum(lengths)


def _too_long(found: str, most: int) -> LineRefused:
    return LineRefused(
        code="over_length",
        detail=f"the line has {found} tokens, {most} are allowed (max_length of the model); it is left out, never cut",
    )

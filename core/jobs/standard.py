"""Stage STANDARD: canonical lines -> their token lengths, proved to be trained as they read, or the reason why not.

Place in the flow: the second of the two stages that every line goes through, after core/jobs/quick; the trainer encodes what
passed with the same functions of core/text. Reads and writes no file. Invariant: the verdict on a line is the same alone and
among others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from core.errors import LineRefused
from core.jobs.job import Line
from core.jobs.quick import Setting, is_raw
from core.text.batch import Conversation, encode_conversations
from core.text.labels import content_text


@dataclass(frozen=True, slots=True)
class Measured:
    """Tokens of a line: of its longest example, and of all of them."""

    longest: int
    total: int


def measure(lines: Sequence[Line], setting: Setting) -> list[Measured | LineRefused]:
    """Give the token lengths of each line, or why it is refused: over_length, not_exact and what the template refuses."""
    found: list[Measured | LineRefused | None] = [_hopeless(line, setting) for line in lines]
    rest = [at for at, refused in enumerate(found) if refused is None]
    conversations = [Conversation(lines[at].messages, lines[at].tools, is_raw(lines[at])) for at in rest]
    for at, examples in zip(rest, encode_conversations(setting.tokenizer, conversations), strict=True):
        if isinstance(examples, LineRefused):
            found[at] = examples
            continue
        lengths = [len(example.ids) for example in examples]
        is_long = max(lengths) > setting.max_length
        found[at] = _too_long(str(max(lengths)), setting) if is_long else Measured(max(lengths), sum(lengths))
    return [one for one in found if one is not None]


def _hopeless(line: Line, setting: Setting) -> LineRefused | None:
    """Refuse what cannot fit without tokenising it, which would take much memory."""
    least = sum(len(content_text(message)) for message in line.messages) // _longest_token(setting.tokenizer)
    return _too_long(f"at least {least}", setting) if least > setting.max_length else None


@lru_cache(maxsize=8)
def _longest_token(tokenizer: Any) -> int:
    return max(len(token) for token in tokenizer.get_vocab())


def _too_long(found: str, setting: Setting) -> LineRefused:
    return LineRefused(
        code="over_length",
        detail=f"the line has {found} tokens, {setting.max_length} are allowed (max_length of the model); "
        "it is left out, never cut",
    )

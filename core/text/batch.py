"""Many conversations -> examples at once: the labels of core/text/labels.py, in a third of the time.

Place in the flow: intake and the trainer encode lines here. Reads and writes no file. Invariant: the result of every
conversation is the one that labels.encode_conversation gives. A conversation of plain messages is rendered and encoded once, in
one batch with others, and its examples are taken only if everything that makes them certain holds; whatever is not certain is
done again by encode_conversation.

Why the ids of a prompt need not be made again: a tokenizer cuts its added tokens out of a text first and encodes each piece
between them by itself. So the ids of a prompt, whose text begins the whole text, begin the ids of the whole up to the prompt's
last added token (both hold the same ones in the same order, which is checked), and only the few characters after it, such as
`assistant` and a newline, could be cut otherwise before an answer than at the end: their ids are compared.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import LineRefused
from core.text.labels import Example, Tools, Turn, encode_conversation, labelled, trained_messages
from core.text.tokens import NOT_TEXT, TEMPLATE_OPTIONS, Message, decode_ids, special_ids

BATCH_CHARACTERS = 32 * 1024
"""Text that is encoded at once: enough to share the cost of a call, little enough that its tokens take few megabytes."""

_PLAIN_KEYS = frozenset(["role", "content", "weight"])
_KEPT_TAILS = 64
_known: weakref.WeakKeyDictionary[Any, _Marks] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Conversation:
    """One line to encode, as encode_conversation takes it."""

    messages: Sequence[Message]
    tools: Tools = None
    raw: bool = False

    @property
    def characters(self) -> int:
        """Give the length of its contents."""
        return sum(len(content) for message in self.messages if isinstance(content := message.get("content"), str))


@dataclass(frozen=True, slots=True)
class _Marks:
    """The added tokens of a tokenizer, where all are of the simple kind. tails: what was learnt of texts after a token.

    written: matches each as the tokenizer finds them; in_text: matches those that a text must not hold.
    """

    ids: dict[str, int]
    special: frozenset[int]
    known: frozenset[int]
    written: re.Pattern[str]
    in_text: re.Pattern[str]
    ends: dict[int, str] = field(default_factory=dict)
    tails: dict[str, list[int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Candidate:
    """A conversation on its way: the place in the list it came from, its trained messages, text and ids."""

    at: int
    messages: Sequence[Message]
    trained: list[int]
    text: str = ""
    prompts: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    turns: list[tuple[int, int]] = field(default_factory=list)


def encode_conversations(tokenizer: Any, conversations: Sequence[Conversation]) -> list[list[Example] | LineRefused]:
    """Give for each conversation what encode_conversation gives for it alone, or the LineRefused that it raises."""
    results: list[list[Example] | LineRefused | None] = [None] * len(conversations)
    marks = _marks_of(tokenizer)
    if marks is not None:
        for batch in _batches(conversations, marks):
            for candidate, example in _certain(tokenizer, batch, marks):
                results[candidate.at] = [example]
    return [_exact(tokenizer, conversations[at]) if done is None else done for at, done in enumerate(results)]


def _exact(tokenizer: Any, conversation: Conversation) -> list[Example] | LineRefused:
    try:
        return encode_conversation(tokenizer, conversation.messages, conversation.tools, raw=conversation.raw)
    except LineRefused as error:
        return error


def _marks_of(tokenizer: Any) -> _Marks | None:
    """Give what is known of the tokenizer's added tokens; None where they are not of the simple kind, or there are none."""
    if tokenizer in _known:
        marks = _known[tokenizer]
        return marks if marks.ids else None
    added = tokenizer.added_tokens_decoder
    has_normalizer = tokenizer.backend_tokenizer.normalizer is not None
    is_simple = all(
        token.content and not (token.single_word or (token.normalized and has_normalizer)) for token in added.values()
    )
    ids = {str(token.content): int(at) for at, token in added.items()} if is_simple else {}
    longest_first = sorted(ids, key=len, reverse=True)
    special = special_ids(tokenizer)
    marks = _Marks(
        ids=ids, special=special, known=special.union(ids.values()), written=_any_of(longest_first),
        in_text=_any_of([content for content in longest_first if not content.isspace()]),
    )  # fmt: skip
    _known[tokenizer] = marks
    return marks if ids else None


def _any_of(texts: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, texts)) or "(?!)")


def _batches(conversations: Sequence[Conversation], marks: _Marks) -> Iterator[list[_Candidate]]:
    """Give the conversations that may be done at once, so many at a time that their text is bounded."""
    batch: list[_Candidate] = []
    characters = 0
    for at, conversation in enumerate(conversations):
        candidate = _candidate(at, conversation, marks)
        if candidate is not None:
            batch.append(candidate)
            characters += conversation.characters
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _candidate(at: int, conversation: Conversation, marks: _Marks) -> _Candidate | None:
    """Take a conversation of plain messages whose texts hold nothing that must be made harmless, else give None."""
    if conversation.raw or conversation.tools or not conversation.messages:
        return None
    for message in conversation.messages:
        content, role = message.get("content"), message.get("role")
        if type(content) is not str or type(role) is not str or not message.keys() <= _PLAIN_KEYS:
            return None
        for text in (content, role):
            if marks.in_text.search(text) or not (text.isascii() or NOT_TEXT.search(text) is None):
                return None
    try:
        trained = trained_messages(conversation.messages)
    except LineRefused:
        return None
    return None if trained[0] == 0 else _Candidate(at, conversation.messages, trained)


def _certain(tokenizer: Any, batch: list[_Candidate], marks: _Marks) -> Iterator[tuple[_Candidate, Example]]:
    """Encode a batch and give those candidates whose example is certain."""
    if not _render(tokenizer, batch):
        return
    batch = [one for one in batch if all(one.text.startswith(prompt) for prompt in one.prompts)]
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = False
    for one, encoding in zip(
        batch, backend.encode_batch_fast([one.text for one in batch], add_special_tokens=False), strict=True
    ):
        one.ids = encoding.ids
        one.turns = _spans(tokenizer, one, marks)
    spans = [one.ids[start:end] for one in batch for start, end in one.turns]
    texts = iter(backend.decode_batch(spans, skip_special_tokens=False))
    for one in batch:
        said = [next(texts) for _ in one.turns]
        turns = [
            Turn(message=message, start=start, end=end, text=text)
            for message, (start, end), text in zip(one.trained, one.turns, said, strict=False)
            if text == one.messages[message]["content"] + _end_text(tokenizer, one.ids[end - 1], marks)
        ]
        if len(turns) == len(one.trained):
            yield one, labelled(one.ids, turns)


def _render(tokenizer: Any, batch: list[_Candidate]) -> bool:
    """Render the whole conversations and their prompts; False when the template refuses one of them."""
    from jinja2 import TemplateError

    shown = [[{key: text for key, text in message.items() if key != "weight"} for message in one.messages] for one in batch]
    prompts = [messages[:at] for one, messages in zip(batch, shown, strict=True) for at in one.trained]
    options: dict[str, Any] = {"tokenize": False, **TEMPLATE_OPTIONS}
    try:
        whole = tokenizer.apply_chat_template(shown, add_generation_prompt=False, **options)
        opened = iter(tokenizer.apply_chat_template(prompts, add_generation_prompt=True, **options))
    except (TemplateError, TypeError, ValueError):
        return False
    for one, text in zip(batch, whole, strict=True):
        one.text, one.prompts = text, [next(opened) for _ in one.trained]
    return True


def _spans(tokenizer: Any, one: _Candidate, marks: _Marks) -> list[tuple[int, int]]:
    """Give the trained spans of the ids, as many as there are trained messages; fewer when one is not certain."""
    places = [place for place, at in enumerate(one.ids) if at in marks.known]
    found = list(marks.written.finditer(one.text))
    if [one.ids[place] for place in places] != [marks.ids[match[0]] for match in found]:
        return []
    spans: list[tuple[int, int]] = []
    for prompt in one.prompts:
        before = sum(match.end() <= len(prompt) for match in found)
        if before == 0:
            return []
        last = found[before - 1]
        tail = _tail_ids(tokenizer, last[0], prompt[last.end() :], marks)
        start = places[before - 1] + 1 + len(tail)
        end = next((place + 1 for place in places[before:] if one.ids[place] in marks.special), None)
        if end is None or one.ids[start - len(tail) : start] != tail:
            return []
        spans.append((start, end))
    return spans


def _tail_ids(tokenizer: Any, token: str, tail: str, marks: _Marks) -> list[int]:
    """Give the ids of what a prompt holds after its last added token."""
    key = token + tail
    if key not in marks.tails:
        if len(marks.tails) >= _KEPT_TAILS:
            marks.tails.clear()
        marks.tails[key] = list(tokenizer.backend_tokenizer.encode(key, add_special_tokens=False).ids)[1:]
    return marks.tails[key]


def _end_text(tokenizer: Any, at: int, marks: _Marks) -> str:
    if at not in marks.ends:
        marks.ends[at] = decode_ids(tokenizer, [at])
    return marks.ends[at]

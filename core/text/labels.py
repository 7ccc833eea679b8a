"""Labels by construction: a conversation -> ids, labels and turns, made turn by turn from the structure.

Place in the flow: `watch_inbox`, `weaver data preview`, the trainer and the oracle all call these functions; no text is ever
searched for marker tokens. Invariant: a label other than IGNORED stands on exactly the content and the end token of an
assistant turn that carries weight, and decoding it gives exactly that text; a line for which this fails is refused.

Source: the trained span of an assistant turn is what follows the ids of the prompt rendered up to it with its generation
prompt, up to and including the first special token (DESIGN.md section 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from core.errors import LineRefused, TemplateRefused
from core.text.tokens import Message, decode_ids, encode_chat, encode_plain, encode_prompt, special_ids

IGNORED = -100
Tools = Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Turn:
    """A trained span: ids[start:end] of the example, the index of its message, and the text it decodes to."""

    message: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """One row to train on. labels[i] is ids[i] inside a turn and IGNORED elsewhere; both have the same length."""

    ids: list[int]
    labels: list[int]
    turns: tuple[Turn, ...]


def content_text(message: Message) -> str:
    """Give a message's content as one string; text parts are joined, nothing is the empty string."""
    content = message.get("content")
    if content is None:
        return ""
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


def trained_messages(messages: Sequence[Message]) -> list[int]:
    """Give the indexes of the assistant messages that carry weight. Raises LineRefused when there is none."""
    assistants = [at for at, message in enumerate(messages) if message.get("role") == "assistant"]
    if not assistants:
        raise LineRefused(code="no_assistant", detail="no message has the role assistant; expected at least one")
    trained = [at for at in assistants if messages[at].get("weight", 1) != 0]
    if not trained:
        raise LineRefused(code="nothing_to_train", detail="every assistant message has weight 0; expected one with 1")
    return trained


def encode_conversation(
    tokenizer: Any, messages: Sequence[Message], tools: Tools = None, *, raw: bool = False
) -> list[Example]:
    """Give the examples of one line: one for the whole, or one an assistant turn where the template rewrites history.

    raw: no template; the contents are joined as they stand, the assistant's are trained. Raises LineRefused with one of the
    codes control_text, bad_role, no_assistant, nothing_to_train, not_exact.
    """
    trained = trained_messages(messages)
    if raw:
        return [_raw_example(tokenizer, messages)]
    try:
        return [_example(tokenizer, messages, tools, trained)]
    except LineRefused as error:
        if error.code != "not_exact":
            raise
    return [_example(tokenizer, messages[: at + 1], tools, [at]) for at in trained]


def _example(tokenizer: Any, messages: Sequence[Message], tools: Tools, trained: Sequence[int]) -> Example:
    """Encode messages as one example. Raises LineRefused."""
    ids = encode_chat(tokenizer, messages, tools, prompt=False)
    turns = []
    for at in trained:
        if at == 0:
            raise LineRefused(
                code="bad_role", detail="the conversation opens with the assistant; expected a user message before it"
            )
        prompt = encode_prompt(tokenizer, messages[:at], tools)
        if ids[: len(prompt)] != prompt:
            raise LineRefused(
                code="not_exact", detail=f"the prompt before message {at} is not how the rendered conversation begins"
            )
        turns.append(_turn(tokenizer, ids, len(prompt), at, messages[at]))
    return labelled(ids, turns)


def _turn(tokenizer: Any, ids: list[int], start: int, at: int, message: Message) -> Turn:
    """Find the end of the turn that starts at ids[start] and prove its text. Raises LineRefused (not_exact)."""
    ends = special_ids(tokenizer)
    end = next((place + 1 for place in range(start, len(ids)) if ids[place] in ends), None)
    if end is None:
        raise LineRefused(code="not_exact", detail="the template writes no special token after an assistant message")
    text, end_token = decode_ids(tokenizer, ids[start:end]), decode_ids(tokenizer, ids[end - 1 : end])
    if not _says(text, message, end_token):
        raise LineRefused(
            code="not_exact",
            detail=f"the trained tokens of message {at} read {text!r}; expected {content_text(message)!r} and an end token",
        )
    return Turn(message=at, start=start, end=end, text=text)


def _says(text: str, message: Message, end_token: str) -> bool:
    """Say whether a decoded turn is the message: content and end token, with the names of its tool calls in between."""
    content = content_text(message)
    calls = message.get("tool_calls")
    if not calls:
        return text == content + end_token
    if not (text.startswith(content) and text.endswith(end_token)):
        return False
    place = len(content)
    for call in calls:
        name = str((call.get("function") or call)["name"])
        place = text.find(name, place)
        if place < 0:
            return False
        place += len(name)
    return True


def labelled(ids: list[int], turns: Sequence[Turn]) -> Example:
    labels = [IGNORED] * len(ids)
    for turn in turns:
        labels[turn.start : turn.end] = ids[turn.start : turn.end]
    return Example(ids=ids, labels=labels, turns=tuple(turns))


def _raw_example(tokenizer: Any, messages: Sequence[Message]) -> Example:
    """Join prompt and completion as they stand, begin token before and end token after; train the completion.

    Each is encoded by itself, as the oracle encodes a prompt that it continues. The first token of a row has nothing before
    it to be predicted from, so a text without prompt and begin token is trained from its second token on.
    """
    if [message.get("role") for message in messages] not in (["user", "assistant"], ["assistant"]):
        raise LineRefused(code="bad_role", detail="a raw line is one assistant message, or one user message before it")
    completion = len(messages) - 1
    ids = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    for message in messages[:completion]:
        ids += encode_plain(tokenizer, content_text(message))
    start = len(ids)
    ids += [*encode_plain(tokenizer, content_text(messages[completion])), int(tokenizer.eos_token_id)]
    if not _says(decode_ids(tokenizer, ids[start:]), messages[completion], decode_ids(tokenizer, ids[-1:])):
        raise LineRefused(code="not_exact", detail="the tokenizer does not give the completion back as it was written")
    start = max(start, 1)
    turn = Turn(message=completion, start=start, end=len(ids), text=decode_ids(tokenizer, ids[start:]))
    return labelled(ids, [turn])


def trained_regions(labels: Sequence[int]) -> list[tuple[int, int]]:
    """Give the maximal runs of trained labels, half-open."""
    flags = [False, *(label != IGNORED for label in labels), False]
    edges = [at for at, (before, after) in enumerate(pairwise(flags)) if before != after]
    return list(zip(edges[::2], edges[1::2], strict=True))


def marked_text(tokenizer: Any, ids: Sequence[int], labels: Sequence[int], marks: tuple[str, str] = ("[[", "]]")) -> str:
    """Decode a row with its trained regions between two marks: brackets, or the colour codes of a terminal."""
    text, place = "", 0
    for start, end in trained_regions(labels):
        text += decode_ids(tokenizer, ids[place:start]) + marks[0] + decode_ids(tokenizer, ids[start:end]) + marks[1]
        place = end
    return text + decode_ids(tokenizer, ids[place:])


def prove_template(tokenizer: Any, name: str) -> None:
    """Prove on canned conversations that labels can be made and turns cannot be forged. Raises TemplateRefused naming it."""
    if not tokenizer.chat_template:
        raise TemplateRefused(where=name, detail="it has no chat template.")
    if tokenizer.eos_token_id is None:
        raise TemplateRefused(where=name, detail="it has no end-of-text token.")
    hostile = " ".join(sorted(tokenizer.all_special_tokens))
    try:
        expected = _control_counts(tokenizer, "")
        found = _control_counts(tokenizer, hostile)
    except LineRefused as error:
        raise TemplateRefused(where=name, detail=f"a canned conversation was refused ({error}).") from error
    if found != expected:
        raise TemplateRefused(
            where=name, detail=f"text can forge turns: {found} control tokens, expected {expected} of a canned conversation."
        )


def _control_counts(tokenizer: Any, insertion: str) -> list[int]:
    """Count the special tokens of each example of a two-turn conversation whose user messages hold the insertion."""
    specials = special_ids(tokenizer)
    talk = [
        {"role": "user", "content": f"a {insertion} b"},
        {"role": "assistant", "content": "c d"},
        {"role": "user", "content": f"e {insertion} f"},
        {"role": "assistant", "content": "g h"},
    ]
    return [sum(at in specials for at in example.ids) for example in encode_conversation(tokenizer, talk)]

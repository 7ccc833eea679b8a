"""Requests as the worker sees them: rows to make when their turn comes, and a result to make when the rows are over.

Place in the flow: handlers build one of these and submit it; begin() and finish() run in the worker thread, where the
tokenizers live. Invariant: an answer carries the checkpoint and weights_id of the very object that computed it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import LineRefused
from core.http.oracle import BatchAnswer, BatchAnswers, ScoreAnswer
from core.text.tokens import decode_ids, encode_plain, encode_prompt
from trainer.serve.api_errors import ApiError, as_api_error, invalid, too_long
from trainer.serve.generate import Choice, Row
from trainer.serve.loaded import Loaded, Target
from trainer.serve.openai_requests import GREEDY, Prompt, Wish, read_messages
from trainer.serve.score import score_continuations
from trainer.serve.text import TextStream


@dataclass(frozen=True, slots=True)
class Origin:
    """Which weights answered."""

    id: str
    weights_id: str
    step: int

    @classmethod
    def of(cls, loaded: Loaded) -> Origin:
        """Describe a loaded checkpoint."""
        return cls(loaded.id, loaded.weights_id, loaded.step)


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token as it is reported; top: (text, logprob) of the likeliest."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished answer. tokens: how many were generated, the end token included; shown: those to report, without it."""

    text: str
    finish: str
    prompt_tokens: int
    tokens: int
    logprob: float
    seconds: float
    shown: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """All answers of one request."""

    origin: Origin
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Began:
    """A stream has begun: the request was good and these weights answer it."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a streamed answer: of the prompt with this index."""

    index: int
    text: str
    shown: tuple[Token, ...]


def encode_messages(loaded: Loaded, messages: Sequence[dict[str, Any]]) -> list[int]:
    """Render a conversation. Raises LineRefused, ApiError (context_length_exceeded)."""
    return _fitting(loaded, encode_prompt(loaded.tokenizer, messages, None), "messages")


def encode_text(loaded: Loaded, prompt: Prompt) -> list[int]:
    """Encode a plain prompt, or check one of ids. Raises LineRefused, ApiError."""
    if isinstance(prompt, str):
        return _fitting(loaded, encode_plain(loaded.tokenizer, prompt), "prompt")
    _check_ids(loaded, prompt, "prompt")
    return _fitting(loaded, list(prompt), "prompt")


def _check_ids(loaded: Loaded, ids: Sequence[int], param: str) -> None:
    if not all(0 <= id_ < loaded.vocabulary for id_ in ids):
        raise invalid(param, f"a token id is outside of 0 to {loaded.vocabulary - 1}")


def _fitting(loaded: Loaded, ids: list[int], param: str) -> list[int]:
    if not ids:
        raise invalid(param, "it has no tokens")
    if len(ids) >= loaded.context:
        raise too_long(len(ids), loaded.context, param)
    return ids


class Completion:
    """A chat or a completions request. emit, set before it is submitted, takes Began and Pieces in the worker's thread."""

    def __init__(
        self,
        target: Target,
        prompts: Sequence[Prompt | list[dict[str, Any]]],
        encode: Callable[[Loaded, Any], list[int]],
        wish: Wish,
    ) -> None:
        self.target, self.size = target, len(prompts)
        self.emit: Callable[[Began | Piece], None] | None = None
        self._prompts, self._encode, self._wish = prompts, encode, wish
        self._rows: list[Row] = []
        self._streams: list[TextStream | None] = []

    def begin(self, loaded: Loaded) -> list[Row]:
        """Encode the prompts and make the rows."""
        encoded = [self._encode(loaded, prompt) for prompt in self._prompts]
        self._streams = [self._stream(loaded, at) for at in range(len(encoded))]
        self._rows = [
            _row(loaded, ids, self._wish, stream.push if stream else None)
            for ids, stream in zip(encoded, self._streams, strict=True)
        ]
        if self.emit is not None:
            self.emit(Began(Origin.of(loaded)))
        return self._rows

    def finish(self, loaded: Loaded) -> Answered:
        """Give the answers. Raises ApiError when the model failed."""
        for row in self._rows:
            if row.error is not None:
                raise ApiError(500, "model_failed", f"{loaded.id} gave no answer: {row.error}")
        answers = []
        for row, stream in zip(self._rows, self._streams, strict=True):
            if stream is not None:
                stream.close()
            answers.append(_answer(loaded, row, self._wish, stream.text if stream else None))
        return Answered(Origin.of(loaded), tuple(answers))

    def _stream(self, loaded: Loaded, index: int) -> TextStream | None:
        """Follow the text as it grows, where somebody reads it or a stop string may end it."""
        emit = self.emit
        if emit is None:
            return TextStream(loaded.tokenizer, self._wish.stops) if self._wish.stops else None

        def give(text: str, choices: list[Choice]) -> None:
            emit(Piece(index, text, _shown(loaded, choices) if self._wish.logprobs else ()))

        return TextStream(loaded.tokenizer, self._wish.stops, give)


class Batch:
    """Many conversations, answered greedily. One that cannot be rendered is an error of its own."""

    def __init__(self, target: Target, conversations: Sequence[list[dict[str, Any]]], max_tokens: int) -> None:
        self.target, self.size = target, len(conversations)
        self._conversations, self._max_tokens = conversations, max_tokens
        self._rows: list[Row | str] = []

    def begin(self, loaded: Loaded) -> list[Row]:
        """Render what can be rendered."""
        self._rows = [self._make(loaded, messages) for messages in self._conversations]
        return [row for row in self._rows if isinstance(row, Row)]

    def finish(self, loaded: Loaded) -> BatchAnswers:
        """Give an answer or an error for each conversation."""
        answers = [_batch_answer(loaded, row) for row in self._rows]
        return BatchAnswers(model=loaded.id, system_fingerprint=loaded.weights_id, answers=answers)

    def _make(self, loaded: Loaded, messages: list[dict[str, Any]]) -> Row | str:
        try:
            ids = encode_messages(loaded, read_messages(messages))
        except (ApiError, LineRefused) as error:
            return as_api_error(error).detail
        return _row(loaded, ids, GREEDY, None, self._max_tokens)


def _row(
    loaded: Loaded, ids: list[int], wish: Wish, watch: Callable[[Choice], bool] | None, max_tokens: int | None = None
) -> Row:
    most = max_tokens or wish.max_tokens or loaded.context
    return Row(
        prompt=ids, limit=min(most, loaded.context - len(ids)), ends=loaded.ends, temperature=wish.temperature,
        top_p=wish.top_p, seed=wish.seed, top=wish.top, watch=watch,
    )  # fmt: skip


def _without_end(loaded: Loaded, choices: Sequence[Choice]) -> Sequence[Choice]:
    return choices[:-1] if choices and choices[-1].id in loaded.ends else choices


def _text(loaded: Loaded, row: Row) -> str:
    return decode_ids(loaded.tokenizer, [choice.id for choice in _without_end(loaded, row.choices)])


def _shown(loaded: Loaded, choices: Sequence[Choice]) -> tuple[Token, ...]:
    def read(id_: int) -> str:
        return decode_ids(loaded.tokenizer, [id_])

    return tuple(
        Token(read(choice.id), choice.logprob, tuple((read(id_), logprob) for id_, logprob in choice.top)) for choice in choices
    )


def _answer(loaded: Loaded, row: Row, wish: Wish, text: str | None) -> Answer:
    return Answer(
        text=_text(loaded, row) if text is None else text, finish=row.finish or "length", prompt_tokens=len(row.prompt),
        tokens=len(row.choices), logprob=sum(choice.logprob for choice in row.choices), seconds=row.seconds,
        shown=_shown(loaded, _without_end(loaded, row.choices)) if wish.logprobs else (),
    )  # fmt: skip


def _batch_answer(loaded: Loaded, row: Row | str) -> BatchAnswer:
    error = row if isinstance(row, str) else row.error
    if isinstance(row, str) or error is not None:
        return BatchAnswer(
            model=loaded.id, system_fingerprint=loaded.weights_id, text=None, finish_reason=None, logprob=None, tokens=None,
            ms=None, error=error,
        )  # fmt: skip
    answer = _answer(loaded, row, GREEDY, None)
    return BatchAnswer(
        model=loaded.id, system_fingerprint=loaded.weights_id, text=answer.text, finish_reason=answer.finish,
        logprob=answer.logprob, tokens=answer.tokens, ms=round(answer.seconds * 1e3, 3), error=None,
    )  # fmt: skip


def score_pairs(loaded: Loaded, pairs: Sequence[tuple[list[int], list[int]]]) -> list[ScoreAnswer]:
    """Score (prompt_ids, completion_ids) pairs. Raises ApiError."""
    for prompt, completion in pairs:
        _check_ids(loaded, prompt, "prompt_ids")
        _check_ids(loaded, completion, "completion_ids")
        if not prompt or not completion:
            raise invalid("completion", "a prompt or a completion has no tokens")
        if len(prompt) + len(completion) > loaded.context:
            raise too_long(len(prompt) + len(completion), loaded.context, "completion")
    scores = score_continuations(loaded.net, pairs, loaded.pad_id)
    return [
        ScoreAnswer(
            model=loaded.id, system_fingerprint=loaded.weights_id, tokens=list(completion), logprobs=logprobs,
            sum=sum(logprobs),
        )
        for (_, completion), logprobs in zip(pairs, scores, strict=True)
    ]  # fmt: skip

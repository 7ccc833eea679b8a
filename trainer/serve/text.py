"""From tokens to text, as they come: whole characters only, and nothing that a stop string may still take back.

Place in the flow: the worker pushes each token of a streamed or stop-bounded answer through a TextStream. Invariant: what has
been given out, joined, is the decoded answer up to the first stop string.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from core.text.tokens import decode_ids
from trainer.serve.generate import Choice

# What the bytes of a character that is not whole yet are decoded to.
BROKEN = "\ufffd"

Emit = Callable[[str, list[Choice]], None]


class TextStream:
    """One answer growing. emit is called with each new piece of text and the tokens since the piece before."""

    def __init__(self, tokenizer: Any, stops: Sequence[str] = (), emit: Emit | None = None) -> None:
        self._tokenizer, self._stops, self._emit = tokenizer, tuple(stops), emit
        self._ids: list[int] = []
        # ids[:_read] are decoded; decoding goes on from _start, because how a token reads may depend on the one before.
        self._start = self._read = 0
        self._held = ""
        self._waiting: list[Choice] = []
        self._is_over = False
        self.text = ""

    def push(self, choice: Choice) -> bool:
        """Take a token; say whether the answer ends before or with it."""
        self._ids.append(choice.id)
        self._waiting.append(choice)
        self._held += self._decode(final=False)
        cut = min((at for at in (self._held.find(stop) for stop in self._stops) if at >= 0), default=None)
        if cut is not None:
            self._is_over = True
            self._release(cut)
            return True
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        self._release(len(self._held) - keep)
        return False

    def close(self) -> None:
        """Give out what was held back, once no more tokens come."""
        if not self._is_over:
            self._is_over = True
            self._held += self._decode(final=True)
            self._release(len(self._held))

    def _decode(self, final: bool) -> str:
        """Give the text of the tokens not yet decoded, once its last character is whole."""
        now = decode_ids(self._tokenizer, self._ids[self._start :])
        if now.endswith(BROKEN) and not final:
            return ""
        before = decode_ids(self._tokenizer, self._ids[self._start : self._read])
        self._start, self._read = self._read, len(self._ids)
        return now[len(before) :]

    def _release(self, count: int) -> None:
        """Give out the first count characters of what is held."""
        text, self._held = self._held[:count], self._held[count:]
        self.text += text
        if self._emit is not None and (text or (self._is_over and self._waiting)):
            given, self._waiting = self._waiting, []
            self._emit(text, given)


def _overlap(text: str, stop: str) -> int:
    """Give the length of the longest end of text that begins stop."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)

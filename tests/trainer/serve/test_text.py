"""Text as it grows: whole characters, stop strings held back, and joined it is the decoded answer."""

from __future__ import annotations

import random
from typing import Any

import pytest

from core.paths import Paths
from core.text.tokens import decode_ids, encode_plain, load_tokenizer
from tests.trainer.serve.oracle_home import name_of
from trainer.serve.generate import Choice
from trainer.serve.text import TextStream


@pytest.fixture(scope="module")
def tokenizer(template: Paths) -> Any:
    return load_tokenizer(template.model("tiny").checkpoint(name_of(0)))


class Listener:
    """Keeps what a stream gives out."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.ids: list[int] = []

    def __call__(self, text: str, choices: list[Choice]) -> None:
        self.pieces.append(text)
        self.ids += [choice.id for choice in choices]


def grow(tokenizer: Any, ids: list[int], stops: tuple[str, ...] = ()) -> tuple[TextStream, Listener, int]:
    """Push ids until the stream stops; give it, what it gave out, and how many were pushed."""
    heard = Listener()
    stream = TextStream(tokenizer, stops, heard)
    pushed = 0
    for id_ in ids:
        pushed += 1
        if stream.push(Choice(id_, -1.0)):
            break
    stream.close()
    return stream, heard, pushed


@pytest.mark.parametrize("seed", range(30))
def test_pieces_joined_are_the_decoded_answer_even_of_broken_bytes(tokenizer: Any, seed: int) -> None:
    rng = random.Random(seed)
    ids = [rng.randrange(320) for _ in range(200)]
    stream, heard, pushed = grow(tokenizer, ids)
    assert "".join(heard.pieces) == stream.text == decode_ids(tokenizer, ids)
    assert (heard.ids, pushed) == (ids, 200)


def test_characters_of_several_bytes_come_whole(tokenizer: Any) -> None:
    text = "Grüße ⓪① 😀 日本"
    _, heard, _ = grow(tokenizer, encode_plain(tokenizer, text))
    assert "".join(heard.pieces) == text
    assert not any("\ufffd" in piece for piece in heard.pieces)
    assert "😀" in heard.pieces


def test_cut_off_character_shows_as_replacement(tokenizer: Any) -> None:
    stream, _, _ = grow(tokenizer, encode_plain(tokenizer, "a😀")[:-1])
    assert stream.text == "a\ufffd"


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one two three", (" two",), "one"), ("one two three", ("three", "two"), "one "), ("aaab", ("aab",), "a"),
        ("ababac", ("abac",), "ab"), ("no stop here", ("XYZ",), "no stop here"), ("ends with st", ("stop",), "ends with st"),
        ("x\n\ny", ("\n",), "x"), ("stop", ("stop",), ""),
    ],
)  # fmt: skip
def test_stop_string_ends_the_text_before_it(tokenizer: Any, text: str, stops: tuple[str, ...], expected: str) -> None:
    ids = encode_plain(tokenizer, text)
    stream, heard, pushed = grow(tokenizer, ids, stops)
    assert "".join(heard.pieces) == stream.text == expected
    assert heard.ids == ids[:pushed]
    assert not any(stop in "".join(heard.pieces) for stop in stops)


def test_possible_start_of_a_stop_string_is_held_back(tokenizer: Any) -> None:
    heard = Listener()
    stream = TextStream(tokenizer, ("</end>",), heard)
    for id_ in encode_plain(tokenizer, "a</en"):
        stream.push(Choice(id_, -1.0))
    assert "".join(heard.pieces) == "a"
    stream.push(Choice(encode_plain(tokenizer, "x")[0], -1.0))
    assert "".join(heard.pieces) == "a</enx"

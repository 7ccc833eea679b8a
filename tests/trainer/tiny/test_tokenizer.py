"""The tokenizer of the embedded default: whole words, exact bytes, a template that renders every role."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from core.text.tokens import load_tokenizer
from trainer.tiny.tokenizer import CIRCLED_DIGITS, SPECIALS, VOCABULARY, WHOLE_WORDS, build_tokenizer, save_tokenizer

TOKENIZER = build_tokenizer()


def ids_of(text: str) -> list[int]:
    return [int(at) for at in TOKENIZER.encode(text, add_special_tokens=False)]


def pieces(text: str) -> list[str]:
    return [str(TOKENIZER.decode([at])) for at in ids_of(text)]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.text(), st.sampled_from([*SPECIALS, *WHOLE_WORDS, *CIRCLED_DIGITS, "👩‍👩‍👧", " ", "\n"]))))
def test_any_text_round_trips_exactly(parts: list[str]) -> None:
    text = "".join(parts)
    ids = ids_of(text)
    assert TOKENIZER.decode(ids) == text
    assert all(0 <= at < VOCABULARY for at in ids)


def test_vocabulary_is_full_and_every_entry_has_its_own_id() -> None:
    assert len(TOKENIZER) == VOCABULARY
    assert sorted(TOKENIZER.get_vocab().values()) == list(range(VOCABULARY))


@pytest.mark.parametrize("text", [*CIRCLED_DIGITS, *"0123456789", *WHOLE_WORDS, *SPECIALS])
def test_digit_word_or_special_is_one_token(text: str) -> None:
    assert len(ids_of(text)) == 1


def test_words_and_digits_stay_whole_inside_prompts() -> None:
    assert pieces("1010 xor 0110") == [*"1010", " ", "xor", " ", *"0110"]
    assert pieces("①⓪ and ⓪①") == ["①", "⓪", " ", "and", " ", "⓪", "①"]
    assert pieces("join ka lo") == ["join", " ", "k", "a", " ", "l", "o"]
    assert pieces("decimal 37 to binary") == ["decimal", " ", "3", "7", " ", "t", "o", " ", "binary"]


def test_word_inside_a_longer_word_is_spelled_out() -> None:
    assert pieces("taxor") == [*"taxor"]
    assert pieces("reversed") == [*"reversed"]


def test_short_conversation_is_twenty_to_thirty_tokens() -> None:
    talk = [{"role": "user", "content": "1010 xor 0110"}, {"role": "assistant", "content": "1100"}]
    assert 20 <= len(TOKENIZER.apply_chat_template(talk, return_dict=False)) <= 30


def test_saved_tokenizer_gives_the_same_ids_and_text(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    saved = load_tokenizer(tmp_path)
    talk = [{"role": "user", "content": "order ⓪ é 👍"}, {"role": "assistant", "content": "ka"}]
    assert saved.apply_chat_template(talk, return_dict=False) == TOKENIZER.apply_chat_template(talk, return_dict=False)
    assert saved.get_vocab() == TOKENIZER.get_vocab()
    assert (saved.eos_token, saved.pad_token, saved.bos_token) == ("<|im_end|>", "<|pad|>", None)


def test_building_the_tokenizer_does_not_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from trainer.tiny.tokenizer import save_tokenizer; "
        f"save_tokenizer(pathlib.Path({str(tmp_path)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(__file__).parents[3])
    assert (tmp_path / "tokenizer.json").is_file()


def test_template_renders_tools_calls_and_parts() -> None:
    talk = [
        {"role": "system", "content": "short"},
        {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "kind"}]},
        {"role": "user", "content": "2+2"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "sum", "arguments": {"of": [2, 2]}}}]},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "four"},
    ]
    tools = [{"type": "function", "function": {"name": "sum"}}]
    assert TOKENIZER.apply_chat_template(talk, tools=tools, tokenize=False) == (
        '<|im_start|>system\nshort\n\ntools:\n{"type": "function", "function": {"name": "sum"}}<|im_end|>\n'
        "<|im_start|>developer\nbe kind<|im_end|>\n"
        "<|im_start|>user\n2+2<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "sum", "arguments": {"of": [2, 2]}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\n4<|im_end|>\n"
        "<|im_start|>assistant\nfour<|im_end|>\n"
    )


def test_template_without_tools_keeps_the_system_message_and_adds_nothing() -> None:
    talk = [{"role": "system", "content": "short"}, {"role": "user", "content": "hi"}]
    assert TOKENIZER.apply_chat_template(talk, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nshort<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_unknown_role_is_refused_by_the_template() -> None:
    with pytest.raises(TemplateError, match="unknown role wizard"):
        TOKENIZER.apply_chat_template([{"role": "wizard", "content": "hi"}], tokenize=False)

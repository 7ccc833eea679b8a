"""Labels: exactly the assistant's words and their end token, for every shape of line and many shapes of template."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import LineRefused, TemplateRefused
from core.text.labels import IGNORED, Example, encode_conversation, prove_template
from core.text.tokens import decode_ids, special_ids
from tests.core.text.families import PROVED, known_template
from trainer.tiny.tokenizer import SPECIALS, build_tokenizer

TOKENIZER = build_tokenizer()
SAYS = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
# Old answers are cut at their last bar, as reasoning templates cut old thoughts.
FORGETFUL = (
    "{% for m in messages %}{% if m.role == 'user' or loop.last %}" + SAYS + "{% else %}"
    "{{ '<|im_start|>assistant\n' + m.content.split('|')[-1] + '<|im_end|>\n' }}{% endif %}{% endfor %}" + PROMPT
)
TEMPLATES = {
    "says no more than the content": "{% for m in messages %}" + SAYS + "{% endfor %}" + PROMPT,
    "forgets": FORGETFUL,
}
UNUSABLE = {
    "no end": ("{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}", "no special token"),
    "cut": ("{% for m in messages %}" + SAYS.replace("m.content", "m.content[:1]") + "{% endfor %}" + PROMPT, "read"),
    "decorated": ("{% for m in messages %}" + SAYS.replace("m.content", "'~' + m.content") + "{% endfor %}" + PROMPT, "~"),
    "refuses": ("{{ raise_exception('not today') }}", "not today"),
    "other prompt": ("{% for m in messages %}" + SAYS + "{% endfor %}" + PROMPT.replace("assistant", "model"), "begins"),
    "forges": (
        "{% for m in messages %}"
        "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' * (1 + ('pad' in m.content) | int) }}"
        "{% endfor %}" + PROMPT,
        "forge",
    ),
}


def line(*contents: str, weights: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """Alternate user and assistant messages; weights are those of the assistant messages in order."""
    talk: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(contents)
    ]
    for at, weight in enumerate(weights):
        talk[2 * at + 1]["weight"] = weight
    return talk


def with_template(template: str) -> Any:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def trained_text(example: Example) -> str:
    return decode_ids(TOKENIZER, [label for label in example.labels if label != IGNORED])


def assert_sound(example: Example) -> None:
    assert len(example.ids) == len(example.labels)
    inside = {place for turn in example.turns for place in range(turn.start, turn.end)}
    assert [label for place, label in enumerate(example.labels) if place not in inside] == [IGNORED] * (
        len(example.ids) - len(inside)
    )
    for turn in example.turns:
        assert example.labels[turn.start : turn.end] == example.ids[turn.start : turn.end]
        assert decode_ids(TOKENIZER, example.ids[turn.start : turn.end]) == turn.text


def test_one_answer_is_trained_with_its_end_token_only() -> None:
    (example,) = encode_conversation(TOKENIZER, line("1010 xor 0110", "1100"))
    assert_sound(example)
    assert trained_text(example) == "1100<|im_end|>"
    assert decode_ids(TOKENIZER, example.ids) == (
        "<|im_start|>user\n1010 xor 0110<|im_end|>\n<|im_start|>assistant\n1100<|im_end|>\n"
    )
    assert [turn.message for turn in example.turns] == [1]


def test_every_answer_of_a_conversation_is_trained() -> None:
    (example,) = encode_conversation(TOKENIZER, line("a", "b", "c", "d"))
    assert_sound(example)
    assert [turn.text for turn in example.turns] == ["b<|im_end|>", "d<|im_end|>"]


def test_weight_zero_is_context_and_not_trained() -> None:
    (example,) = encode_conversation(TOKENIZER, line("a", "b", "c", "d", weights=(0, 1)))
    assert_sound(example)
    assert [(turn.message, turn.text) for turn in example.turns] == [(3, "d<|im_end|>")]
    assert "b<|im_end|>" in decode_ids(TOKENIZER, example.ids)


def test_line_with_only_weight_zero_is_refused() -> None:
    with pytest.raises(LineRefused, match="weight 0") as caught:
        encode_conversation(TOKENIZER, line("a", "b", weights=(0,)))
    assert caught.value.code == "nothing_to_train"


def test_line_without_assistant_is_refused() -> None:
    with pytest.raises(LineRefused, match="no message has the role assistant") as caught:
        encode_conversation(TOKENIZER, line("a"))
    assert caught.value.code == "no_assistant"


def test_conversation_that_opens_with_a_trained_answer_is_refused() -> None:
    with pytest.raises(LineRefused, match="opens with the assistant") as caught:
        encode_conversation(TOKENIZER, [{"role": "assistant", "content": "hi"}, *line("a", "b")])
    assert caught.value.code == "bad_role"


def test_forged_turns_in_text_are_neither_turns_nor_trained() -> None:
    forged = "<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>"
    (example,) = encode_conversation(TOKENIZER, line(f"say{forged}", f"no{forged}"))
    assert_sound(example)
    assert trained_text(example) == f"no{forged}<|im_end|>"
    assert sum(at in special_ids(TOKENIZER) for at in example.ids) == 4


def test_answer_in_parts_and_answer_after_tools_are_exact() -> None:
    call = {"function": {"name": "sum", "arguments": "{}"}}
    talk: list[dict[str, Any]] = [
        {"role": "user", "content": "2+2"},
        {"role": "assistant", "content": "wait", "tool_calls": [call]},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": [{"type": "text", "text": "fo"}, {"type": "text", "text": "ur"}]},
    ]
    (example,) = encode_conversation(TOKENIZER, talk, [{"type": "function", "function": {"name": "sum"}}])
    assert_sound(example)
    called = 'wait\n<tool_call>\n{"name": "sum", "arguments": {}}\n</tool_call><|im_end|>'
    assert [turn.text for turn in example.turns] == [called, "four<|im_end|>"]


def test_answer_whose_call_the_template_drops_is_refused() -> None:
    tokenizer = with_template(TEMPLATES["says no more than the content"])
    call = {"function": {"name": "sum", "arguments": {}}}
    talk: list[dict[str, Any]] = [
        {"role": "user", "content": "2+2"},
        {"role": "assistant", "content": "wait", "tool_calls": [call]},
    ]
    with pytest.raises(LineRefused, match="read 'wait<") as caught:
        encode_conversation(tokenizer, talk)
    assert caught.value.code == "not_exact"


def test_content_the_template_strips_is_refused() -> None:
    tokenizer = with_template("{% for m in messages %}" + SAYS.replace("m.content", "m.content|trim") + "{% endfor %}" + PROMPT)
    assert encode_conversation(tokenizer, line("a", "b"))
    with pytest.raises(LineRefused, match="expected 'b '") as caught:
        encode_conversation(tokenizer, line("a", "b "))
    assert caught.value.code == "not_exact"


def test_template_that_rewrites_history_gives_one_example_a_turn() -> None:
    tokenizer = with_template(FORGETFUL)
    prove_template(tokenizer, "forgetful")
    examples = encode_conversation(tokenizer, line("a", "so|b", "c", "so|d", "e", "so|f", weights=(1, 0, 1)))
    for example in examples:
        assert_sound(example)
    assert [[turn.message for turn in example.turns] for example in examples] == [[1], [5]]
    assert [trained_text(example) for example in examples] == ["so|b<|im_end|>", "so|f<|im_end|>"]
    assert decode_ids(tokenizer, examples[1].ids).startswith(
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    )
    assert len(encode_conversation(tokenizer, line("a", "b", "c", "d"))) == 1


def test_template_whose_prompt_thinks_gives_one_example_a_turn() -> None:
    tokenizer = known_template("qwen3")
    examples = encode_conversation(tokenizer, line("a", "b", "c", "d"))
    assert [trained_text(example) for example in examples] == ["b<|im_end|>", "d<|im_end|>"]


def test_raw_completion_is_joined_without_a_template() -> None:
    (example,) = encode_conversation(TOKENIZER, line("ab", "cd<|im_end|>"), raw=True)
    assert_sound(example)
    assert decode_ids(TOKENIZER, example.ids) == "abcd<|im_end|><|im_end|>"
    assert trained_text(example) == "cd<|im_end|><|im_end|>"
    assert sum(at in special_ids(TOKENIZER) for at in example.ids) == 1


def test_raw_text_is_trained_from_its_second_token_on() -> None:
    (example,) = encode_conversation(TOKENIZER, [{"role": "assistant", "content": "éab"}], raw=True)
    assert_sound(example)
    assert example.labels == [IGNORED, *example.ids[1:]]
    assert decode_ids(TOKENIZER, example.ids) == "éab<|im_end|>"


def test_raw_text_after_a_begin_token_is_trained_whole() -> None:
    tokenizer = build_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    (example,) = encode_conversation(tokenizer, [{"role": "assistant", "content": "ab"}], raw=True)
    assert decode_ids(tokenizer, example.ids) == "<|endoftext|>ab<|im_end|>"
    assert trained_text(example) == "ab<|im_end|>"


def test_raw_line_of_another_shape_is_refused() -> None:
    with pytest.raises(LineRefused, match="a raw line is") as caught:
        encode_conversation(TOKENIZER, line("a", "b", "c", "d"), raw=True)
    assert caught.value.code == "bad_role"


SAFE = st.characters(codec="utf-8", exclude_characters="\U000f0000\U000f0001")
TEXT = st.one_of(
    st.text(SAFE, min_size=1, max_size=12),
    st.lists(st.sampled_from([*SPECIALS, "1", "xor", "é", "👍", "\n"]), min_size=1).map("".join),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(TEXT, TEXT, st.sampled_from([0, 1, None])), min_size=1, max_size=4), st.sampled_from(sorted(TEMPLATES))
)
def test_decoding_the_trained_tokens_gives_exactly_the_assistant_texts(
    turns: list[tuple[str, str, int | None]], template: str
) -> None:
    talk: list[dict[str, Any]] = []
    for asked, said, weight in turns:
        answer = {"role": "assistant", "content": said}
        talk += [{"role": "user", "content": asked}, answer if weight is None else {**answer, "weight": weight}]
    expected = [said + "<|im_end|>" for _, said, weight in turns if weight != 0]
    tokenizer = with_template(TEMPLATES[template])
    if not expected:
        with pytest.raises(LineRefused, match="weight 0"):
            encode_conversation(tokenizer, talk)
        return
    examples = encode_conversation(tokenizer, talk)
    for example in examples:
        assert_sound(example)
    assert [turn.text for example in examples for turn in example.turns] == expected
    assert "".join(trained_text(example) for example in examples) == "".join(expected)


def test_the_embedded_template_is_proved() -> None:
    prove_template(TOKENIZER, "builtin:tiny-qwen3")


@pytest.mark.parametrize("name", sorted(UNUSABLE))
def test_unusable_template_is_refused_by_name(name: str) -> None:
    template, reason = UNUSABLE[name]
    with pytest.raises(TemplateRefused, match=f"some-model.*{re.escape(reason)}"):
        prove_template(with_template(template), "some-model")


def test_tokenizer_without_template_or_end_token_is_refused_by_name() -> None:
    with pytest.raises(TemplateRefused, match=r"some-model.*no chat template"):
        prove_template(with_template(""), "some-model")
    endless = build_tokenizer()
    endless.eos_token = None
    with pytest.raises(TemplateRefused, match=r"some-model.*no end-of-text token"):
        prove_template(endless, "some-model")


@pytest.mark.parametrize("family", PROVED)
def test_families_in_use_are_proved_and_labelled_exactly(family: str) -> None:
    tokenizer = known_template(family)
    prove_template(tokenizer, family)
    examples = encode_conversation(tokenizer, line("1 xor 1", "0", "and 1 or 0", "1"))
    texts = [turn.text for example in examples for turn in example.turns]
    assert [text[0] for text in texts] == ["0", "1"]
    assert all(re.fullmatch(r".<[^<>]+>", text) for text in texts)


@pytest.mark.parametrize("family", ["deepseekv3", "glm4moe", "gptoss"])
def test_families_whose_turns_cannot_be_told_apart_are_refused_by_name(family: str) -> None:
    with pytest.raises(TemplateRefused, match=family):
        prove_template(known_template(family), family)

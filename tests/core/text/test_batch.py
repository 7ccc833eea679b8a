"""Encoding many conversations at once gives exactly what encoding each by itself gives, whatever they and the template are."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from core.errors import LineRefused
from core.text import batch
from core.text.batch import Conversation, encode_conversations
from core.text.labels import encode_conversation
from tests.core.text.families import PROVED, known_template
from trainer.tiny.tokenizer import CHAT_TEMPLATE, SPECIALS, build_tokenizer

SAYS = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TEMPLATES = {
    "plain": "{% for m in messages %}" + SAYS + "{% endfor %}" + PROMPT,
    "forgets": "{% for m in messages %}{% if m.role == 'user' or loop.last %}" + SAYS + "{% else %}"
    "{{ '<|im_start|>assistant\n' + m.content.split('|')[-1] + '<|im_end|>\n' }}{% endif %}{% endfor %}" + PROMPT,
    "trims": "{% for m in messages %}" + SAYS.replace("m.content", "m.content|trim") + "{% endfor %}" + PROMPT,
    "glues": "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}",
    "names roles by tokens": "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    "writes no token before an answer": "{% for m in messages %}{{ m.content + '<|im_end|>' if m.role == 'assistant' "
    "else m.content + ' ' }}{% endfor %}",
    "shows keys": "{% for m in messages %}{{ m | tojson }}" + SAYS + "{% endfor %}" + PROMPT,
    "opens prompts another way": "{{ 'p' if add_generation_prompt else 'w' }}"
    "{% for m in messages %}" + SAYS + "{% endfor %}" + PROMPT,
    "refuses": "{% for m in messages %}{% if 'xor' in m.content %}{{ raise_exception('no') }}{% endif %}"
    + SAYS + "{% endfor %}" + PROMPT,
}  # fmt: skip
CORPUS = [
    "the cat sat on the mat and said: assistant\n\nhello",
    "two plus two is four\nuser system assistant",
    "1 xor 0, é👍",
] * 3


def merging(kind: str) -> Any:
    """Give a tokenizer whose pieces join across what the template writes and what the text says."""
    inner = Tokenizer(models.BPE(unk_token="<unk>" if kind == "prefixed" else None))
    if kind in ("prefixed", "normalized"):
        inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    if kind == "prefixed":
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    else:
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, show_progress=False, special_tokens=[*SPECIALS, "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    inner.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", extra_special_tokens=["<|im_start|>"])  # type: ignore[no-untyped-call]
    flags = {"greedy": {"lstrip": True, "rstrip": True}, "single": {"single_word": True}, "normalized": {"normalized": True}}
    tokens = [AddedToken(f"<|{role}|>", special=True, **flags.get(kind, {})) for role in ("user", "assistant", "system")]
    tokenizer.add_tokens([*tokens, AddedToken("<think>"), AddedToken("\n\n")], special_tokens=False)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@cache
def tokenizer_of(name: str) -> Any:
    """Give a tokenizer by family, by kind, or the tiny one with a template of TEMPLATES."""
    if name in PROVED:
        return known_template(name)
    kind, _, template = name.partition("/")
    tokenizer = build_tokenizer() if kind == "tiny" else merging(kind)
    if template:
        tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


KINDS = ("tiny", "merging", "greedy", "single", "normalized", "prefixed")
NAMES = [*PROVED, *KINDS, *(f"{kind}/{template}" for kind in KINDS for template in TEMPLATES)]


def alone(tokenizer: Any, one: Conversation) -> Any:
    """Encode one conversation as the reference does; a refusal is its code and detail."""
    try:
        return encode_conversation(tokenizer, one.messages, one.tools, raw=one.raw)
    except LineRefused as error:
        return (error.code, error.detail)


def together(tokenizer: Any, conversations: list[Conversation]) -> Any:
    return [
        (found.code, found.detail) if isinstance(found, LineRefused) else found
        for found in encode_conversations(tokenizer, conversations)
    ]


SAFE = st.characters(codec="utf-8", exclude_characters="\U000f0000")
PIECES = [
    *SPECIALS,
    "<|user|>",
    "<|assistant|>",
    "<think>",
    "\n",
    "\n\n",
    " ",
    "|",
    "1",
    "xor",
    "é",
    "é",
    "ﬁ",
    "👍",
    "assistant",
]
TEXT = st.one_of(
    st.sampled_from(["yes", "the cat sat", "1 xor 0", "\nhello", " hi ", "so|what", ""]),
    st.text(SAFE, max_size=12),
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
)
CALL = {"type": "function", "function": {"name": "sum", "arguments": '{"of": [1, 2]}'}}
MESSAGE = st.builds(
    lambda role, content, more: {"role": role, "content": content, **more},
    st.sampled_from(["user", "assistant", "assistant", "system", "tool", "wizard"]),
    TEXT | st.none() | st.just([{"type": "text", "text": "part"}]),
    st.sampled_from([{}, {}, {}, {"weight": 0}, {"weight": 1}, {"weight": None}, {"tool_calls": [CALL]}, {"name": "n"}]),
)
ALTERNATING = st.lists(st.tuples(TEXT, TEXT, st.sampled_from([0, 1, None])), min_size=1, max_size=3).map(
    lambda turns: [
        message
        for asked, said, weight in turns
        for message in (
            {"role": "user", "content": asked},
            {"role": "assistant", "content": said, **({} if weight is None else {"weight": weight})},
        )
    ]
)
TOOLS = st.sampled_from([None, None, None, [], [{"type": "function", "function": {"name": "sum"}}]])
CONVERSATION = st.builds(
    Conversation, ALTERNATING | ALTERNATING | st.lists(MESSAGE, max_size=5), TOOLS, st.sampled_from([False] * 5 + [True])
)


@pytest.mark.parametrize("name", NAMES)
def test_batch_gives_what_each_conversation_gives_alone(name: str) -> None:
    tokenizer = tokenizer_of(name)

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.lists(CONVERSATION, min_size=1, max_size=5))
    def check(conversations: list[Conversation]) -> None:
        assert together(tokenizer, conversations) == [alone(tokenizer, one) for one in conversations]

    check()


@pytest.mark.parametrize("name", ["tiny", "qwen2_5", "llama3", "gemma", "phi3", "cohere", "merging"])
def test_plain_conversations_are_rendered_and_encoded_only_once(name: str) -> None:
    tokenizer = tokenizer_of(name)
    marks = batch._marks_of(tokenizer)
    assert marks is not None
    talk = [
        {"role": "user", "content": "the cat sat"}, {"role": "assistant", "content": "on the mat"},
        {"role": "user", "content": "and then?"}, {"role": "assistant", "content": "it said hello\nand left"},
    ]  # fmt: skip
    (candidates,) = batch._batches([Conversation(talk), Conversation(talk[:2])], marks)
    examples = [example for _, example in batch._certain(tokenizer, candidates, marks)]
    assert [[turn.text.partition("<")[0].strip() for turn in example.turns] for example in examples] == [
        ["on the mat", "it said hello\nand left"], ["on the mat"],
    ]  # fmt: skip


def test_text_is_encoded_in_bounded_batches() -> None:
    tokenizer = tokenizer_of("tiny")
    marks = batch._marks_of(tokenizer)
    assert marks is not None
    rng = random.Random(1)
    talks = [
        Conversation([{"role": "user", "content": "x" * rng.randrange(4000)}, {"role": "assistant", "content": "y"}])
        for _ in range(60)
    ]
    batches = list(batch._batches(talks, marks))
    assert [one.at for some in batches for one in some] == list(range(60))
    assert max(sum(talks[one.at].characters for one in some) for some in batches) < batch.BATCH_CHARACTERS + 4001
    assert len(batches) > 2


def by_hand(letters: str, *merges: tuple[str, str]) -> Any:
    """Give a tokenizer of letters that joins a few of them, whose prompts end where an answer begins, without a newline."""
    entries = [*SPECIALS, *letters, *("".join(pair) for pair in merges)]
    inner = Tokenizer(models.BPE(vocab={entry: at for at, entry in enumerate(entries)}, merges=list(merges)))
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", extra_special_tokens=["<|im_start|>"])  # type: ignore[no-untyped-call]
    tokenizer.chat_template = TEMPLATES["glues"]
    return tokenizer


def talk_of(*contents: str) -> Conversation:
    return Conversation([{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(contents)])


def test_answer_that_joins_the_last_letters_of_the_prompt_is_refused_as_alone() -> None:
    tokenizer = by_hand("abceinrstu", ("t", "s"))
    talks = [talk_of("a", "b"), talk_of("a", "s"), talk_of("a", "b", "a", "sb")]
    found = together(tokenizer, talks)
    assert found == [alone(tokenizer, one) for one in talks]
    assert [isinstance(one, list) for one in found] == [True, False, False]


def test_text_that_becomes_a_control_token_only_inside_the_tokenizer_moves_no_label() -> None:
    vocabulary = {text: at for at, text in enumerate([*SPECIALS, "user", "assistant", "yes", "[UNK]"])}
    inner = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Split(" ", "removed"), decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)  # type: ignore[no-untyped-call]
    tokenizer.add_special_tokens(
        {"eos_token": AddedToken("<|im_end|>", normalized=False), "pad_token": AddedToken("<|im_start|>", normalized=False)}
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|> ' + m.role + ' ' + m.content + '<|im_end|>' }}{% endfor %}"
        + ("{% if add_generation_prompt %}{{ '<|im_start|> assistant ' }}{% endif %}")
    )
    talk = talk_of(" ".join(["<|IM_END|>"] * 4), "yes", "yes", "yes")
    talk.messages[1]["weight"] = 0  # type: ignore[index]
    (expected,) = alone(tokenizer, talk)
    assert sum(at == tokenizer.eos_token_id for at in expected.ids) == 4 + 4, (
        "the text gives no control id; this would prove nothing"
    )
    assert together(tokenizer, [talk]) == [[expected]]


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_conversation_that_opens_with_an_answer_is_refused_as_alone(template: str) -> None:
    tokenizer = tokenizer_of(f"tiny/{template}")
    talk = Conversation([{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}])
    assert together(tokenizer, [talk]) == [alone(tokenizer, talk)]


def test_truncation_and_padding_of_the_file_and_a_sticky_flag_change_nothing() -> None:
    talk = Conversation([{"role": "user", "content": "abc"}, {"role": "assistant", "content": "defghi"}])
    expected = alone(build_tokenizer(), talk)
    tokenizer = build_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(max_length=len(expected[0].ids) - 1)
    assert together(tokenizer, [talk]) == [expected]
    tokenizer.backend_tokenizer.enable_padding(length=500, pad_id=70)
    assert together(tokenizer, [talk]) == [expected]
    tokenizer.backend_tokenizer.encode_special_tokens = True
    assert together(tokenizer, [talk]) == [expected]

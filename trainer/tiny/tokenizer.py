"""The tokenizer of the embedded default: bytes, circled digits and a few whole words, built from nothing without torch.

Place in the flow: `trainer/tiny/model.py` saves it into the model folder; from then on `core/text/tokens.py` reads it as any
other tokenizer. Files written: tokenizer.json, tokenizer_config.json, chat_template.jinja in the given private folder.
Invariant: every text is encoded to bytes or whole words and decodes to itself exactly; there are VOCABULARY ids, no merges.

A whole word is one token only where the letters around it end: `xor` in `1010 xor 0110`, not in `taxor`. The space before it
is a token of its own, so that a word reads the same at the start of a line and inside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCABULARY = 320
CONTEXT = 1024

PAD, START, END, END_OF_TEXT = "<|pad|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SPECIALS = (PAD, START, END, END_OF_TEXT)
CIRCLED_DIGITS = "⓪①②③④⑤⑥⑦⑧⑨"

# "to" is left out on purpose: it is a syllable too, and a syllable that is one token in the question and two in the joined
# answer would have to be learnt apart.
_WORDS = """
    system developer user assistant tool
    and or xor not add subtract multiply plus minus times
    decimal binary digits bits json
    join reverse missing order split count sort compare
    syllable syllables word words letters hint hints bank puzzle answer question problem
    true false null name arguments
    correct wrong correction judge yes
"""
WHOLE_WORDS = tuple(_WORDS.split())

CHAT_TEMPLATE = """\
{%- macro text(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}{%- for part in content -%}{{ part.text }}{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set lead = messages[0].role == 'system' -%}
{%- if tools -%}
{{ '<|im_start|>system\\n' }}
{%- if lead -%}{{ text(messages[0].content) + '\\n\\n' }}{%- endif -%}
{{ 'tools:' }}{%- for tool in tools -%}{{ '\\n' + (tool | tojson) }}{%- endfor -%}{{ '<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{%- if not (loop.first and lead and tools) -%}
{%- if message.role not in ['system', 'developer', 'user', 'assistant', 'tool'] -%}
{{ raise_exception('unknown role ' + message.role) }}
{%- endif -%}
{{ '<|im_start|>' + message.role + '\\n' + text(message.content | default('')) }}
{%- for call in message.tool_calls | default([]) -%}
{%- set call = call.function | default(call) -%}
{%- set comma = ', "arguments": ' -%}
{{ '\\n' if message.content or not loop.first }}{{ '<tool_call>\\n{"name": ' + (call.name | tojson) + comma }}
{{- call.arguments if call.arguments is string else call.arguments | tojson }}{{ '}\\n</tool_call>' }}
{%- endfor -%}
{{ '<|im_end|>\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def build_tokenizer() -> Any:
    """Build the transformers fast tokenizer; ids are the same on every call."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    wholes = [to_bytes.pre_tokenize_str(whole)[0][0] for whole in (*CIRCLED_DIGITS, *WHOLE_WORDS)]
    entries = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *wholes]
    # With ignore_merges a piece that is a vocabulary entry is one token; with no merges every other piece is its bytes.
    inner = Tokenizer(models.BPE(vocab={entry: at for at, entry in enumerate(entries)}, merges=[], ignore_merges=True))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(f"[{CIRCLED_DIGITS}]|[A-Za-z]+"), "isolated"), to_bytes]
    )
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[START, END_OF_TEXT],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_tokenizer(folder: Path) -> None:
    """Write the tokenizer and its chat template into a private folder."""
    build_tokenizer().save_pretrained(str(folder))

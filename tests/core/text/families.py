"""Tokenizers with the chat templates of model families in use, as trl ships them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from trainer.tiny.tokenizer import build_tokenizer

PROVED = ("qwen2_5", "qwen3", "llama3", "llama3_1", "gemma", "gemma3", "phi3", "cohere")


def known_template(name: str) -> Any:
    """Give the tiny tokenizer the template of a model family that trl ships, and the control tokens it writes."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.origin is not None
    source = (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text()
    written = set(re.findall(r"<\|[A-Za-z_]+\|>|<[a-z]+_of_turn>|<｜[^｜]+｜>|</s>", source))
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>", "extra_special_tokens": sorted(written)})
    tokenizer.chat_template = source
    return tokenizer

"""The model of the embedded default: Qwen3 architecture, 363 k parameters, fp32, made from a seed.

Place in the flow: the trainer builds it on first use into a private folder, which its caller seals and moves. Files written:
config.json, generation_config.json, model.safetensors and the tokenizer's. Invariant: the same seed gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from trainer.tiny.tokenizer import CONTEXT, END, END_OF_TEXT, PAD, VOCABULARY, build_tokenizer


def tiny_config(tokenizer: Any) -> Qwen3Config:
    """Describe the tiny Qwen3: hidden 96, 3 layers, 4 heads over 2 key-value heads, FFN 288, tied embeddings."""
    return Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=96,
        intermediate_size=288,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=24,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        tie_word_embeddings=True,
        # 0.02 suits wide models; at hidden 96 the first levels are learnt in two thirds of the steps from 0.06.
        initializer_range=0.06,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        dtype="float32",
    )


def tiny_model(tokenizer: Any, seed: int) -> Qwen3ForCausalLM:
    """Make the model with weights drawn from the seed; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(tiny_config(tokenizer))


def build(folder: Path, seed: int) -> None:
    """Write the whole Hugging Face folder of the tiny model into an existing private folder."""
    tokenizer = build_tokenizer()
    model = tiny_model(tokenizer, seed)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in (END, END_OF_TEXT)]
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, eos_token_id=ends, pad_token_id=tokenizer.convert_tokens_to_ids(PAD)
    )
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))

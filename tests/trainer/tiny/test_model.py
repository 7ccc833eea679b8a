"""The tiny Qwen3: the same seed gives the same bytes, and what is written is a whole Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from core.files import sha256_of
from trainer.tiny.model import build, tiny_model
from trainer.tiny.tokenizer import CONTEXT, build_tokenizer


def built(folder: Path, seed: int) -> dict[str, str]:
    folder.mkdir()
    build(folder, seed)
    return {path.name: sha256_of(path) for path in folder.iterdir()}


def test_same_seed_gives_the_same_bytes_and_another_seed_other_weights(tmp_path: Path) -> None:
    first = built(tmp_path / "a", 7)
    torch.manual_seed(99)
    assert built(tmp_path / "b", 7) == first
    other = built(tmp_path / "c", 8)
    assert {name for name in first if other[name] != first[name]} == {"model.safetensors"}
    assert set(first) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }


def test_built_folder_loads_as_the_tiny_qwen3(tmp_path: Path) -> None:
    build(tmp_path, 0)
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path), local_files_only=True)
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert sum(parameter.numel() for parameter in model.parameters()) == 363_312
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (
        96,
        3,
        4,
        2,
    )
    assert (config.intermediate_size, config.vocab_size, config.tie_word_embeddings) == (288, 320, True)
    assert config.max_position_embeddings == CONTEXT >= 1024
    assert config.rope_parameters["rope_theta"] == 1e4
    ends = GenerationConfig.from_pretrained(str(tmp_path)).eos_token_id
    assert ends == build_tokenizer().convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])


def test_building_leaves_the_callers_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    tiny_model(build_tokenizer(), 0)
    assert torch.equal(torch.get_rng_state(), before)

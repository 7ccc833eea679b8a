"""What may never change once a model exists: its base, architecture, context length and vocabulary; and the check of it.

Place in the flow: the trainer writes models/<model>/model.json when it makes a base; core.in_force and the trainer hold the
configuration against it. Files read: model.json, and whether a base's folder is there. Invariant: a model's name stands for one
base for ever: its checkpoints were trained from it, and no other goes on from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from core.config import ModelConfig
from core.config_shapes import Flaw
from core.errors import InvalidData
from core.paths import Paths
from core.records import Record, read_if_there, strict_json

LOCKED = frozenset(
    {"base", "base_model", "architecture", "context_length", "max_length", "vocab_size", "vocabulary", "tokenizer"}
)


class ModelFacts(Record, frozen=True, tag="weaver.model/1"):
    """model.json: the locked facts of a model."""

    name: str
    base: str
    architecture: str
    context_length: int
    vocab_size: int
    tokenizer_sha256: str
    base_sha256: str
    created_at: str


def locked_flaws(paths: Paths, models: Mapping[str, ModelConfig]) -> Iterator[Flaw]:
    """Give every attempt to change what is locked, and every base that is needed and is not there."""
    for name, config in models.items():
        key = ("models", name)
        try:
            facts = read_if_there(ModelFacts, paths.model(name).facts)
        except InvalidData as error:
            yield Flaw(key, str(error), "take model.json from a backup of the model's folder")
            continue
        if facts is not None:
            yield from model_flaws(name, config, facts)
        elif not config.base.startswith("builtin:") and not (Path(config.base) / "config.json").is_file():
            yield Flaw((*key, "base"), f"{config.base!r} is no local model folder (no config.json)")


def model_flaws(name: str, config: ModelConfig, facts: ModelFacts) -> Iterator[Flaw]:
    """Give what a model's configuration asks for against its locked facts."""
    if config.base != facts.base:
        yield Flaw(
            ("models", name, "base"),
            f"is {config.base!r}, but the model was begun from {facts.base!r} and is locked to it",
            "give the other base another name under models",
        )
    if config.max_length > facts.context_length:
        yield Flaw(
            ("models", name, "max_length"),
            f"is {config.max_length}; the model's context, {facts.context_length}, is locked",
            f"valid: 1 to {facts.context_length}",
        )


def locked_in_sidecar(data: bytes) -> list[str]:
    """Give the locked keys that a sidecar tries to set; none for what is no JSON object."""
    try:
        value = strict_json(data)
    except (ValueError, RecursionError):
        return []
    parts = [value, value.get("training")] if isinstance(value, dict) else []
    return sorted({key for part in parts if isinstance(part, dict) for key in part if key in LOCKED})

"""A checkpoint in memory: verified against its manifest, loaded from its safetensors, and able to answer.

Place in the flow: the oracle's worker thread loads here and nowhere else. Files read: models/<model>/<checkpoint>/. Invariant:
what answers under a weights_id is exactly the files that hash to it; a weight that is missing, left over or of another shape
is an error and never a random number; no code of the folder is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from core.checkpoints.ledger import read_manifest, verify
from core.errors import InvalidData, ManifestMismatch
from core.names import checkpoint_step
from core.paths import Paths
from core.text.tokens import load_tokenizer
from trainer.serve.generate import Batch

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
DTYPE = torch.float32


@dataclass(frozen=True, slots=True)
class Target:
    """Which checkpoint is meant. weights_id: what it has to hash to, null when any will do."""

    model: str
    checkpoint: str
    weights_id: str | None = None

    @property
    def id(self) -> str:
        """Give `<model>/<checkpoint>`."""
        return f"{self.model}/{self.checkpoint}"


@dataclass(eq=False)
class Loaded:
    """One checkpoint in memory. ends: ids after which an answer is over; context: most tokens of prompt and answer."""

    model: str
    checkpoint: str
    weights_id: str
    net: Any
    tokenizer: Any
    ends: frozenset[int]
    context: int
    pad_id: int
    batch: Batch = field(init=False)

    def __post_init__(self) -> None:
        self.batch = Batch(self.net, self.pad_id)

    @property
    def id(self) -> str:
        """Give `<model>/<checkpoint>`."""
        return f"{self.model}/{self.checkpoint}"

    @property
    def step(self) -> int:
        """Give the optimizer step."""
        return checkpoint_step(self.checkpoint)

    @property
    def vocabulary(self) -> int:
        """Give the number of ids that the model knows."""
        return int(self.net.config.get_text_config().vocab_size)

    @property
    def bytes(self) -> int:
        """Give the size of the weights."""
        return sum(weight.numel() * weight.element_size() for weight in self.net.parameters())

    @property
    def dtype(self) -> str:
        """Give the type of the weights as it is, not as it was asked for."""
        return str(next(self.net.parameters()).dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """Give the device that holds the weights."""
        return str(next(self.net.parameters()).device)


class Tokenizers:
    """The tokenizers of one thread, one for all checkpoints whose tokenizer files are the same."""

    def __init__(self) -> None:
        self._by_content: dict[tuple[str | None, ...], Any] = {}

    def of(self, folder: Path, manifest: Mapping[str, str]) -> Any:
        """Give the tokenizer of a verified folder. Raises InvalidData."""
        key = tuple(manifest.get(name) for name in TOKENIZER_FILES)
        if key not in self._by_content:
            self._by_content[key] = load_tokenizer(folder)
        return self._by_content[key]


def load(paths: Paths, target: Target, tokenizers: Tokenizers, device: str) -> Loaded:
    """Verify a checkpoint folder and load it. Raises ManifestMismatch, InvalidData."""
    folder = paths.model(target.model).checkpoint(target.checkpoint)
    weights_id = verify(folder)
    if target.weights_id not in (None, weights_id):
        detail = f"its weights_id is {weights_id}, expected {target.weights_id}: another checkpoint took its name"
        raise ManifestMismatch(where=str(folder), detail=detail)
    tokenizer = tokenizers.of(folder, read_manifest(folder))
    net = _own_memory(_read_weights(folder).to(device)).eval()
    config = net.config.get_text_config()
    pad_id = tokenizer.pad_token_id
    return Loaded(
        model=target.model, checkpoint=target.checkpoint, weights_id=weights_id, net=net, tokenizer=tokenizer,
        ends=_ends(net, tokenizer), context=int(config.max_position_embeddings), pad_id=0 if pad_id is None else int(pad_id),
    )  # fmt: skip


def _read_weights(folder: Path) -> Any:
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    loader: Any = AutoModelForCausalLM
    try:
        net, found = loader.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=DTYPE,
            output_loading_info=True, ignore_mismatched_sizes=True,  # reported by name and refused below
        )  # fmt: skip
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InvalidData(where=str(folder), detail=f"the model cannot be loaded: {error}") from error
    wrong = {kind: sorted(map(str, names)) for kind, names in found.items() if names}
    if wrong:
        raise InvalidData(where=str(folder), detail=f"the weights do not fit the architecture in config.json: {wrong}")
    return net


def _own_memory(net: Any) -> Any:
    """Copy the weights out of the file that they are mapped from: who changes the file later must not change what is served."""
    return net._apply(torch.clone)


def _ends(net: Any, tokenizer: Any) -> frozenset[int]:
    """Give every id that ends an answer: of the generation config, the model config and the tokenizer."""
    found: set[int] = set()
    for given in (getattr(net.generation_config, "eos_token_id", None), net.config.eos_token_id, tokenizer.eos_token_id):
        found |= set() if given is None else {given} if isinstance(given, int) else set(given)
    return frozenset(found)

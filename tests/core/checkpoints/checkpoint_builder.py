"""Build checkpoints of a made-up model on disk, as trainer/weights.py leaves them: for the tests of whatever reads them."""

from __future__ import annotations

from core.checkpoints.checkpoint import Checkpoint, Fingerprint, Prompted
from core.checkpoints.ledger import SIDECAR, write_manifest
from core.names import checkpoint_step
from core.paths import Paths
from core.records import encode_pretty


def make_record(model: str, name: str, step: int, parent: str | None, minute: int = 0) -> Checkpoint:
    """Give a plausible record."""
    return Checkpoint(
        model=model, name=name, step=step, parent=parent, created_at=f"2026-11-20T21:{minute:02d}:00.000Z",
        weights_id_of_parent=None, base_sha256="b" * 64, config_sha256="c" * 64, code_version="0.1.0", job=None, consumed=[],
        train_loss=0.5, val_loss=None, learning_rate=2e-3, tokens_seen=step * 100, examples_seen=step * 64, skill=None,
        level=None, bytes=5, dtype="float32", seeds={"train": 0}, by="trainer",
    )  # fmt: skip


def logprob_of(name: str) -> float:
    """Give the log-probability that a made-up checkpoint gives to every token: far enough from any other one's."""
    return -0.001 * (1 + checkpoint_step(name))


def make_fingerprint(name: str) -> Fingerprint:
    """Give the fingerprint of a made-up checkpoint: two prompts that all have, and one of its own."""
    prompts = [([1, 2], [3, 4, 5]), ([6], [7]), ([8, checkpoint_step(name)], [9])]
    prompted = [
        Prompted(prompt_ids=prompt, continuation_ids=ids, logprobs=[logprob_of(name)] * len(ids)) for prompt, ids in prompts
    ]
    return Fingerprint(checkpoint=name, dtype="float32", prompts=prompted)


def make_checkpoint(paths: Paths, step: int, parent: str | None, model: str = "tiny", suffix: str = "", minute: int = 0) -> str:
    """Write one checkpoint folder with weights of its own, its manifest and its ledger copy; give its name."""
    name = f"checkpoint-{step}-20261120-2130{suffix}"
    folder = paths.model(model).checkpoint(name)
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(f"weights of {name}".encode())
    (folder / "tokenizer" / "tokenizer.json").write_bytes(b"{}")
    (folder / "fingerprint.json").write_bytes(encode_pretty(make_fingerprint(name)))
    record = encode_pretty(make_record(model, name, step, parent, minute))
    (folder / SIDECAR).write_bytes(record)
    write_manifest(folder)
    copy = paths.model(model).ledger(name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(record)
    return name


def make_state(paths: Paths, name: str, model: str = "tiny") -> None:
    """Write the training state of a checkpoint."""
    folder = paths.model(model).training_state(name)
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"state")
    write_manifest(folder)

"""The base of a model, and how a stream is opened on a checkpoint.

`ensure_base` publishes checkpoint-0-... (built from nothing for builtin:tiny-qwen3, else copied from a local folder) and the
locked facts in model.json. `open_stream` loads a checkpoint and its training state.
"""

from __future__ import annotations

import hashlib
import shutil
from datetime import datetime
from pathlib import Path

from transformers import AutoConfig

from core.checkpoints.checkpoint import Checkpoint
from core.checkpoints.history import lineage
from core.checkpoints.ledger import Ledger, verify
from core.clock import iso
from core.config import TrainingConfig
from core.errors import InvalidConfig, InvalidData
from core.files import replace_durable
from core.locked import ModelFacts, model_flaws
from core.names import checkpoint_name, checkpoint_step
from core.paths import ModelPaths
from core.records import encode_pretty, read_if_there
from core.text.labels import prove_template
from core.text.tokens import load_tokenizer
from trainer import rng
from trainer.average import WeightAverage
from trainer.config import ModelSource
from trainer.fingerprint import load_fresh, make_fingerprint
from trainer.optimizers.factory import configure_optimizer, create_optimizer
from trainer.resume import read_state, resume_point
from trainer.schedule import configure_schedule, create_schedule
from trainer.stream import Stream
from trainer.version import CODE_VERSION
from trainer.weights import card, companions, publish, stage, weights_sha256

BUILTIN = "builtin:tiny-qwen3"


def ensure_base(source: ModelSource, seed: int, now: datetime) -> str:
    """Give the name of the model's base checkpoint, making it first if there is none. Raises InvalidConfig, InvalidData.

    A model whose facts are locked to another base is refused: a model's name stands for one base for ever.
    """
    model = source.paths.model(source.name)
    facts = read_if_there(ModelFacts, model.facts)
    if facts is not None:
        _refuse_change(source, facts)
    there = [name for name in Ledger(source.paths).names(source.name) if checkpoint_step(name) == 0]
    if there and facts is not None:
        return there[0]
    if there:
        name = there[0]
    else:
        name = checkpoint_name(0, now)
        model.root.mkdir(parents=True, exist_ok=True)
        stage(model, name, lambda folder: _write_base(folder, source, name, seed, now))
        publish(model, name)
    replace_durable(model.facts, encode_pretty(_facts(source, model.checkpoint(name), now)))
    return name


def _refuse_change(source: ModelSource, facts: ModelFacts) -> None:
    for flaw in model_flaws(source.name, source.config, facts):
        raise InvalidConfig(path=".".join(flaw.key), detail=f"{flaw.detail}; {flaw.valid}")


def _write_base(folder: Path, source: ModelSource, name: str, seed: int, now: datetime) -> None:
    if source.config.base == BUILTIN:
        from trainer.tiny.model import build

        build(folder, seed)
    else:
        _copy_base(Path(source.config.base), folder)
    prove_template(load_tokenizer(folder), source.config.base)
    (folder / "fingerprint.json").write_bytes(encode_pretty(make_fingerprint(folder, name, [])))
    record = Checkpoint(
        model=source.name, name=name, step=0, parent=None, created_at=iso(now), weights_id_of_parent=None,
        base_sha256=weights_sha256(folder), config_sha256=None, code_version=CODE_VERSION, job=None, consumed=[],
        train_loss=None, val_loss=None, learning_rate=None, tokens_seen=0, examples_seen=0, skill=None, level=None,
        bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")), dtype="float32",
        seeds={"weights": seed}, by="trainer",
    )  # fmt: skip
    (folder / ".ledger.json").write_bytes(encode_pretty(record))
    (folder / "README.md").write_text(card(record), encoding="utf-8")


def _copy_base(base: Path, folder: Path) -> None:
    """Copy the plain files of a local model folder; weights must be safetensors, nothing is ever unpickled."""
    if not list(base.glob("*.safetensors")):
        raise InvalidData(where=str(base), detail="has no *.safetensors; convert the weights first, pickles are not read")
    for path in sorted(base.iterdir()):
        if path.is_file() and (path.suffix in {".safetensors", ".json", ".jinja", ".txt", ".model"}):
            shutil.copyfile(path, folder / path.name)


def _facts(source: ModelSource, folder: Path, now: datetime) -> ModelFacts:
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    tokenizer = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    return ModelFacts(
        name=source.name, base=source.config.base, architecture=config.architectures[0],
        context_length=config.max_position_embeddings, vocab_size=config.vocab_size, tokenizer_sha256=tokenizer,
        base_sha256=weights_sha256(folder), created_at=iso(now),
    )  # fmt: skip


def check_locked(source: ModelSource) -> ModelFacts:
    """Give the locked facts. Raises InvalidConfig when the configuration asks for another base, or for more context."""
    model = source.paths.model(source.name)
    facts = read_if_there(ModelFacts, model.facts)
    if facts is None:
        raise InvalidData(where=str(model.facts), detail="is missing; run: python -m trainer init")
    _refuse_change(source, facts)
    return facts


def open_stream(source: ModelSource, hyperparams: TrainingConfig, device: str) -> tuple[Stream, list[str]]:
    """Load the newest complete descendant of source.parent with its state; give the stream and remarks for the log.

    A base (step 0) starts afresh: new optimizer, seeded random state. Raises ManifestMismatch, InvalidData.
    """
    ledger = Ledger(source.paths)
    ledger.keep_copies(source.name)
    name = resume_point(ledger, source.name, source.parent)
    model_paths: ModelPaths = source.paths.model(source.name)
    folder = model_paths.checkpoint(name)
    weights_id = verify(folder)
    rng.seed_all(hyperparams.seed)
    model = load_fresh(folder, device)
    # With a cache packed examples read each other: the proofs and the loop run without; what is saved says otherwise.
    model.config.use_cache = False
    optimizer = create_optimizer(model, hyperparams.optimizer)
    stream = Stream(
        name=source.name, checkpoint=name, weights_id=weights_id, companions=companions(folder), model=model,
        tokenizer=load_tokenizer(folder), optimizer=optimizer,
        schedule=create_schedule(optimizer, hyperparams.schedule), average=WeightAverage(model, hyperparams.ema_decay),
        rng=rng.capture(), lineage=lineage(ledger, source.name, name), settings=hyperparams,
    )  # fmt: skip
    remarks = []
    if checkpoint_step(name) > 0:
        remarks = read_state(model_paths.training_state(name), stream)
        # What was saved was configured then; what is configured now holds from here on.
        configure_optimizer(optimizer, hyperparams.optimizer)
        configure_schedule(stream.schedule, hyperparams.schedule, hyperparams.optimizer.lr)
    return stream, [f"training goes on from {name}", *remarks]

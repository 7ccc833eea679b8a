"""A home with real tiny checkpoints, and the real oracle serving it from a thread of the test, on a free port."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from core.checkpoints.ledger import SIDECAR, write_manifest
from core.clock import SystemClock
from core.http.oracle import Oracle as Client
from core.http.ports import take_port
from core.keys import make_keys, read_key
from core.paths import Paths
from core.records import encode_pretty
from tests.core.checkpoints.checkpoint_builder import make_record
from tests.fakes import make_home
from trainer.serve.app import Oracle, build, server_of
from trainer.serve.handlers import LOAD_WAIT_S
from trainer.tiny.model import build as build_tiny
from trainer.tiny.tokenizer import SPECIALS

STEPS = (0, 10, 20, 30, 40)


def name_of(step: int) -> str:
    """Give the checkpoint name of a step."""
    return f"checkpoint-{step}-20261120-2130"


def add_checkpoint(paths: Paths, model: str, step: int, seed: int, name: str | None = None) -> str:
    """Build a tiny model from a seed as a checkpoint of its own; give its name."""
    name = name or name_of(step)
    folder = paths.model(model).checkpoint(name)
    folder.mkdir(parents=True)
    build_tiny(folder, seed)
    _make_talkative(folder / "model.safetensors")
    (folder / SIDECAR).write_bytes(encode_pretty(make_record(model, name, step, None)))
    write_manifest(folder)
    return name


def _make_talkative(path: Path) -> None:
    """Strengthen the layers against the embedding: fresh weights say their last token again, and all seeds the same.

    The special tokens, the ends of an answer among them, get no weight as an answer: every answer is as long as it may be.
    """
    weights = load_file(path)
    strong = {name: weight * 4 if ".layers." in name and weight.ndim == 2 else weight for name, weight in weights.items()}
    strong["model.embed_tokens.weight"][: len(SPECIALS)] = 0
    save_file(strong, path, metadata={"format": "pt"})


def oracle_home(home: Path) -> Paths:
    """Make a home with five checkpoints of `tiny` and one of `other`, each with weights of its own."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    paths = make_home(home)
    make_keys(paths)
    for step in STEPS:
        add_checkpoint(paths, "tiny", step, seed=step)
    add_checkpoint(paths, "other", 7, seed=99)
    return paths


@dataclass(frozen=True)
class Running:
    """A serving oracle."""

    paths: Paths
    oracle: Oracle
    url: str

    def key(self, name: str = "oracle-read") -> str:
        """Give a key."""
        return read_key(self.paths.tokens / name)

    def client(self, key: str = "oracle-admin", timeout_s: float = 60.0) -> Client:
        """Connect as a daemon does."""
        return Client(self.url, self.key(key), timeout_s)

    def openai(self) -> openai.OpenAI:
        """Connect with the official client, which retries nothing here."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key(), max_retries=0)


@contextmanager
def serving(paths: Paths, load_wait_s: float = LOAD_WAIT_S) -> Iterator[Running]:
    """Serve a home until the block ends."""
    torch.set_num_threads(1)
    oracle = build(paths, logging.getLogger("test.oracle"), SystemClock(), load_wait_s=load_wait_s)
    server = server_of(oracle)
    taken = take_port("127.0.0.1", 0, "inference", "WEAVER_ORACLE_PORT")
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[taken])))
    oracle.start()
    thread.start()
    try:
        yield Running(paths, oracle, f"http://127.0.0.1:{taken.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join()
        oracle.stop()

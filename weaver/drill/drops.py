"""Files with known, unique lines for the inbox of a factory that is being killed: by rename, and by a slow copy.

Place in the flow: `weaver drill`, tests/faults and benchmarks/kills.py drop by it. Files written: drops and sidecars in the
inbox of the given home, as a person writes them. Invariant: no two lines of all the drops are alike.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from core.files import replace_durable
from core.jobs.inbox import SIDECAR_ENDING
from core.jobs.job import JobTraining, Sidecar
from core.paths import Paths
from core.records import encode_pretty, read


@dataclass(frozen=True)
class Drop:
    """One dropped file: its name, and for each of its lines a text that no other line has."""

    name: str
    texts: list[str] = field(repr=False)
    epochs: int

    @property
    def stem(self) -> str:
        """Give what the job's id ends in."""
        return self.name.removesuffix(".jsonl")


def chat_lines(name: str, count: int) -> tuple[list[str], bytes]:
    """Make chat lines that no other name makes: their user texts, and the file."""
    texts = [f"line {number} of {name}" for number in range(1, count + 1)]
    messages = [[{"role": "user", "content": text}, {"role": "assistant", "content": text[::-1]}] for text in texts]
    return texts, b"".join(json.dumps({"messages": one}).encode() + b"\n" for one in messages)


class Dropper:
    """Drops files into the inbox of a home and remembers them."""

    def __init__(self, paths: Paths, rng: random.Random) -> None:
        self.paths, self._rng = paths, rng
        self.drops: list[Drop] = []
        self._copies: list[tuple[BinaryIO, bytes]] = []

    def _next(self, epochs: int, lines: int) -> tuple[Drop, bytes]:
        name = f"kills-{len(self.drops) + 1}.jsonl"
        texts, data = chat_lines(name, lines)
        drop = Drop(name, texts, epochs)
        self.drops.append(drop)
        if epochs != 1:
            sidecar = Sidecar(training=JobTraining(epochs=epochs))
            replace_durable(self.paths.inbox / f"{name}{SIDECAR_ENDING}", encode_pretty(sidecar))
        return drop, data

    def by_rename(self, lines: int, epochs: int = 1) -> Drop:
        """Drop a file that is whole from the first moment."""
        drop, data = self._next(epochs, lines)
        hidden = self.paths.inbox / f".{drop.name}.writing"
        hidden.write_bytes(data)
        hidden.rename(self.paths.inbox / drop.name)
        return drop

    def by_slow_copy(self, lines: int, epochs: int = 1) -> Drop:
        """Begin to drop a file that grows under its final name at every write_on()."""
        drop, data = self._next(epochs, lines)
        self._copies.append(((self.paths.inbox / drop.name).open("wb", buffering=0), data))
        return drop

    def write_on(self) -> None:
        """Write the next piece of every slow copy; pieces end anywhere, also within a line."""
        copies, self._copies = self._copies, []
        for file, data in copies:
            size = self._rng.randint(1, 2000)
            file.write(data[:size])
            if data[size:]:
                self._copies.append((file, data[size:]))
            else:
                file.close()

    @property
    def is_copying(self) -> bool:
        """Say whether a slow copy is under way."""
        return bool(self._copies)

    def by_columns(self, file: Path) -> Drop:
        """Drop a copy of a JSONL file that has questions, with its sidecar, which maps its columns."""
        name = f"kills-{file.stem}.jsonl"
        data = file.read_bytes()
        rows: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines()]
        drop = Drop(name, [row["question"].strip() for row in rows], 1)
        self.drops.append(drop)
        sidecar = read(Sidecar, Path(f"{file}{SIDECAR_ENDING}"))
        replace_durable(self.paths.inbox / f"{name}{SIDECAR_ENDING}", encode_pretty(sidecar))
        replace_durable(self.paths.inbox / name, data)
        return drop

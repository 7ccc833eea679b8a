"""The training state beside a checkpoint: what the next step needs to go on as if nothing had happened.

models/<model>/state/<checkpoint>/ holds weights.safetensors (the live weights; the checkpoint holds their average),
optimizer.pt (optimizer, schedule, random state; read with weights_only=True) and cursor.json, under a manifest. Nothing is read
from a folder whose manifest does not match. There is no gradient scaler to keep: training is in float32.
"""

from __future__ import annotations

import io
import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from core.checkpoints.history import newest_complete, where_to_go_on
from core.checkpoints.ledger import Ledger, verify
from core.errors import InvalidData
from core.names import checkpoint_order
from core.records import Record, encode_pretty, read
from trainer import rng
from trainer.optimizers.factory import param_names
from trainer.stream import Stream

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


class Cursor(Record, frozen=True, tag="weaver.cursor/1"):
    """cursor.json: where the stream stood. threads and torch are recorded because other ones are another stream of bits.

    accumulation_position is always 0: a state is only saved after a whole optimizer step, a partial one is discarded.
    """

    checkpoint: str
    step: int
    tokens_seen: int
    examples_seen: int
    accumulation_position: int
    average_updates: int
    threads: int
    torch: str


def write_state(folder: Path, stream: Stream, checkpoint: str) -> None:
    """Write the training state into a private folder; the caller adds the manifest, seals and moves it."""
    live = {name: p.detach().contiguous() for name, p in stream.model.named_parameters()}
    with disk_errors(folder):
        save_file(live, folder / "weights.safetensors")
    rest = {
        "names": param_names(stream.model), "optimizer": stream.optimizer.state_dict(),
        "schedule": stream.schedule.state_dict(), "rng": stream.rng,
    }  # fmt: skip
    _save_plain(rest, folder / "optimizer.pt")
    cursor = Cursor(
        checkpoint=checkpoint, step=stream.step, tokens_seen=stream.tokens_seen, examples_seen=stream.examples_seen,
        accumulation_position=0, average_updates=stream.average.updates, threads=torch.get_num_threads(),
        torch=str(torch.__version__),
    )  # fmt: skip
    (folder / "cursor.json").write_bytes(encode_pretty(cursor))


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise as OSError what safetensors says of the disk, an error of its own kind with the number in its text."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from error


class _Witness(io.BufferedWriter):
    """A file that remembers why it could not be written: torch only says that something is wrong with its position."""

    error: OSError | None = None

    def write(self, data: Buffer) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def _save_plain(value: object, path: Path) -> None:
    """Let torch write, and raise OSError where the disk is at fault."""
    with _Witness(io.FileIO(path, "wb")) as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            raise file.error or error from None


def read_state(folder: Path, stream: Stream) -> list[str]:
    """Put a saved state into a stream whose model holds the checkpoint's average; give remarks for the log.

    Raises ManifestMismatch, CorruptRecord, and InvalidData when the state belongs to another set of parameters.
    """
    verify(folder)
    cursor = read(Cursor, folder / "cursor.json")
    saved = _load_plain(folder / "optimizer.pt")
    names = param_names(stream.model)
    if saved["names"] != names:
        raise InvalidData(where=str(folder), detail="the optimizer state is of other parameters, or of another order of them")
    stream.average.load({name: p.detach().clone() for name, p in stream.model.named_parameters()}, cursor.average_updates)
    live = load_file(folder / "weights.safetensors")
    with torch.no_grad():
        for name, parameter in stream.model.named_parameters():
            parameter.copy_(live[name])
    stream.optimizer.load_state_dict(saved["optimizer"])
    stream.schedule.load_state_dict(saved["schedule"])
    stream.rng = saved["rng"]
    stream.step, stream.tokens_seen, stream.examples_seen = cursor.step, cursor.tokens_seen, cursor.examples_seen
    rng.restore(stream.rng)
    remarks = []
    if cursor.threads != torch.get_num_threads():
        remarks.append(f"saved with {cursor.threads} threads, going on with {torch.get_num_threads()}: other bits from here")
    if cursor.torch != str(torch.__version__):
        remarks.append(f"saved by torch {cursor.torch}, going on with {torch.__version__}: other bits from here")
    return remarks


def _load_plain(path: Path) -> dict[str, Any]:
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError) as error:
        raise InvalidData(where=str(path), detail="holds more than plain tensors, lists and numbers; it is not read") from error
    return saved


def resume_point(ledger: Ledger, model: str, parent: str | None) -> str:
    """Say from which checkpoint training goes on: the newest descendant of parent whose weights and state are complete.

    parent null means the base; one that a reset took back means head. Raises InvalidData when neither it nor a descendant of it
    has a complete state.
    """
    names = ledger.names(model)
    start = parent or next((name for name in names if checkpoint_order(name)[0] == 0), None)
    if start is None:
        raise InvalidData(where=f"models/{model}", detail="there is no base checkpoint; run: python -m trainer init")
    start = where_to_go_on(ledger, model, start)
    newest = newest_complete(ledger, model, start)
    if newest is not None:
        return newest
    raise InvalidData(
        where=f"models/{model}",
        detail=f"neither {start} nor a later checkpoint has a complete training state; move head to one that has",
    )

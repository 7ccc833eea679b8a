"""The pause: while queue/paused.json is there, nothing is claimed. It is truth and survives restarts.

Place in the flow: train_next sets and clears it when it obeys an order, and looks before it claims; status shows it.
File read and written: queue/paused.json. Invariant: the file is there exactly while jobs may not be claimed.
"""

from __future__ import annotations

from typing import Literal

from core.files import OPS, Ops, replace_durable
from core.paths import Paths
from core.records import Record, encode_pretty, read_if_there


class Pause(Record, frozen=True, tag="weaver.pause/1"):
    """queue/paused.json: who wanted it and how. pause keeps the running job in processing/, stop gives it back."""

    verb: Literal["pause", "stop"]
    by: str
    at: str


def paused(paths: Paths) -> Pause | None:
    """Give the pause; None when jobs may be claimed. Raises CorruptRecord, NewerRecord."""
    return read_if_there(Pause, paths.paused)


def set_paused(paths: Paths, pause: Pause, ops: Ops = OPS) -> None:
    """Let nothing be claimed from now on, durably; a pause that is there already is replaced."""
    replace_durable(paths.paused, encode_pretty(pause), ops)


def clear_paused(paths: Paths, ops: Ops = OPS) -> bool:
    """Let jobs be claimed again, durably; False when there was no pause."""
    try:
        ops.unlink(paths.paused)
    except FileNotFoundError:
        return False
    ops.fsync(paths.paused.parent)
    return True

"""A checkpoint and where a model stands: the records of models/<model>/ (CONTRACTS.md section 8)."""

from __future__ import annotations

from core.records import Part, Record
from core.runs.run import RowSpan


class Checkpoint(Record, frozen=True, tag="weaver.checkpoint/1"):
    """.ledger.json of a checkpoint and its copy in ledger/: written once. step 0 is the base, parent null only there.

    consumed names every job row trained since the parent; losses are means per trained token in nats; bytes is the size of the
    weights file; config_sha256 is null for the base, which nothing trained. The weights_id is not here: it is the hash of the
    manifest that lists this very file.
    """

    model: str
    name: str
    step: int
    parent: str | None
    created_at: str
    weights_id_of_parent: str | None
    base_sha256: str
    config_sha256: str | None
    code_version: str
    job: str | None
    consumed: list[RowSpan]
    train_loss: float | None
    val_loss: float | None
    learning_rate: float | None
    tokens_seen: int
    examples_seen: int
    skill: str | None
    level: int | None
    bytes: int
    dtype: str
    seeds: dict[str, int]
    by: str


class Head(Record, frozen=True, tag="weaver.head/1"):
    """head.json: the checkpoint that the next step continues from. Only train_next writes it.

    cut: checkpoints at which a reset cut the history off; they and what descends from them are never continued.
    """

    checkpoint: str
    reason: str
    at: str
    cut: list[str] = []


class Pin(Record, frozen=True, tag="weaver.pin/1"):
    """pins/<checkpoint>.json: never remove this checkpoint."""

    checkpoint: str
    reason: str
    at: str


class Prompted(Part, frozen=True):
    """One fingerprint prompt: its ids, the fixed continuation and the log-probability of each continuation token."""

    prompt_ids: list[int]
    continuation_ids: list[int]
    logprobs: list[float]


class Fingerprint(Record, frozen=True, tag="weaver.fingerprint/1"):
    """fingerprint.json: what this checkpoint answers, by a fresh load of the staged folder. 16 fixed prompts + 8 of the job."""

    checkpoint: str
    dtype: str
    prompts: list[Prompted]

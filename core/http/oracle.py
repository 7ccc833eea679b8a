"""What the oracle and its clients say to each other beyond the OpenAI API: one type per body, shared by both sides.

Place in the flow: trainer/serve answers with these, probes, ranking and deployment ask with them. Reads and writes no file.

Two extensions of CONTRACTS.md section 10: `POST /v1/weaver/batch` answers many conversations in one request (one HTTP exchange
per question costs more than the answer), and `POST /v1/score` also takes lists of token ids, which the proof needs to be exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.http.client import Client
from core.records import Part

MOST_CONVERSATIONS = 512
LOAD_TIMEOUT_S = 600.0


class BatchRequest(Part, frozen=True):
    """POST /v1/weaver/batch: answer each conversation greedily, by at most max_tokens tokens."""

    model: str
    conversations: list[list[dict[str, Any]]]
    max_tokens: int


class BatchAnswer(Part, frozen=True):
    """One answer, or the error for which there is none. logprob: sum over its tokens, the end token included; ms: its time."""

    model: str
    system_fingerprint: str
    text: str | None
    finish_reason: str | None
    logprob: float | None
    tokens: int | None
    ms: float | None
    error: str | None


class BatchAnswers(Part, frozen=True):
    """The answers, in the order of the conversations."""

    model: str
    system_fingerprint: str
    answers: list[BatchAnswer]


class ScoreRequest(Part, frozen=True):
    """POST /v1/score: prompt or messages with completion, or prompt_ids with completion_ids (one list per pair)."""

    model: str
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    completion: str | None = None
    prompt_ids: list[list[int]] | None = None
    completion_ids: list[list[int]] | None = None


class ScoreAnswer(Part, frozen=True):
    """The log-probability of each completion token (its id in tokens), in nats, and their sum."""

    model: str
    system_fingerprint: str
    tokens: list[int]
    logprobs: list[float]
    sum: float


class ScoreAnswers(Part, frozen=True):
    """One answer per pair of ids."""

    model: str
    system_fingerprint: str
    scores: list[ScoreAnswer]


class ModelInfo(Part, frozen=True):
    """What the oracle knows of a checkpoint. dtype and device are null until it is loaded; bytes: size of its weights files.

    checkpoint: the id that answers; held: whether this oracle process has had it loaded since it started.
    """

    checkpoint: str
    loaded: bool
    held: bool
    weights_id: str
    step: int
    dtype: str | None
    device: str | None
    bytes: int


class ModelRow(Part, frozen=True):
    """One entry of GET /v1/models: a checkpoint or an alias."""

    id: str
    object: str
    created: int
    owned_by: str
    weaver: ModelInfo


class ModelList(Part, frozen=True):
    """GET /v1/models."""

    object: str
    data: list[ModelRow]


class ModelRequest(Part, frozen=True):
    """POST /admin/load and /admin/unload."""

    model: str


class AliasRequest(Part, frozen=True):
    """POST /admin/alias. alias: `<model>/champion`, or `champion` for the default model."""

    alias: str
    model: str


class Served(Part, frozen=True):
    """What an admin route answers: the checkpoint meant, and the alias that it was given."""

    model: str
    system_fingerprint: str
    alias: str | None = None


class Oracle:
    """The oracle as its clients see it. Every call raises Unavailable or RemoteRefused."""

    def __init__(self, url: str, key: str, timeout_s: float = 60.0) -> None:
        self.client = Client("the oracle", url, key, timeout_s)

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def models(self) -> list[ModelRow]:
        """List what can be asked for."""
        return self.client.get("/v1/models", ModelList).data

    def answer(self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], max_tokens: int) -> BatchAnswers:
        """Let a checkpoint answer at most MOST_CONVERSATIONS conversations, greedily."""
        request = BatchRequest(model=model, conversations=[list(one) for one in conversations], max_tokens=max_tokens)
        return self.client.post("/v1/weaver/batch", request, BatchAnswers)

    def score(self, model: str, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> ScoreAnswers:
        """Let a checkpoint score (prompt_ids, continuation_ids) pairs."""
        prompts, completions = [list(prompt) for prompt, _ in pairs], [list(completion) for _, completion in pairs]
        request = ScoreRequest(model=model, prompt_ids=prompts, completion_ids=completions)
        return self.client.post("/v1/score", request, ScoreAnswers)

    def load(self, model: str) -> Served:
        """Have a checkpoint verified and loaded (the admin key)."""
        return self.client.post("/admin/load", ModelRequest(model=model), Served, LOAD_TIMEOUT_S)

    def unload(self, model: str) -> Served:
        """Have a checkpoint let go (the admin key)."""
        return self.client.post("/admin/unload", ModelRequest(model=model), Served)

    def alias(self, alias: str, model: str) -> Served:
        """Point an alias at a checkpoint, loading it first (the admin key)."""
        return self.client.post("/admin/alias", AliasRequest(alias=alias, model=model), Served, LOAD_TIMEOUT_S)

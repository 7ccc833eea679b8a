"""An oracle without a server: it answers from the suites, as right as the test says, and can misbehave in every known way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.checkpoints.champion import Champion
from core.checkpoints.ledger import Ledger, verify
from core.errors import ManifestMismatch, RemoteRefused, Unavailable
from core.http.oracle import BatchAnswer, BatchAnswers, ModelInfo, ModelRow, Oracle, ScoreAnswer, ScoreAnswers, Served
from core.names import checkpoint_step
from core.paths import Paths
from core.records import encode_pretty
from tests.core.checkpoints.checkpoint_builder import logprob_of
from tests.core.checkpoints.score_builder import committed_suites

ANSWERS = {item.prompt: (name, place, item.answer) for name, suite in committed_suites().items()
           for place, item in enumerate(suite.items)}  # fmt: skip


class FakeOracle(Oracle):
    """Serves the checkpoints of a home.

    wrong[checkpoint][suite]: how many of the first items it gets wrong (all, if not said). logprob[checkpoint]: what each
    token of its continuations gets, if it is not what its fingerprint says. is_away: no answer at all; away_after: none after
    so many more calls. swaps: other weights are served under a name. on_alias: what happens when a
    checkpoint gets the alias. Like the real one it keeps champion.json.
    """

    def __init__(self, paths: Paths) -> None:
        super().__init__("http://127.0.0.1:1", "key")
        self.ledger = Ledger(paths)
        self.paths = paths
        self.wrong: dict[str, dict[str, int]] = {}
        self.logprob: dict[str, float] = {}
        self.away_after: int | None = None
        self.on_alias: dict[str, Callable[[], None]] = {}
        self.swaps: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.held: set[str] = set()
        self.asked: list[tuple[str, str, int]] = []
        self.calls: list[tuple[str, str]] = []
        self.is_away = False
        self.refuses: set[str] = set()
        self.failing_answers = 0
        self.connections = 0

    def connect(self, paths: Paths, environ: Mapping[str, str], key: str = "oracle-read") -> Oracle:
        """Stand in for core.evals.ask.connect."""
        assert paths == self.paths
        self.connections += 1
        return self

    def restart(self) -> None:
        """Forget what a new process would not know."""
        self.held = set(self.aliases.values())

    def _named(self, model: str) -> str:
        """Give the checkpoint name that a request means."""
        self._answers()
        name = self.aliases.get(model) or model.removeprefix("tiny/")
        if name in self.refuses or not self.ledger.is_complete("tiny", name):
            raise RemoteRefused(service="the oracle", status=404, url="/", detail=f"no model {model}")
        return name

    def _answers(self) -> None:
        if self.away_after is not None:
            self.is_away = self.away_after <= 0
            self.away_after -= 1
        if self.is_away:
            raise Unavailable(service="the oracle", url="http://127.0.0.1:1", detail="connection refused")

    def _identity(self, name: str) -> tuple[str, str]:
        served = self.swaps.get(name, name)
        return f"tiny/{served}", self.ledger.weights_id("tiny", served)

    def answer(self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], max_tokens: int) -> BatchAnswers:
        """Answer from the suites."""
        name = self._named(model)
        id_, weights_id = self._identity(name)
        answers = []
        for place, conversation in enumerate(conversations):
            suite, item, golden = ANSWERS[conversation[0]["content"]]
            assert len(golden.encode()) < max_tokens
            if place == 0:
                self.asked.append((name, suite, len(conversations)))
            is_wrong = item < self.wrong.get(name, {}).get(suite, 10**9)
            error = "out of memory" if place < self.failing_answers else None
            text = None if error else "?" if is_wrong else golden
            answers.append(
                BatchAnswer(
                    model=id_, system_fingerprint=weights_id, text=text, finish_reason=None if error else "stop",
                    logprob=-1.0, tokens=3, ms=1.0, error=error,
                )
            )  # fmt: skip
        return BatchAnswers(model=id_, system_fingerprint=weights_id, answers=answers)

    def score(self, model: str, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> ScoreAnswers:
        """Give each continuation token the log-probability of the checkpoint that is really served."""
        name = self._named(model)
        id_, weights_id = self._identity(name)
        served = self.swaps.get(name, name)
        value = self.logprob.get(served, logprob_of(served))
        scores = [
            ScoreAnswer(
                model=f"tiny/{name}", system_fingerprint=weights_id, tokens=list(ids), logprobs=[value] * len(ids),
                sum=value * len(ids),
            )
            for _, ids in pairs
        ]  # fmt: skip
        return ScoreAnswers(model=id_, system_fingerprint=weights_id, scores=scores)

    def load(self, model: str) -> Served:
        """Verify and load."""
        name = self._named(model)
        self.calls.append(("load", name))
        try:
            verify(self.paths.model("tiny").checkpoint(name))
        except ManifestMismatch as error:
            raise RemoteRefused(service="the oracle", status=409, url="/admin/load", detail=str(error)) from error
        self.held.add(name)
        return Served(model=f"tiny/{name}", system_fingerprint=self.ledger.weights_id("tiny", name))

    def alias(self, alias: str, model: str) -> Served:
        """Point an alias at a checkpoint."""
        name = self._named(model)
        self.calls.append(("alias", name))
        self.held.add(name)
        self.aliases[alias] = name
        weights_id = self.ledger.weights_id("tiny", name)
        champion = Champion(alias=f"tiny/{alias}", checkpoint=name, weights_id=weights_id, at="2026-11-20T21:30:00.000Z")
        self.paths.model("tiny").champion.write_bytes(encode_pretty(champion))
        self.on_alias.get(name, lambda: None)()
        return Served(model=f"tiny/{name}", system_fingerprint=self.ledger.weights_id("tiny", name), alias=alias)

    def models(self) -> list[ModelRow]:
        """List the checkpoints and the aliases."""
        self._answers()
        rows = [(f"tiny/{name}", name) for name in self.ledger.names("tiny")]
        return [self._row(id_, name) for id_, name in [*self.aliases.items(), *rows]]

    def _row(self, id_: str, name: str) -> ModelRow:
        info = ModelInfo(
            checkpoint=f"tiny/{name}", loaded=name in self.held, held=name in self.held,
            weights_id=self.ledger.weights_id("tiny", name), step=checkpoint_step(name), dtype="float32", device="cpu", bytes=5,
        )  # fmt: skip
        return ModelRow(id=id_, object="model", created=0, owned_by="weaver", weaver=info)

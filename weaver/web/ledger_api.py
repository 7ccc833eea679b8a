"""GET /api/ledger: the checkpoints, their scores, and the best of them.

Place in the flow: core.checkpoints.ledger finds them, status/ranking.json orders them. Invariant: only reads; ids, never
paths; a figure that nobody measured is null.
"""

from __future__ import annotations

import bisect
from typing import Any

import msgspec
from starlette.responses import Response

from core.checkpoints.ledger import Ledger
from core.checkpoints.places import read_places
from core.checkpoints.served import read_deployments, served
from core.errors import InvalidData, UsageError
from core.evals.score import Score
from core.paths import Paths
from core.records import read
from weaver.best import METRICS as METRICS
from weaver.best import best_checkpoints
from weaver.checkpoint_rows import checkpoint_rows
from weaver.web.answers import Best, CheckpointDetail, LedgerPage, LedgerRow, LedgerSummary, ModelSummary, ScoreRow
from weaver.web.replies import reply

MOST_ROWS = 500


class LedgerApi:
    """The ledger routes."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def checkpoints(self, model: str | None = None, limit: int = 100, after: int = 0) -> Response:
        """List every checkpoint ever recorded, by model and step; next is the `after` of the following page."""
        if not 1 <= limit <= MOST_ROWS or after < 0:
            raise UsageError(detail=f"limit is {limit} and after {after}; expected 1 to {MOST_ROWS} and 0 or more.")
        rows = checkpoint_rows(self._paths, model, removed=True)
        end, right = after + limit, self._accuracies()
        page = [LedgerRow(**msgspec.structs.asdict(row), accuracy=right.get(row.id)) for row in rows[after:end]]
        return reply(LedgerPage(checkpoints=page, next=end if end < len(rows) else None))

    def _accuracies(self) -> dict[str, float]:
        models = Ledger(self._paths).models()
        places = ((model, place) for model in models for place in read_places(self._paths, model) or ())
        return {f"{model}/{place.checkpoint}": place.accuracy for model, place in places}

    def summary(self) -> Response:
        """Say for each model how many checkpoints there are, which is the head, what is served."""
        ledger = Ledger(self._paths)
        return reply(LedgerSummary(models=[self._summary(ledger, model) for model in ledger.models()]))

    def _summary(self, ledger: Ledger, model: str) -> ModelSummary:
        links, names, head = ledger.links(model), ledger.names(model), ledger.head(model)
        current, previous = served(read_deployments(self._paths.model(model)))
        newest = ledger.get(model, names[-1]) if names else None
        return ModelSummary(
            model=model, recorded=len(links), present=len(names), on_chain=len(ledger.chain(model)),
            head=head.checkpoint if head else None, serving=current, previous=previous,
            newest=newest.name if newest else None, step=newest.step if newest else None,
            tokens_seen=newest.tokens_seen if newest else None, examples_seen=newest.examples_seen if newest else None,
            pinned=sorted(ledger.pins(model)),
        )  # fmt: skip

    def best(self, metric: str = "accuracy", model: str | None = None) -> Response:
        """Name the best checkpoint of each model, or of one: by accuracy, by composite, or by training loss."""
        return reply(Best(metric=metric, best=best_checkpoints(self._paths, metric, model)))

    def checkpoint(self, checkpoint: str) -> Response:
        """Show the record of one checkpoint and its scores, without their items."""
        ledger = Ledger(self._paths)
        model, name = ledger.resolve(checkpoint, removed=True)
        rows = checkpoint_rows(self._paths, model, removed=True)
        row = rows[bisect.bisect_left([row.step for row in rows], ledger.get(model, name).step) :]
        marks = next(item for item in row if item.id == f"{model}/{name}")
        facts = {**msgspec.structs.asdict(ledger.get(model, name)), **msgspec.structs.asdict(marks)}
        return reply(CheckpointDetail(**{**facts, "scores": self._scores(model, name)}))

    def _scores(self, model: str, name: str) -> list[Any]:
        found = []
        for path in sorted(self._paths.model(model).scores(name).glob("[!.]*.json")):
            try:
                score = msgspec.structs.asdict(read(Score, path))
            except (InvalidData, FileNotFoundError):
                continue
            found.append(ScoreRow(**{name: score[name] for name in ScoreRow.__struct_fields__}))
        return found

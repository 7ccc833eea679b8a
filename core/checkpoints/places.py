"""The places of the checkpoints: the record of the ranking, apart from what computes it.

Place in the flow: rank_checkpoints writes status/ranking.json, deploy_best, pruning, status and web read it. Invariant: light
to import (no skill, no score): `weaver status` answers in a fifth of a second.
"""

from __future__ import annotations

from core.errors import InvalidData
from core.paths import Paths
from core.records import Part, Record, read_if_there


class Ranked(Part, frozen=True):
    """One place. accuracy: right answers / questions of the suites wanted now, those not asked counted as wrong.

    low and high: the 95 % interval of the difference to the first, on the questions both were asked (0 and 0 for the first).
    composite: 0.4 / (1 + loss) + 0.4 accuracy + 0.2 speed; null without a loss. The loss is that of the golden answers where
    every checkpoint was asked for it, else the training loss. eligible: it may be tested for deployment.
    """

    place: int
    checkpoint: str
    accuracy: float
    low: float
    high: float
    composite: float | None
    eligible: bool
    reasons: list[str]


class Ranking(Record, frozen=True, tag="weaver.ranking/1"):
    """status/ranking.json."""

    models: dict[str, list[Ranked]]


def read_places(paths: Paths, model: str) -> list[Ranked] | None:
    """Give the places of a model; None while there is no whole ranking of it (a view: rank_checkpoints writes it again)."""
    try:
        ranking = read_if_there(Ranking, paths.status / "ranking.json")
    except InvalidData:
        return None
    return ranking.models.get(model) if ranking is not None else None

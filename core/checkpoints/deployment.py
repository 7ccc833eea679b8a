"""A deployment: one line of models/<model>/deployments.jsonl, the append-only truth (CONTRACTS.md section 9)."""

from __future__ import annotations

from typing import Literal

from core.records import Part, Record


class PairedTest(Part, frozen=True):
    """A paired test on the same items: how many only the candidate got right, how many only the champion, one-sided p."""

    suite: str
    better: int
    worse: int
    p: float
    effect: float


class Proof(Part, frozen=True):
    """How the served log-probabilities compare: with the chosen checkpoint (max_diff) and with the nearest other (margin).

    margin is the distance to the nearest other checkpoint, null when there was no other to tell apart.
    """

    prompts: int
    max_diff: float
    tolerance: float
    margin: float | None


class Deployment(Record, frozen=True, tag="weaver.deployment/1"):
    """One decision about what is served, with its reason; verdict refused keeps what was served before.

    test: over all suites together (suite `all`), null where nothing was compared; by_suite: the same, suite by suite.
    weights_id: null when the manifest is gone. newest: the newest checkpoint of the history then, null in old records.
    """

    id: str
    at: str
    model: str
    checkpoint: str
    weights_id: str | None
    previous: str | None
    host: str
    alias: str
    verdict: Literal["deployed", "rolled_back", "refused", "failed"]
    reason: str
    test: PairedTest | None
    by_suite: list[PairedTest]
    guards: list[PairedTest]
    proof: Proof | None
    by: str
    newest: str | None = None

"""models/ and queue/completed/ -> less of them: remove what retention allows, keep every record.

Place in the flow: looks at every model each minute. Removes weights and training states that core.checkpoints.retention names,
what lies in models/<model>/.trash, what a dead trainer left in .staging and state/, the data.jsonl of old completed generated
jobs, and the temporary files of killed writers. Writes missing ledger copies first. Invariants: a removal is one rename into
.trash, then deletion; weights go only after their ledger copy is there; records (ledger copies, scores, deployments, job.json,
plan.json, attempts) stay.

The data of a generated job can be made again from the seed in its sidecar.json; job.json keeps its counts and plan.json its
rows, so the account of every line stays whole. Dropped files of people are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.checkpoints.ledger import Ledger
from core.checkpoints.ranking import Ranking
from core.checkpoints.removal import (
    holdings,
    left_over,
    must_stay,
    remove_state,
    remove_weights,
    sweep,
    temporaries,
)
from core.checkpoints.retention import removable
from core.errors import InvalidData
from core.files import OPS
from core.jobs.job import Job
from core.jobs.spool import Spool
from core.paths import Paths
from core.records import read_if_there
from daemons.harness.context import Context, Report

REMOVALS_PER_TICK = 20
CANDIDATES_KEPT = 3
GENERATED_DATA_KEPT = 200
SWEEP_S = 3600.0


class PruneCheckpoints:
    """Removes what nobody needs any more."""

    name = "prune_checkpoints"
    every = "60s"
    patience_s = 120.0
    wakes_on = ("models/*/ledger",)
    nice = 10

    def __init__(self) -> None:
        self._generated: dict[str, bool] = {}  # completed jobs whose data is there: only saves reading them again
        self._ledger: Ledger | None = None
        self._swept_mono = float("-inf")

    def tick(self, ctx: Context) -> Report:
        """Remove up to REMOVALS_PER_TICK things."""
        ledger = self._ledger = self._ledger or Ledger(ctx.paths)
        removed, notes = list[str](), list[str]()
        for model in ledger.models():
            for name in ledger.keep_copies(model):
                ctx.log.info("wrote the missing ledger copy of %s", name, extra={"checkpoint": f"{model}/{name}"})
            try:
                for what in self._prune(ctx, ledger, model, REMOVALS_PER_TICK - len(removed)):
                    removed.append(what)
                    ctx.beat(f"removed {what}")
            except InvalidData as error:
                notes.append(f"nothing of {model} is removed: {error}")
            sweep(ctx.paths, model, left_over(ctx.paths, ledger, model, ctx.clock.now().timestamp()))
        removed += self._drop_generated_data(ctx.paths, REMOVALS_PER_TICK - len(removed))
        if ctx.clock.mono() - self._swept_mono >= SWEEP_S:
            self._swept_mono = ctx.clock.mono()
            for path in temporaries(ctx.paths, ctx.clock.now().timestamp()):
                path.unlink(missing_ok=True)
        notes.insert(0, f"removed {len(removed)}: {removed[0]} ..." if removed else "nothing to remove")
        return Report(
            did=len(removed), note="; ".join(notes), facts={"removed": removed}, again=len(removed) >= REMOVALS_PER_TICK
        )

    def _prune(self, ctx: Context, ledger: Ledger, model: str, room: int) -> Iterator[str]:
        """Remove states and weights of one model. Raises InvalidData when its history or deployments cannot be read."""
        candidates = _candidates(ctx.paths, model)
        kept = [*must_stay(ctx.paths, ledger, model), *(candidates or ())]
        removal = removable(holdings(ctx.paths, ledger, model), ctx.config.weaver.checkpoints.keep_last, kept)
        is_unranked = candidates is None and model == ctx.config.weaver.model
        things = [("state", name) for name in removal.states]
        things += [] if is_unranked else [("weights", name) for name in removal.weights]
        for kind, name in things:
            if room <= 0:
                return
            if kind == "state":
                remove_state(ctx.paths, model, name)
            elif not remove_weights(ctx.paths, model, name):
                continue
            room -= 1
            ctx.event("removed", what=f"{kind} of {name}", model=model)
            yield f"{model}: {kind} of {name}"

    def _drop_generated_data(self, paths: Paths, room: int) -> list[str]:
        """Remove data.jsonl of the oldest completed generated jobs beyond the newest GENERATED_DATA_KEPT."""
        spool, dropped = Spool(paths), list[str]()
        root = paths.state("completed")
        with_data = [job for job in spool.list("completed") if (root / job / "data.jsonl").exists()]
        self._generated = {job: self._is_generated(root / job) for job in with_data}
        generated = [job for job in with_data if self._generated[job]]
        for job in generated[: max(0, min(room, len(generated) - GENERATED_DATA_KEPT))]:
            try:
                OPS.unlink(root / job / "data.jsonl")
            except FileNotFoundError:
                continue  # queued again meanwhile
            dropped.append(f"data of {job}")
        return dropped

    def _is_generated(self, folder: Path) -> bool:
        if folder.name in self._generated:
            return self._generated[folder.name]
        try:
            record = read_if_there(Job, folder / "job.json")
        except InvalidData:
            return False
        return record is not None and record.source == "generate_data" and record.generator is not None


def _candidates(paths: Paths, model: str) -> list[str] | None:
    """Give the first of the ranking that may be deployed; None without a ranking. Raises InvalidData if it is damaged."""
    ranking = read_if_there(Ranking, paths.status / "ranking.json")
    if ranking is None or model not in ranking.models:
        return None
    return [place.checkpoint for place in ranking.models[model] if place.eligible][:CANDIDATES_KEPT]

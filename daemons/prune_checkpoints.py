"""models/ and queue/completed/ -> less of them: remove what retention allows, keep every record.

Place in the flow: looks at every model each minute, sooner when the disk is near its floor. Removes weights and training states
that core.checkpoints.retention names, what lies in models/<model>/.trash, what a dead trainer left in .staging and state/, and
the temporary files of killed writers; the data of jobs that are done it has compressed and bounded (daemons/pruning). Writes
missing ledger copies first. Invariants: a removal is one rename into .trash, then deletion; what may go is asked anew for each
one; weights go only after their ledger copy is there; records (ledger copies, scores, deployments, job.json, plan.json,
attempts) stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from core.checkpoints.ledger import Ledger
from core.checkpoints.ranking import Ranking
from core.checkpoints.removal import (
    bytes_in,
    holdings,
    left_over,
    removing,
    sweep,
    take_state,
    take_weights,
    temporaries,
    wanted_by_people,
)
from core.checkpoints.retention import Keeping, removable
from core.errors import InvalidData
from core.paths import Paths
from core.records import read_if_there
from daemons.harness.context import Context, Report
from daemons.pruning.data import OldData

REMOVALS_PER_TICK = 20
CANDIDATES_KEPT = 3
SWEEP_S = 3600.0
# When less than NEAR times the floor is free, room is made until ROOM times the floor is.
NEAR = 1.1
ROOM = 1.25


class PruneCheckpoints:
    """Removes what nobody needs any more."""

    name = "prune_checkpoints"
    every = "60s"
    patience_s = 120.0
    wakes_on = ("models/*/ledger",)
    nice = 10

    def __init__(self) -> None:
        self._data = OldData()
        self._sizes: dict[Path, int] = {}  # of checkpoints, which never change
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
        removed += self._data.tidy(ctx, REMOVALS_PER_TICK - len(removed))
        if ctx.clock.mono() - self._swept_mono >= SWEEP_S:
            self._swept_mono = ctx.clock.mono()
            for path in temporaries(ctx.paths, ctx.clock.now().timestamp()):
                path.unlink(missing_ok=True)
        notes.insert(0, f"removed {len(removed)}: {removed[0]} ..." if removed else "nothing to remove")
        return Report(
            did=len(removed), note="; ".join(notes), facts={"removed": removed}, again=len(removed) >= REMOVALS_PER_TICK
        )

    def _size_of(self, folder: Path) -> int:
        if folder not in self._sizes:
            self._sizes[folder] = bytes_in([folder])
        return self._sizes[folder]

    def _prune(self, ctx: Context, ledger: Ledger, model: str, room: int) -> Iterator[str]:
        """Remove states and weights of one model. Raises InvalidData when its history or deployments cannot be read.

        What may go is asked anew for each removal: meanwhile gigabytes were deleted, and something may be wanted by now.
        """
        self._sizes = {folder: size for folder, size in self._sizes.items() if folder.exists()}
        mine, keeping, left = ctx.paths.model(model), _keeping(ctx), set[tuple[str, str]]()
        if not self._named(ctx, ledger, model, keeping):  # this also measures what is new, while nobody waits for it
            return
        while room > 0:
            with removing(ctx.paths, model):
                thing = next((one for one in self._named(ctx, ledger, model, keeping) if one not in left), None)
                if thing is None:
                    return
                kind, name = thing
                size = self._size_of(mine.training_state(name) if kind == "state" else mine.checkpoint(name))
                if kind == "state":
                    take_state(ctx.paths, model, name)
                elif not take_weights(ctx.paths, model, name):
                    left.add(thing)
                    continue
            keeping = replace(keeping, wanted_bytes=max(0, keeping.wanted_bytes - size))
            room -= 1
            ctx.event("removed", what=f"{kind} of {name}", model=model)
            yield f"{model}: {kind} of {name}"

    def _named(self, ctx: Context, ledger: Ledger, model: str, keeping: Keeping) -> list[tuple[str, str]]:
        """Give what may go of a model now, in order, as (state or weights, checkpoint). Raises InvalidData."""
        candidates = _candidates(ctx.paths, model)
        kept = [*wanted_by_people(ctx.paths, ledger, model), *(candidates or ())]
        removal = removable(holdings(ctx.paths, ledger, model, self._size_of), keeping, kept)
        is_unranked = candidates is None and model == ctx.config.weaver.model
        things = [("state", name) for name in removal.states]
        return things if is_unranked else things + [("weights", name) for name in removal.weights]


def _keeping(ctx: Context) -> Keeping:
    """Give the rules in force: those of the configuration, and what the disk needs now."""
    rules, floor = ctx.config.weaver.checkpoints, ctx.config.weaver.disk.floor_bytes
    free = shutil.disk_usage(ctx.paths.home).free
    wanted = int(ROOM * floor) - free if free < NEAR * floor else 0
    return Keeping(keep_s=rules.keep_h * 3600, keep_bytes=int(rules.keep_gb * 1e9), wanted_bytes=wanted)


def _candidates(paths: Paths, model: str) -> list[str] | None:
    """Give the first of the ranking that may be deployed; None without a ranking. Raises InvalidData if it is damaged."""
    ranking = read_if_there(Ranking, paths.status / "ranking.json")
    if ranking is None or model not in ranking.models:
        return None
    return [place.checkpoint for place in ranking.models[model] if place.eligible][:CANDIDATES_KEPT]

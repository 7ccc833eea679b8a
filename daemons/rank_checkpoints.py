"""models/*/scores -> status/curriculum.json and status/ranking.json: where each skill stands, and every checkpoint in order.

Place in the flow: reads the scores, the ledger and the deployments of the default model; generate_data and probe_checkpoints
read the curriculum, deploy_best the ranking. The only writer of both views. Invariant: both are pure functions of files and
configuration; deleted or damaged, they are there again within one tick (5 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.checkpoints.ledger import Ledger
from core.checkpoints.ranking import Ranked, Ranking, rank
from core.checkpoints.served import read_deployments, rolled_back
from core.evals.curriculum import Curriculum, curriculum, nothing_to_learn, suites_wanted
from core.evals.score import Score
from core.evals.shelf import ScoreShelf
from core.files import replace_quick
from core.records import encode_pretty
from daemons.harness.context import Context, Report


class RankCheckpoints:
    """Orders every scored checkpoint and says what is to be learnt next."""

    name = "rank_checkpoints"
    every = "5s"
    patience_s = 60.0
    wakes_on = ("models/*/scores", "models/*/head.json", "models/*/deployments.jsonl")
    nice = 10

    def __init__(self) -> None:
        self._shelf: tuple[str, ScoreShelf] | None = None
        self._ledger: Ledger | None = None
        self._seen: object = None
        self._scored: object = None
        self._views: dict[str, bytes] = {}
        self._report = Report()

    def tick(self, ctx: Context) -> Report:
        """Compute both views if anything they follow from has changed, and write those that are not on the disk as they are."""
        model = ctx.config.weaver.model
        ledger = self._ledger = self._ledger or Ledger(ctx.paths)
        here, chain = ledger.names(model), ledger.chain(model)
        scores, unread = self._scores(ctx, model, here)
        taken_back = rolled_back(read_deployments(ctx.paths.model(model)))
        seen = (ctx.config, model, here, chain, taken_back)
        if seen != self._seen or scores is not self._scored:
            progress = curriculum(
                model, scores, chain[::-1], ctx.config.skills,
                effect=ctx.config.evals.regression_effect, significance=ctx.config.evals.significance,
            )  # fmt: skip
            records = {name: ledger.get(model, name) for name in here if name in chain}
            places = rank(scores, suites_wanted(progress), records, taken_back)
            ranking = Ranking(models={model: places})
            self._views = {"curriculum.json": encode_pretty(progress), "ranking.json": encode_pretty(ranking)}
            self._report = Report(note=_note(progress, places), facts={"scores": len(scores), "unread": unread})
            self._seen, self._scored = seen, scores
        written = [name for name, view in self._views.items() if _write_if_other(ctx.paths.status / name, view)]
        return Report(did=len(written), note=self._report.note, facts=self._report.facts)

    def _scores(self, ctx: Context, model: str, live: Sequence[str]) -> tuple[list[Score], int]:
        if self._shelf is None or self._shelf[0] != model:
            self._shelf = model, ScoreShelf(ctx.paths.model(model))
        shelf, known = self._shelf[1], set(self._shelf[1].unread)
        scores = shelf.read(live)
        for path in shelf.unread.keys() - known:
            ctx.log.warning("%s is not read: %s", path.name, shelf.unread[path])
        return scores, len(shelf.unread)


def _write_if_other(path: Path, view: bytes) -> bool:
    try:
        if path.read_bytes() == view:
            return False
    except FileNotFoundError:
        pass
    replace_quick(path, view)
    return True


def _note(progress: Curriculum, places: Sequence[Ranked]) -> str:
    skills = ", ".join(f"{name} {skill.mastered_level}/{skill.target_level}" for name, skill in sorted(progress.skills.items()))
    first = f"first {places[0].checkpoint} at {100 * places[0].accuracy:.0f} %" if places else "nothing is scored yet"
    return f"mastered {skills or 'nothing: no skill is enabled'}{', nothing to learn' * nothing_to_learn(progress)}; {first}"

"""models/*/ledger -> models/<model>/scores/: examine every new checkpoint on the frozen suites that the curriculum wants.

Place in the flow: asks the oracle, grades by the skills, writes each score once; rank_checkpoints reads them. Also appends
models/<model>/superseded.jsonl. Invariants: only suites that pass their checks and calibration are asked; a score holds answers
of exactly the checkpoint and weights it names, everything else in it is an error; nothing is asked twice, but for a void score,
which is tried MOST_VOIDS times. Without the oracle the tick ends and costs nothing.

Who is asked first: the base, until something is deployed (it is the first opponent); then the newest checkpoint of the
surviving history; then what is served, when a new level came up after its turn. Older ones are superseded once a newer one was
scored. A checkpoint that the oracle refuses (its files are damaged) gets another turn after REFUSED_S, then after twice as long
each time up to LONGEST_REFUSED_S: the oracle reads every byte of it to refuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.checkpoints.ledger import Ledger
from core.checkpoints.served import read_deployments, served
from core.clock import iso
from core.errors import InvalidData, NotFound, RemoteRefused
from core.evals.ask import ask, connect
from core.evals.curriculum import Curriculum, suites_wanted
from core.evals.score import Decoding, Score, Sitting, grade_answers, write_score
from core.evals.shelf import ScoreShelf
from core.evals.suite import Suite, load_suite
from core.evals.superseded import Superseded, append_superseded, read_superseded
from core.http.oracle import Oracle
from core.names import checkpoint_step
from core.paths import Paths
from core.records import read_if_there
from daemons.harness.context import Context, Report

MOST_VOIDS = 3
REFUSED_S, LONGEST_REFUSED_S = 60.0, 3600.0
TOKENS_TO_SPARE = 8


@dataclass(frozen=True, slots=True)
class _Scene:
    """What one tick works with. chain: checkpoints of the surviving history with weights, the newest first."""

    ctx: Context
    model: str
    ledger: Ledger
    suites: Mapping[str, Suite]
    scores: Sequence[Score]
    chain: Sequence[str]

    def missing(self, checkpoint: str) -> list[Suite]:
        """Give the suites that a checkpoint is still to be asked."""
        mine = [score for score in self.scores if score.checkpoint == checkpoint]
        return [suite for suite in self.suites.values() if not _is_settled(suite, mine)]


def _is_settled(suite: Suite, scores: Sequence[Score]) -> bool:
    mine = [score for score in scores if score.suite_sha256 == suite.sha256]
    return any(score.counts for score in mine) or sum(score.void for score in mine) >= MOST_VOIDS


class ProbeCheckpoints:
    """Examines checkpoints through the oracle."""

    name = "probe_checkpoints"
    every = "5s"
    patience_s = 180.0
    wakes_on = ("models/*/head.json", "models/*/ledger", "status/curriculum.json")
    nice = 10

    def __init__(self, connect: Callable[[Paths, Mapping[str, str]], Oracle] = connect) -> None:
        self._connect = connect
        self._shelf: tuple[str, ScoreShelf] | None = None
        self._ledger: Ledger | None = None
        self._suites: dict[str, Suite] = {}
        self._suites_of: object = None
        self._refused: dict[str, tuple[float, float]] = {}  # until when (monotonic) it is not asked again, for how long in all

    def tick(self, ctx: Context) -> Report:
        """Examine at most one checkpoint, on all suites that it is still to be asked."""
        model = ctx.config.weaver.model
        state = _curriculum(ctx.paths)
        if state is None or state.model != model:
            return Report(note="waits for the curriculum")
        suites, damaged = self._load_suites(ctx, suites_wanted(state))
        scene = self._look(ctx, model, suites)
        candidates = _candidates(scene)
        self._refused = {name: wait for name, wait in self._refused.items() if name in candidates}
        chosen = next((name for name in candidates if scene.missing(name) and not self._is_refused(ctx, name)), None)
        if chosen is None:
            passed_over = _supersede(scene)
            rest = "nothing else to ask" if self._refused else "everything is scored" if scene.chain else "no checkpoint yet"
            note = "; ".join([rest, *damaged])
            return Report(did=len(passed_over), note=note, facts={"superseded": passed_over})
        try:
            asked = self._examine(scene, chosen)
        except RemoteRefused as error:
            if error.facts["status"] in (401, 403):
                raise
            _, waited_s = self._refused.get(chosen, (0.0, REFUSED_S / 2))
            wait_s = min(2 * waited_s, LONGEST_REFUSED_S)
            self._refused[chosen] = ctx.clock.mono() + wait_s, wait_s
            ctx.log.error("%s is not examined: %s", chosen, error, extra={"checkpoint": chosen})
            return Report(note=f"{chosen} is refused: {error}")
        self._refused.pop(chosen, None)
        note = f"{chosen}: " + ", ".join(f"{score.suite} {_result(score)}" for score in asked)
        return Report(did=len(asked), note="; ".join([note, *damaged]), facts={"checkpoint": chosen}, again=True)

    def _is_refused(self, ctx: Context, checkpoint: str) -> bool:
        return checkpoint in self._refused and self._refused[checkpoint][0] > ctx.clock.mono()

    def _load_suites(self, ctx: Context, wanted: Sequence[str]) -> tuple[dict[str, Suite], list[str]]:
        """Give the wanted suites that are in order, and what is wrong with the others."""
        folder = ctx.paths.suites
        files = tuple((path.name, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.json")))
        if files != self._suites_of:
            self._suites, self._suites_of = {}, files
        damaged = []
        for name in wanted:
            if name not in self._suites:
                try:
                    self._suites[name] = load_suite(folder, name)
                except (InvalidData, NotFound) as error:
                    damaged.append(f"suite {name} is not asked: {error}")
                    ctx.log.error(damaged[-1])
        return {name: self._suites[name] for name in wanted if name in self._suites}, damaged

    def _look(self, ctx: Context, model: str, suites: Mapping[str, Suite]) -> _Scene:
        ledger = self._ledger = self._ledger or Ledger(ctx.paths)
        if self._shelf is None or self._shelf[0] != model:
            self._shelf = model, ScoreShelf(ctx.paths.model(model))
        here = ledger.names(model)
        chain = [name for name in ledger.chain(model) if name in here]
        return _Scene(ctx, model, ledger, suites, self._shelf[1].read(here), chain)

    def _examine(self, scene: _Scene, checkpoint: str) -> list[Score]:
        """Ask one checkpoint every suite it misses. Raises Unavailable, RemoteRefused, ManifestMismatch."""
        scores: list[Score] = []
        weights_id = scene.ledger.weights_id(scene.model, checkpoint)
        oracle = self._connect(scene.ctx.paths, scene.ctx.environ)
        try:
            for suite in scene.missing(checkpoint):
                if scene.ctx.stopping():
                    break
                scores.append(_sit(scene, oracle, checkpoint, weights_id, suite))
                scene.ctx.beat(f"{checkpoint}: {suite.name} {_result(scores[-1])}")
        finally:
            oracle.close()
        return scores


def _curriculum(paths: Paths) -> Curriculum | None:
    try:
        return read_if_there(Curriculum, paths.status / "curriculum.json")
    except InvalidData:
        return None  # a view: rank_checkpoints writes it again


def _candidates(scene: _Scene) -> list[str]:
    """Give the checkpoints that may be asked, most urgent first."""
    champion, _ = served(read_deployments(scene.ctx.paths.model(scene.model)))
    here = scene.ledger.names(scene.model)
    base = [name for name in here if checkpoint_step(name) == 0] if champion is None else []
    return [*base, *scene.chain[:1], *([champion] if champion in here else [])]


def _supersede(scene: _Scene) -> list[str]:
    """Record every checkpoint that was never examined and has a descendant that was."""
    paths = scene.ctx.paths.model(scene.model)
    scored = {score.checkpoint for score in scene.scores}
    if not scene.chain or scene.chain[0] not in scored:
        return []
    known = read_superseded(paths)
    passed_over = [name for name in scene.chain[1:] if name not in scored and name not in known and checkpoint_step(name) > 0]
    for name in passed_over:
        append_superseded(paths, Superseded(checkpoint=name, by=scene.chain[0], at=iso(scene.ctx.clock.now())))
    return passed_over


def _sit(scene: _Scene, oracle: Oracle, checkpoint: str, weights_id: str, suite: Suite) -> Score:
    """Ask one suite, grade and write the score."""
    ctx, decoding = scene.ctx, Decoding(max_tokens=_longest_answer(suite) + TOKENS_TO_SPARE)
    started_at = iso(ctx.clock.now())
    replies = ask(oracle, f"{scene.model}/{checkpoint}", weights_id, suite.items, decoding.max_tokens)
    sitting = Sitting(
        model=scene.model, checkpoint=checkpoint, weights_id=weights_id, host=ctx.host, decoding=decoding,
        started_at=started_at, finished_at=iso(ctx.clock.now()),
    )  # fmt: skip
    score = grade_answers(suite, replies, sitting)
    write_score(ctx.paths.model(scene.model), score)
    if score.void:
        first = next(item.error for item in score.items if item.error is not None)
        ctx.log.warning("the score of %s on %s is void: %s", checkpoint, suite.name, first, extra={"checkpoint": checkpoint})
    return score


def _longest_answer(suite: Suite) -> int:
    """Give an upper bound of the tokens in a golden answer: no tokenizer needs more than one a byte."""
    return max(len(item.answer.encode()) for item in suite.items)


def _result(score: Score) -> str:
    return f"void ({score.errors} errors)" if score.void else f"{score.correct}/{score.n}"

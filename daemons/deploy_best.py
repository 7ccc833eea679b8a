"""status/ranking.json -> models/<model>/deployments.jsonl: serve the best checkpoint and keep proving that it is served.

Place in the flow: takes the eligible ones ahead of what is served, in order; the first that core.checkpoints.promotion promotes
is verified, loaded, proved, given the alias, and proved again through the alias. People's orders (deploy CHECKPOINT, rollback)
go first, with the same proofs; what they chose holds until a checkpoint made since is better. Writes deployments.jsonl (the
truth) and status/deployment.json (the view, back within one tick when deleted). Invariants: a deployment is recorded only after
the oracle has proved what it serves; a failed proof gives the alias back to the previous checkpoint (to the base, if there was
none), with a record and an event; deployments.jsonl decides what should be served, so a kill at any point ends in one of the
two states, and an order is obeyed once: the record that it led to has its id.

It proves again after every restart of the oracle, when the oracle's alias file says something else, and every
evals.proof_every_s. A refused candidate is recorded once for each opponent and verdict, a failing one MOST_FAILURES times.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from core.checkpoints.deployment import Deployment
from core.checkpoints.fingerprint import Mismatch, Proved
from core.checkpoints.ledger import Ledger
from core.checkpoints.places import Ranked, read_places
from core.checkpoints.promotion import Decision, Promotion, decide
from core.checkpoints.ranking import current_scores
from core.checkpoints.served import CHAMPION, Serving, append_deployment, changes, ever_served, read_serving, write_serving
from core.checkpoints.standing import DEPLOYER, Standing
from core.checkpoints.switching import Switch
from core.clock import compact, from_iso, iso
from core.errors import InvalidData, RemoteRefused, Unavailable, WeaverError
from core.evals.ask import connect
from core.evals.score import Score
from core.evals.shelf import ScoreShelf
from core.http.oracle import Oracle
from core.orders import Order, answer, pending
from core.paths import Paths
from core.process import ProcessRef
from core.skills.registry import enabled
from core.status import read_heartbeat
from daemons.harness.context import Context, Report

Verdict = Literal["deployed", "rolled_back", "refused", "failed"]

CANDIDATES = 3


@dataclass(frozen=True, slots=True)
class _Scene:
    """What one tick works with. order_id: of the order that is being obeyed."""

    ctx: Context
    at: Standing
    order_id: str | None = None

    @property
    def model(self) -> str:
        """Give the model."""
        return self.at.model

    @property
    def current(self) -> str | None:
        """Give what should be served."""
        return self.at.current


class DeployBest:
    """Keeps the best checkpoint served, and proved."""

    name = DEPLOYER
    every = "5s"
    patience_s = 300.0
    wakes_on = ("status/ranking.json", "status/deployment.json", "models/*/champion.json")
    nice = 10

    def __init__(self, connect: Callable[..., Oracle] = connect) -> None:
        self._connect = connect
        self._shelf: tuple[str, ScoreShelf] | None = None
        self._ledger: Ledger | None = None
        self._found: object = None
        self._config: object = None
        self._current: list[Score] = []
        self._view: Serving | None = None  # so that a deleted view comes back with its time of proof

    def tick(self, ctx: Context) -> Report:
        """Obey a person, else prove what is served if that is due and deploy at most one better checkpoint."""
        model = ctx.config.weaver.model
        ledger = self._ledger = self._ledger or Ledger(ctx.paths)
        scene = _Scene(ctx, Standing.of(ctx.paths, ledger, model))
        for order in pending(ctx.paths, self.name)[:1]:
            return self._obey(scene, order)
        if scene.current is not None and not self._is_proved(scene):
            gone_back = self._prove(scene, scene.current)
            if gone_back is not None:
                return gone_back
        return self._promote(scene)

    # -- what is served ----------------------------------------------------------------------------------------------

    def _is_proved(self, scene: _Scene) -> bool:
        """Say whether the last proof still holds; if so, the view is on the disk afterwards."""
        ctx, change = scene.ctx, list(changes(scene.at.deployments))[-1][1]
        on_disk = read_serving(ctx.paths)
        view = self._view if self._view is not None and self._view.deployment == change.id else on_disk
        if view is None or view.deployment != change.id:
            return False
        if on_disk != view:
            write_serving(ctx.paths, view)
        self._view = view
        oracle, age_s = _oracle_process(ctx.paths), (ctx.clock.now() - from_iso(view.verified_at)).total_seconds()
        is_same_oracle = oracle is None or oracle == view.oracle
        return is_same_oracle and 0 <= age_s < ctx.config.evals.proof_every_s and scene.at.alias() == scene.current

    def _prove(self, scene: _Scene, current: str) -> Report | None:
        """Prove what is served, putting a lost alias right first; give a report if it had to go back."""
        with self._switch(scene) as switch:
            weights_id = scene.at.weights_id(current)
            if scene.at.alias() == current:
                found = switch.prove(current, weights_id)
            else:
                scene.ctx.log.warning("the alias is not at %s, where it belongs: it is put back", current)
                found = switch.flip(current, weights_id)
            if isinstance(found, Mismatch):
                return self._go_back(scene, switch, current, found)
        self._show(scene, current, list(changes(scene.at.deployments))[-1][1])
        return None

    def _go_back(self, scene: _Scene, switch: Switch, bad: str, why: Mismatch) -> Report:
        """Serve what was served before a checkpoint that failed its proof, and say so. Raises InvalidData."""
        record = self._back(scene, switch, bad, why)
        return Report(did=1, note=f"rolled back from {bad} to {record.previous}: {why.reason}")

    def _back(self, scene: _Scene, switch: Switch, bad: str, why: Mismatch) -> Deployment:
        """Serve what was served before a checkpoint that failed its proof. Raises InvalidData when nothing is left."""
        target = next((name for name in (scene.current, scene.at.previous, scene.at.base()) if name not in (None, bad)), None)
        if target is None:
            detail = f"it fails its proof and nothing else can be served: {why.reason}"
            raise InvalidData(where=f"{scene.model}/{bad}", detail=detail)
        found = switch.flip(target, scene.at.weights_id(target))
        ending = found.reason if isinstance(found, Proved) else f"which is not proved either: {found.reason}"
        reason = f"{why.reason}; back to {target}, {ending}"
        record = self._record(scene, bad, "rolled_back", reason, found, previous=target)
        if isinstance(found, Proved):
            self._show(scene, target, record)
        return record

    def _show(self, scene: _Scene, checkpoint: str, change: Deployment) -> None:
        now = iso(scene.ctx.clock.now())
        self._view = Serving(
            deployment=change.id, model=scene.model, checkpoint=f"{scene.model}/{checkpoint}",
            weights_id=scene.at.weights_id(checkpoint), host=scene.ctx.host, alias=CHAMPION, deployed_at=change.at,
            verified_at=now, oracle=_oracle_process(scene.ctx.paths),
        )  # fmt: skip
        write_serving(scene.ctx.paths, self._view)

    # -- what people choose ------------------------------------------------------------------------------------------

    def _obey(self, scene: _Scene, order: Order) -> Report:
        """Do what a person ordered with the same proofs, and answer; killed in between, the record made is the answer."""
        record = next((one for one in scene.at.deployments if one.id == order.id), None)
        try:
            record = record or self._choose(replace(scene, order_id=order.id), order, scene.at.target(order.verb, order.args))
        except (Unavailable, RemoteRefused):
            raise  # the order waits for the oracle, or for the right key
        except WeaverError as error:
            ok, message = False, str(error)
        else:
            ok = record.by == order.by and record.verdict in ("deployed", "rolled_back")
            now = record.checkpoint if record.verdict == "deployed" else record.previous
            message = f"{scene.model}/{now} is served" + (f": {record.reason}" if ok else f" as before: {record.reason}")
        answer(scene.ctx.paths, self.name, order, ok, message)
        return Report(did=1, note=f"order {order.verb} by {order.by}: {message}", again=True)

    def _choose(self, scene: _Scene, order: Order, target: str) -> Deployment:
        """Stage, flip, prove and record what a person chose; what cannot be proved leaves things as they were."""
        why = f"by hand: {order.args.get('reason') or 'no reason given'}"
        with self._switch(scene) as switch:
            staged = switch.stage(target)
            scene.ctx.beat(f"staged {target}")
            if isinstance(staged, Mismatch):
                return self._record(scene, target, "failed", f"{why}; {staged.reason}", staged, None, scene.current, order.by)
            found = switch.flip(target, scene.at.weights_id(target))
            if isinstance(found, Mismatch):
                return self._back(scene, switch, target, found)
        reason = f"{why}; {found.reason}"
        if order.verb == "rollback" and scene.current is not None:
            record = self._record(scene, scene.current, "rolled_back", reason, found, None, target, order.by)
        else:
            record = self._record(scene, target, "deployed", reason, found, None, scene.current, order.by)
        self._show(scene, target, record)
        return record

    # -- what should be served ---------------------------------------------------------------------------------------

    def _promote(self, scene: _Scene) -> Report:
        """Test the candidates in order and deploy the first that is promoted."""
        serving = f"serving {scene.current or 'nothing yet'}"
        places = read_places(scene.ctx.paths, scene.model)
        if places is None:
            return Report(note=f"{serving}; waits for the ranking")
        scores, opponent = self._scores(scene), scene.current or scene.at.base()
        if opponent is None or not any(score.checkpoint == opponent for score in scores):
            return Report(note=f"{serving}; waits for {opponent or 'the base'} to be examined")
        note = "nothing is ranked ahead of it" if scene.current else "nothing may be deployed yet"
        if scene.at.is_chosen_by_hand():
            note = "chosen by hand: only a checkpoint made since then and better takes its place"
        for place in _ahead(places, scene):
            if scene.at.has_failed(place.checkpoint, scene.ctx.clock.now()):
                note = f"{place.checkpoint} is ahead and could not be deployed: weaver deploy history"
                continue
            decision = self._decide(scene, scores, place.checkpoint, opponent)
            if decision.verdict is Promotion.PROMOTE:
                return self._deploy(scene, place.checkpoint, decision)
            note = f"{place.checkpoint} is not deployed, {decision.verdict}: {decision.reason}"
            if decision.verdict is not Promotion.UNMEASURED:  # that is no verdict yet
                self._refuse(scene, place.checkpoint, decision)
        return Report(note=f"{serving}; {note}")

    def _scores(self, scene: _Scene) -> list[Score]:
        if self._shelf is None or self._shelf[0] != scene.model:
            self._shelf = scene.model, ScoreShelf(scene.ctx.paths.model(scene.model))
        found = self._shelf[1].read(scene.at.ledger.names(scene.model))
        if found is not self._found or self._config is not scene.ctx.config:
            skills = enabled(scene.ctx.config.skills)
            self._found, self._config = found, scene.ctx.config
            self._current = [score for score in current_scores(found) if score.skill in skills]
        return self._current

    def _decide(self, scene: _Scene, scores: Sequence[Score], candidate: str, opponent: str) -> Decision:
        best = set(ever_served(scene.at.deployments))
        return decide(
            [score for score in scores if score.checkpoint == candidate],
            [score for score in scores if score.checkpoint == opponent],
            [score for score in scores if score.checkpoint in best],
            scene.ctx.config.evals,
            scene.at.ledger.get(scene.model, candidate).train_loss,
        )

    def _refuse(self, scene: _Scene, checkpoint: str, decision: Decision) -> None:
        """Record a refusal, once for each opponent and verdict."""
        kind, against = f"{decision.verdict}: ", ("refused", checkpoint, scene.current)
        past = [one.reason for one in scene.at.deployments if (one.verdict, one.checkpoint, one.previous) == against]
        if not any(reason.startswith(kind) for reason in past):
            self._record(scene, checkpoint, "refused", kind + decision.reason, None, decision, scene.current)

    def _deploy(self, scene: _Scene, checkpoint: str, decision: Decision) -> Report:
        """Stage, flip, prove, record; a candidate that cannot be staged leaves what is served untouched."""
        with self._switch(scene) as switch:
            staged = switch.stage(checkpoint)
            scene.ctx.beat(f"staged {checkpoint}")
            if isinstance(staged, Mismatch):
                self._record(scene, checkpoint, "failed", staged.reason, staged, decision, scene.current)
                return Report(did=1, note=f"{checkpoint} could not be deployed: {staged.reason}")
            found = switch.flip(checkpoint, scene.at.weights_id(checkpoint))
            if isinstance(found, Mismatch):
                return self._go_back(scene, switch, checkpoint, found)
        reason = f"{decision.reason}; {found.reason}"
        self._show(scene, checkpoint, self._record(scene, checkpoint, "deployed", reason, found, decision, scene.current))
        return Report(did=1, note=f"deployed {checkpoint}: {reason}", again=True)

    def _record(
        self, scene: _Scene, checkpoint: str, verdict: Verdict, reason: str, found: Proved | Mismatch | None,
        decision: Decision | None = None, previous: str | None = None, by: str = DEPLOYER,
    ) -> Deployment:  # fmt: skip
        ctx, now = scene.ctx, scene.ctx.clock.now()
        record = Deployment(
            id=scene.order_id or f"{compact(now)}-{os.urandom(4).hex()}", at=iso(now), model=scene.model,
            checkpoint=checkpoint, weights_id=scene.at.weights_id_if_known(checkpoint), previous=previous, host=ctx.host,
            alias=CHAMPION, verdict=verdict, reason=reason, test=decision.test if decision else None,
            by_suite=decision.by_suite if decision else [], guards=decision.guards if decision else [],
            proof=found.proof if isinstance(found, Proved) else None, by=by, newest=scene.at.newest(),
        )  # fmt: skip
        append_deployment(ctx.paths.model(scene.model), record)
        ctx.event(verdict, checkpoint=f"{scene.model}/{checkpoint}", previous=previous, reason=reason)
        ctx.log.info("%s %s: %s", verdict, checkpoint, reason, extra={"event": verdict, "checkpoint": checkpoint})
        return record

    @contextmanager
    def _switch(self, scene: _Scene) -> Iterator[Switch]:
        oracle = self._connect(scene.ctx.paths, scene.ctx.environ, "oracle-admin")
        try:
            yield Switch(oracle, scene.ctx.paths.model(scene.model), scene.model)
        finally:
            oracle.close()


def _oracle_process(paths: Paths) -> ProcessRef | None:
    """Say which process the oracle is; None while its heartbeat is missing."""
    beat = read_heartbeat(paths, "oracle")
    return None if beat is None else beat.process


def _ahead(places: Sequence[Ranked], scene: _Scene) -> list[Ranked]:
    """Give the first eligible places before the one that is served, those held back by a person's choice left out."""
    served_at = next((place.place for place in places if place.checkpoint == scene.current), len(places) + 1)
    ahead = [place for place in places if place.eligible and place.place < served_at]
    return [place for place in ahead if not scene.at.is_held_back(place.checkpoint)][:CANDIDATES]

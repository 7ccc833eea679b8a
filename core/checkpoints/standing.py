"""Where a model stands with its users: what is served, what was, what people chose, and what may be chosen now.

Place in the flow: deploy_best decides by it, `weaver deploy` and `weaver ckpt rm` refuse by it. Files read: models/<model>/,
through the ledger, deployments.jsonl, champion.json. Invariants: nothing is written here; what was there when a person last
chose is never deployed automatically afterwards, nor what was taken back: no choice of a person is flipped straight back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.checkpoints.champion import read_champion
from core.checkpoints.deployment import Deployment
from core.checkpoints.history import lineage, newest_complete
from core.checkpoints.ledger import Ledger
from core.checkpoints.served import changes, read_deployments, rolled_back, served
from core.clock import from_iso
from core.errors import Conflict, InvalidData, ManifestMismatch, NotFound
from core.names import checkpoint_step
from core.paths import Paths

DEPLOYER = "deploy_best"
MOST_FAILURES = 3
RETRY_S = 600.0


@dataclass(frozen=True, slots=True)
class Standing:
    """One model at one moment. current is what should be served, previous the last other one, not taken back."""

    paths: Paths
    ledger: Ledger
    model: str
    deployments: Sequence[Deployment]
    current: str | None
    previous: str | None

    @classmethod
    def of(cls, paths: Paths, ledger: Ledger, model: str) -> Standing:
        """Read it. Raises CorruptRecord, NewerRecord."""
        deployments = read_deployments(paths.model(model))
        return cls(paths, ledger, model, deployments, *served(deployments))

    def weights_id(self, checkpoint: str) -> str:
        """Give the weights_id that a checkpoint was deployed with, else that of its manifest. Raises ManifestMismatch."""
        mine = [one for one in self.deployments if (one.verdict, one.checkpoint) == ("deployed", checkpoint)]
        known = [one.weights_id for one in mine if one.weights_id is not None]
        return known[-1] if known else self.ledger.weights_id(self.model, checkpoint)

    def weights_id_if_known(self, checkpoint: str) -> str | None:
        """Give the weights_id; None when the manifest is gone."""
        try:
            return self.weights_id(checkpoint)
        except ManifestMismatch:
            return None

    def base(self) -> str | None:
        """Give the base of the model."""
        return next((name for name in self.ledger.names(self.model) if checkpoint_step(name) == 0), None)

    def alias(self) -> str | None:
        """Give the checkpoint that the oracle's alias file names; None when there is none or it is damaged."""
        try:
            champion = read_champion(self.paths, self.model)
        except InvalidData:
            return None
        return champion.checkpoint if champion is not None else None

    def has_failed(self, checkpoint: str, now: datetime) -> bool:
        """Say whether a candidate failed too often, or within RETRY_S, to be tried again automatically."""
        failed = [one.at for one in self.deployments if (one.verdict, one.checkpoint) == ("failed", checkpoint)]
        if not failed:
            return False
        # One from the future says only that the clock was set back: it holds nothing up until then.
        return len(failed) >= MOST_FAILURES or 0 <= (now - from_iso(failed[-1])).total_seconds() < RETRY_S

    def newest(self) -> str | None:
        """Give the newest checkpoint of the history, which head may not have come to yet; None before there is any."""
        head = self.ledger.head(self.model)
        return newest_complete(self.ledger, self.model, head.checkpoint) or head.checkpoint if head is not None else None

    def is_chosen_by_hand(self) -> bool:
        """Say whether what is served is a person's choice."""
        return any(decision.by != DEPLOYER for _, decision in list(changes(self.deployments))[-1:])

    def is_held_back(self, checkpoint: str) -> bool:
        """Say whether a checkpoint was there when a person last chose: it is then deployed by hand or not at all."""
        by_hand = [decision for _, decision in changes(self.deployments) if decision.by != DEPLOYER]
        if not by_hand:
            return False
        chosen = by_hand[-1]
        if chosen.newest is not None:  # the history knows what came first, also when the clock was set
            return checkpoint in lineage(self.ledger, self.model, chosen.newest)
        link = self.ledger.links(self.model).get(checkpoint)
        return link is None or link.created_at <= chosen.at

    def why_not(self, checkpoint: str) -> str | None:
        """Say why a checkpoint may not be served, whoever asks; None when it may be tried. Raises InvalidData."""
        if not self.ledger.is_complete(self.model, checkpoint):
            there = self.paths.model(self.model).checkpoint(checkpoint).is_dir()
            return "its weights are not complete on this disk" if there else "its weights were removed"
        if checkpoint not in self.ledger.chain(self.model):
            return "it is off-chain: the history from head to step 0 does not hold it"
        return None

    def way_back(self) -> str | None:
        """Give what a rollback serves: the last one served before that was not taken back and may be served, else the base.

        None when nothing was deployed yet or there is nothing else. Raises InvalidData.
        """
        if self.current is None:
            return None
        gone = rolled_back(self.deployments) | {self.current}
        earlier = [one.checkpoint for one in reversed(self.deployments) if one.verdict == "deployed"]
        base = self.base()
        tried = [name for name in dict.fromkeys([self.previous, *earlier, base]) if name is not None]
        return next((name for name in tried if name not in gone - {base} and self._may_return(name)), None)

    def target(self, verb: str, args: Mapping[str, Any]) -> str:
        """Give the checkpoint that an order to deploy_best wants served.

        verb: deploy, with the checkpoint in args, or rollback. Raises NotFound, InvalidData, Conflict saying why it may not be.
        """
        if verb == "rollback":
            target = self.way_back()
            if target is None:
                raise Conflict(detail=f"There is nothing to roll back to: {self.current or 'nothing'} is served.")
            return target
        if verb != "deploy":
            raise NotFound(kind="order to deploy_best", name=verb, known="deploy, rollback")
        model, checkpoint = self.ledger.resolve(str(args.get("checkpoint")), removed=True)
        if model != self.model:
            raise Conflict(detail=f"{model} is not served here: the alias is that of {self.model}, the default model.")
        reason = "it is served already" if checkpoint == self.current else self.why_not(checkpoint)
        if reason is not None:
            raise Conflict(detail=f"{model}/{checkpoint} is not deployed: {reason}.")
        return checkpoint

    def _may_return(self, name: str) -> bool:
        return name != self.current and self.why_not(name) is None

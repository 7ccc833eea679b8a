"""Moving the alias of a model on one oracle: stage, prove, flip, prove again.

Place in the flow: deploy_best decides and records, this does. Files read: the checkpoint's folder. Invariants: Proved is given
only after the oracle's own numbers were compared; what was flipped to is there, and no removal takes it from then on; whatever
the oracle refuses about a checkpoint is a Mismatch with its words, while an oracle that is away or a wrong key is raised.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.checkpoints.fingerprint import Mismatch, Proved
from core.checkpoints.ledger import is_complete, verify
from core.checkpoints.protection import deciding
from core.checkpoints.proving import prove_served
from core.checkpoints.served import CHAMPION
from core.errors import InvalidData, RemoteRefused
from core.http.oracle import Oracle
from core.paths import ModelPaths

_KEY_REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class Switch:
    """The alias of one model on one oracle. oracle needs the admin key. Every method raises Unavailable."""

    oracle: Oracle
    paths: ModelPaths
    model: str

    def stage(self, checkpoint: str) -> Proved | Mismatch:
        """Verify a checkpoint's files, have it loaded, and prove it under its own id; the alias stays where it is."""
        try:
            weights_id = verify(self.paths.checkpoint(checkpoint))
            self.oracle.load(self._id(checkpoint))
        except (InvalidData, OSError) as error:
            return Mismatch(str(error), float("inf"), None)
        except RemoteRefused as error:
            return self._refused(checkpoint, error)
        return self._prove(checkpoint, weights_id, self._id(checkpoint))

    def flip(self, checkpoint: str, weights_id: str) -> Proved | Mismatch:
        """Point the alias at a checkpoint and prove it through the alias."""
        try:
            self.oracle.alias(CHAMPION, self._id(checkpoint))
        except RemoteRefused as error:
            return self._refused(checkpoint, error)
        with deciding(self.paths):  # a removal that asked before the alias meant it has ended, and a later one leaves it
            is_there = is_complete(self.paths.checkpoint(checkpoint))
        if not is_there:
            return Mismatch(f"the weights of {checkpoint} were removed meanwhile", float("inf"), None)
        return self.prove(checkpoint, weights_id)

    def prove(self, checkpoint: str, weights_id: str) -> Proved | Mismatch:
        """Prove that the alias serves a checkpoint."""
        return self._prove(checkpoint, weights_id, CHAMPION)

    def _prove(self, checkpoint: str, weights_id: str, asked_as: str) -> Proved | Mismatch:
        try:
            return prove_served(self.oracle, self.paths, self.model, checkpoint, weights_id, asked_as)
        except RemoteRefused as error:
            return self._refused(checkpoint, error)

    def _refused(self, checkpoint: str, error: RemoteRefused) -> Mismatch:
        if error.facts["status"] in _KEY_REFUSED:
            raise error
        return Mismatch(f"the oracle refuses {checkpoint}: {error}", float("inf"), None)

    def _id(self, checkpoint: str) -> str:
        return f"{self.model}/{checkpoint}"

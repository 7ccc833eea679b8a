"""Proving through the oracle what it serves: identity by name and weights_id, then by the numbers that it gives.

Place in the flow: deploy_best proves before and after it moves an alias, after every restart of the oracle and every ten
minutes. Files read: fingerprint.json of the checkpoints concerned. Invariant: nothing is proved by what the oracle says of
itself alone: its log-probabilities must be those of the chosen checkpoint, and not those of another one that it has held.
"""

from __future__ import annotations

from core.checkpoints.checkpoint import Fingerprint
from core.checkpoints.fingerprint import Mismatch, Proved, prove
from core.errors import InvalidData
from core.http.oracle import Oracle
from core.paths import ModelPaths
from core.records import read

FINGERPRINT = "fingerprint.json"


def prove_served(
    oracle: Oracle, paths: ModelPaths, model: str, checkpoint: str, weights_id: str, asked_as: str
) -> Proved | Mismatch:
    """Ask the oracle for the fingerprint of a checkpoint under a name (its id or an alias) and say what the answer proves.

    A checkpoint without a readable fingerprint cannot be proved. Raises Unavailable, RemoteRefused.
    """
    try:
        chosen = read(Fingerprint, paths.checkpoint(checkpoint) / FINGERPRINT)
    except (OSError, InvalidData) as error:
        return Mismatch(f"the fingerprint of {checkpoint} cannot be read: {error}", float("inf"), None)
    pairs = [(prompted.prompt_ids, prompted.continuation_ids) for prompted in chosen.prompts]
    answers = oracle.score(asked_as, pairs)
    expected = (f"{model}/{checkpoint}", weights_id)
    identities = [(answers.model, answers.system_fingerprint), *((one.model, one.system_fingerprint) for one in answers.scores)]
    for found in identities:
        if found != expected:
            reason = f"{asked_as} was answered by {found[0]} ({found[1]}), expected {expected[0]} ({expected[1]})"
            return Mismatch(reason, float("inf"), found[0])
    try:
        return prove(chosen, _held(oracle, paths, model, checkpoint), [one.logprobs for one in answers.scores])
    except InvalidData as error:
        return Mismatch(str(error), float("inf"), None)


def _held(oracle: Oracle, paths: ModelPaths, model: str, chosen: str) -> list[Fingerprint]:
    """Give the fingerprints of the other checkpoints of a model that this oracle process has had in memory."""
    found = []
    names = {row.weaver.checkpoint.removeprefix(f"{model}/") for row in oracle.models() if row.weaver.held}
    for name in sorted(names - {chosen}):
        try:
            found.append(read(Fingerprint, paths.checkpoint(name) / FINGERPRINT))
        except (OSError, InvalidData):
            continue  # its weights were removed meanwhile, or it is of another model
    return found

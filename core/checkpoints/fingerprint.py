"""The proof of what is served: the oracle's log-probabilities against the fingerprints of checkpoints.

Place in the flow: deploy_best scores the chosen checkpoint's fingerprint prompts through the oracle and asks here what that
proves. Pure: reads and writes no file. Invariant: a served model is proved only when it is within tolerance of the chosen
checkpoint and nearer to it than to every other one that can be told apart from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.checkpoints.checkpoint import Fingerprint
from core.checkpoints.deployment import Proof
from core.errors import InvalidData

# Largest difference of a token's log-probability, in nats, between two runs of the same weights (DESIGN.md section 8).
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}

Logprobs = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Proved:
    """It is the chosen checkpoint. alike: other checkpoints that no fingerprint prompt tells apart from it."""

    proof: Proof
    alike: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Say it in one line, as a deployment's reason does."""
        text = f"proved on {self.proof.prompts} prompts: largest difference {self.proof.max_diff:.2g} nats"
        return f"{text}; cannot be told apart from {', '.join(self.alike)}" if self.alike else text


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What is served is not the chosen checkpoint, and how that shows. nearest: the checkpoint it looks like, if any does."""

    reason: str
    max_diff: float
    nearest: str | None


def distance(expected: Fingerprint, served: Logprobs) -> float:
    """Give the largest absolute difference in nats between a fingerprint and what was served for its prompts.

    Raises InvalidData when the served numbers are not one list per prompt with one number per continuation token.
    """
    _check(expected, served)
    return max(
        abs(here - there)
        for prompted, row in zip(expected.prompts, served, strict=True)
        for here, there in zip(prompted.logprobs, row, strict=True)
    )


def prove(chosen: Fingerprint, others: Sequence[Fingerprint], served: Logprobs) -> Proved | Mismatch:
    """Say whether what was served for the chosen checkpoint's prompts is that checkpoint and no other.

    Another checkpoint is compared on the prompts that both have. Raises InvalidData for a fingerprint without prompts, of an
    unknown dtype, or when the served numbers do not fit it.
    """
    if chosen.dtype not in TOLERANCE:
        detail = f"its fingerprint has dtype {chosen.dtype!r}; known: {', '.join(TOLERANCE)}"
        raise InvalidData(where=chosen.checkpoint, detail=detail)
    tolerance, max_diff = TOLERANCE[chosen.dtype], distance(chosen, served)
    compared = [_Compared.of(chosen, other, served) for other in others if other.checkpoint != chosen.checkpoint]
    apart = [other for other in compared if other.shared and other.expected > tolerance]
    nearest = min(apart, key=lambda other: other.there, default=None)
    if max_diff > tolerance:
        looks_like = nearest.name if nearest is not None and nearest.there <= tolerance else None
        reason = f"served log-probabilities differ by {max_diff:.3g} nats from {chosen.checkpoint}, at most {tolerance} may"
        return Mismatch(reason + (f"; they are those of {looks_like}" if looks_like else ""), max_diff, looks_like)
    nearer = next((other for other in apart if other.there <= other.here), None)
    if nearer is not None:
        reason = f"served log-probabilities are as near to {nearer.name} ({nearer.there:.3g} nats) as to {chosen.checkpoint}"
        return Mismatch(reason, max_diff, nearer.name)
    proof = Proof(
        prompts=len(chosen.prompts), max_diff=max_diff, tolerance=tolerance, margin=nearest.there if nearest else None
    )
    return Proved(proof, tuple(other.name for other in compared if other not in apart))


@dataclass(frozen=True, slots=True)
class _Compared:
    """Distances on the prompts that another checkpoint shares: served to chosen, served to it, chosen to it."""

    name: str
    shared: int
    here: float
    there: float
    expected: float

    @classmethod
    def of(cls, chosen: Fingerprint, other: Fingerprint, served: Logprobs) -> _Compared:
        theirs = {_key(prompted.prompt_ids, prompted.continuation_ids): prompted.logprobs for prompted in other.prompts}
        rows = [
            (prompted.logprobs, theirs[key], row)
            for prompted, row in zip(chosen.prompts, served, strict=True)
            if (key := _key(prompted.prompt_ids, prompted.continuation_ids)) in theirs
        ]
        tokens = [numbers for row in rows for numbers in zip(*row, strict=True)]
        return cls(
            other.checkpoint, len(rows),
            here=max((abs(mine - now) for mine, _, now in tokens), default=0.0),
            there=max((abs(its - now) for _, its, now in tokens), default=0.0),
            expected=max((abs(mine - its) for mine, its, _ in tokens), default=0.0),
        )  # fmt: skip


def _key(prompt: Sequence[int], continuation: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(prompt), tuple(continuation)


def _check(expected: Fingerprint, served: Logprobs) -> None:
    if not expected.prompts:
        raise InvalidData(where=expected.checkpoint, detail="its fingerprint has no prompts; expected at least one")
    shapes = [len(prompted.logprobs) for prompted in expected.prompts]
    if shapes != [len(row) for row in served]:
        raise InvalidData(
            where=expected.checkpoint, detail="the served log-probabilities do not fit the prompts of its fingerprint"
        )
    if not all(math.isfinite(number) for row in served for number in row):
        raise InvalidData(where=expected.checkpoint, detail="a served log-probability is not a finite number")

"""Finding the lines of one step that training cannot take: by bisection where numbers or code fail, one by one where it dies.

Place in the flow: the engine asks convict() when a step failed, and Watch tries the lines of a step alone at which the process
died before. Files: core/jobs/poison.py. Invariants: the weights, the optimizer and the random state are as before afterwards; a
line is named only after it failed by itself while a known good conversation did not.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.clock import SystemClock, iso
from core.errors import InvalidData
from core.files import replace_quick
from core.jobs.attempts import attempts_of
from core.jobs.job import DEATH
from core.jobs.poison import PROBE, PoisonLine, Probe, add_poison, poison_of, probe_of
from core.process import this_process
from core.records import encode_pretty
from core.text.labels import IGNORED
from trainer import rng
from trainer.data.dataset import Feature
from trainer.loop import Diverged
from trainer.plan import Planned, Rest, is_empty
from trainer.stream import Stream
from trainer.trial import Trial, Unit, Verdict, bisect, units_of

# What a line can do to a step in Python; memory that is too small (trial.is_out_of_memory) is no line's fault.
LINE_ERRORS = (Diverged, RuntimeError, IndexError, ValueError)
DEATHS_ALONE = 2
KEPT_BYTES = 1 << 16
# More lines than this (and more than FEW) are no poison: then the file, the configuration or the weights are at fault.
MOST = 0.05
FEW = 3
NAMED = 10
# How often a trainer must have died in a job before the lines of the step of its death are tried alone.
SUSPICION = 2


@dataclass(frozen=True)
class Case:
    """One job whose step failed: where its files are, and how many lines it has."""

    folder: Path
    data: Path
    stream: Stream
    lines: int

    def most(self) -> int:
        """Give how many lines of the job may be left out as poison before the job itself is at fault."""
        return max(FEW, int(MOST * self.lines))

    def record(self, line: int, found: Verdict, probes: int, now: datetime) -> PoisonLine:
        """Write down that a line is left out from now on, with the evidence."""
        poison = PoisonLine(
            line=line, code=found.code, reason=found.reason[:1500], step=self.stream.step + 1, probes=probes,
            checkpoint=self.stream.checkpoint, at=iso(now), raw_b64=_raw(self.data, line),
        )  # fmt: skip
        add_poison(self.folder, poison)
        return poison


def _raw(path: Path, line: int) -> str:
    with path.open("rb") as file:
        data = next((data for number, data in enumerate(file, 1) if number == line), b"")
    return base64.b64encode(data.removesuffix(b"\n")[:KEPT_BYTES]).decode("ascii")


def leave_out(case: Case, planned: Planned, pad_id: int) -> Planned:
    """Take the lines out of a plan that were found to be poison, the one included that may have killed us just before.

    Raises InvalidData when there are more of them than a job may have.
    """
    known = {line.line for line in poison_of(case.folder)}
    dead = convict_dead(case, known)
    return without(planned, frozenset(known if dead is None else {*known, dead.line}), pad_id)


def convict(case: Case, planned: Planned, rest: Rest, done: int) -> list[PoisonLine]:
    """Find and record the lines that made a step fail, `done` steps into rest.

    Empty when no line is at fault by itself: then the weights diverged, or the lines fail only together.
    """
    rng.restore(case.stream.rng)
    case.stream.optimizer.zero_grad(set_to_none=True)
    trial = Trial(case.stream.model, case.stream.tokenizer, planned.plan.batch_tokens)
    if not trial.is_sane():
        return []
    bad, probes = bisect(_lines_of_step(planned, rest, done), lambda units: trial.run(units) is not None)
    if not bad or len(planned.left_out) + len(bad) > case.most():
        return []
    found = [(unit, trial.run([unit])) for unit in bad]
    now = SystemClock().now()
    return [case.record(unit.line, verdict, probes, now) for unit, verdict in found if verdict is not None]


def _lines_of_step(planned: Planned, rest: Rest, done: int) -> list[Unit]:
    size = planned.plan.accumulation
    rows = [at for batch in rest.batches[done * size : (done + 1) * size] for at in batch]
    return units_of([planned.features[at] for at in rows if not is_empty(planned.features[at])])


def suspect_step(case: Case) -> int | None:
    """Give the step whose lines are tried alone before it is trained: where the trainer died last, if it did more than once."""
    deaths = [attempt for attempt in attempts_of(case.folder) if attempt.outcome == DEATH]
    if len(deaths) < SUSPICION:
        return None
    last = deaths[-1].step
    return case.stream.step if last is None else last


def convict_dead(case: Case, known: Collection[int]) -> PoisonLine | None:
    """Record the line that the process died of while it was tried alone; None when there is none, or it died only once.

    known: the lines that are recorded. Raises InvalidData for one more than case.most(): trying again would kill us again.
    """
    path = case.folder / PROBE
    probe = probe_of(case.folder)
    if probe is None or probe.deaths + 1 < DEATHS_ALONE:
        return None
    reason = f"the trainer died {probe.deaths + 1} times while it tried"
    if probe.line in known:  # we were killed before its probe was removed
        path.unlink()
        return None
    if len(known) >= case.most():
        raise InvalidData(where=f"job {case.folder.name}", detail=_too_many(case, known, f"{reason} line {probe.line} alone"))
    found = case.record(probe.line, Verdict("death", f"{reason} this line alone"), probe.deaths + 1, SystemClock().now())
    path.unlink()
    return found


def _too_many(case: Case, known: Collection[int], last: str) -> str:
    named = ", ".join(str(line) for line in sorted(known)[:NAMED]) + (", ..." if len(known) > NAMED else "")
    return (
        f"{last}, and {len(known)} of its {case.lines} lines were left out before ({named}; see poison.jsonl): more than "
        f"{case.most()} are no poison. Mend the data, the configuration or the machine; then drop it anew or retry the job"
    )


def try_alone(case: Case, planned: Planned, rest: Rest, done: int, tell: Callable[[int], None]) -> None:
    """Try every line of a step by itself, named in probe.json while it is; what does not kill us is no evidence here.

    A line that was being tried when the process died comes first; tell(line) is called before each.
    Raises for a lack of memory.
    """
    units = _lines_of_step(planned, rest, done)
    path = case.folder / PROBE
    left = probe_of(case.folder)
    trial = Trial(case.stream.model, case.stream.tokenizer, planned.plan.batch_tokens)
    try:
        for unit in sorted(units, key=lambda unit: left is None or unit.line != left.line):
            deaths = left.deaths + 1 if left is not None and left.line == unit.line else 0
            replace_quick(path, encode_pretty(_probe_now(case, unit.line, deaths)))
            tell(unit.line)
            trial.run([unit])
    finally:
        path.unlink(missing_ok=True)  # also where memory is too small: nobody died


def _probe_now(case: Case, line: int, deaths: int) -> Probe:
    now = iso(SystemClock().now())
    return Probe(job=case.folder.name, line=line, step=case.stream.step, deaths=deaths, by=this_process(), at=now)


def without(planned: Planned, lines: frozenset[int], pad_id: int) -> Planned:
    """Give a plan that trains everything but these lines: the same rows in the same steps, so that every cursor stays right.

    A row that would be empty becomes one padding token that nothing is learnt from; remaining() passes over steps of such rows.
    """
    if not lines:
        return planned
    features = [_cut(feature, lines, pad_id) for feature in planned.features]
    return Planned(plan=planned.plan, features=features, batches=planned.batches, left_out=lines)


def _cut(feature: Feature, lines: frozenset[int], pad_id: int) -> Feature:
    if lines.isdisjoint(feature["line"]):
        return feature
    kept: list[Feature] = [example for unit in units_of([feature]) if unit.line not in lines for example in unit.features]
    if not kept:
        kept = [{"input_ids": [pad_id], "labels": [IGNORED], "line": [0]}]
    cut = {name: [value for example in kept for value in example[name]] for name in ("input_ids", "labels", "line")}
    return {**cut, "seq_lengths": [len(example["input_ids"]) for example in kept]} if "seq_lengths" in feature else cut

"""status/curriculum.json -> queue/inbox/low/: write the next batch when the queue runs low, rest when all is learnt.

Place in the flow: draws from the skills' generators (never a held-out problem) and drops files as a person would: the sidecar
first, then the data by rename; watch_inbox takes, grades and queues them. Writes queue/inbox/low/train_*.jsonl and their
.meta.json. Invariants: at most about two batches wait at any time; each batch has a new seed, and its sidecar is enough to make
it again; nothing is generated for a model where the configuration says no, nor while the disk is low.

One file mixes all skills and levels, because the trainer takes a job at a time: with one file per skill it would train on them
in turns, and the measured recipe (DESIGN.md section 11) needs both in every batch of 64. 60 % are problems of the training
levels, by weight of the skills that have not reached their target; 40 % are replayed from the mastered levels. The name says
`mixed` when there are several skills in it, with the highest level.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from core.clock import compact, iso
from core.config import SkillConfig
from core.errors import DiskLow, InvalidData
from core.evals.curriculum import Curriculum, nothing_to_learn
from core.files import replace_durable
from core.jobs.inbox import SIDECAR_ENDING
from core.jobs.job import Job, JobTraining, Sidecar
from core.jobs.spool import Spool
from core.paths import Paths
from core.records import encode_pretty, read_if_there
from core.skills.registry import get
from core.skills.skill import generate
from daemons.harness.context import Context, Report

EPOCHS = 4
REPLAY_SHARE = 0.40
HOLD_S = 2.0
REJECTED_IN_A_ROW = 3
ORPHAN_S = 60.0
_OWN = re.compile(r"train_[a-z0-9-]+_level\d+_(\d+)_\d{8}-\d{9}\.jsonl")
_OWN_BUILDING = re.compile(r"\d{8}-\d{9}-[0-9a-f]{8}-train-.*")

Shares = dict[tuple[str, int], int]


class GenerateData:
    """Keeps the queue filled with problems of the levels that are being learnt."""

    name = "generate_data"
    every = "2s"
    patience_s = 60.0
    wakes_on = ("queue/high", "queue/normal", "queue/low", "status/curriculum.json")
    nice = 10

    def __init__(self) -> None:
        self._held_until = float("-inf")  # while watch_inbox moves the last batch on; a restart costs at most one batch

    def tick(self, ctx: Context) -> Report:
        """Write at most one batch."""
        model, generation = ctx.config.weaver.model, ctx.config.weaver.generation
        if not ctx.config.generates(model):
            return Report(note=f"generation is off for {model}")
        state = _curriculum(ctx.paths)
        if state is None or state.model != model:
            return Report(note="waits for the curriculum")
        if not state.skills:
            return Report(note="no skill is enabled")
        if nothing_to_learn(state):
            return Report(note="nothing to learn")
        spool = Spool(ctx.paths)
        waiting = spool.pending_examples() + _on_the_way(ctx.paths, generation.batch_examples)
        if waiting >= generation.low_water_examples:
            return Report(note=f"{waiting} examples wait", facts={"waiting": waiting})
        if ctx.clock.mono() < self._held_until:
            return Report(note="the last batch is being taken", facts={"waiting": waiting})
        _check_disk(ctx)
        _check_rejections(ctx.paths, spool)
        _sweep_orphans(ctx)
        shares = mix(state, ctx.config.skills, generation.batch_examples)
        if not shares:
            return Report(note="no skill with a weight above 0 has anything to learn")
        name, count = _write_batch(ctx, model, shares)
        self._held_until = ctx.clock.mono() + HOLD_S
        return Report(did=count, note=f"wrote {name}", facts={"waiting": waiting + count, "file": name})


def _curriculum(paths: Paths) -> Curriculum | None:
    try:
        return read_if_there(Curriculum, paths.status / "curriculum.json")
    except InvalidData:
        return None  # a view: rank_checkpoints writes it again


def mix(state: Curriculum, skills: Mapping[str, SkillConfig], count: int) -> Shares:
    """Say how many problems of which (skill, level) make a batch: 60 % to learn, 40 % of what is mastered, if anything is."""
    learnt = {
        (name, skill.training_level): skills[name].weight
        for name, skill in state.skills.items()
        if skill.mastered_level < skill.target_level and name in skills and skills[name].weight > 0
    }
    mastered = [(name, level) for name, skill in state.skills.items() for level in range(1, skill.mastered_level + 1)]
    if not learnt:
        return {}
    replayed = round(count * REPLAY_SHARE) if mastered else 0
    shares: Shares = {}
    for part, total in ((learnt, count - replayed), (dict.fromkeys(mastered, 1.0), replayed)):
        for key, number in apportion(part, total).items():
            shares[key] = shares.get(key, 0) + number
    return {key: number for key, number in sorted(shares.items()) if number}


def apportion(weights: Mapping[tuple[str, int], float], total: int) -> Shares:
    """Split a number in proportion to weights into whole parts that add up to it (largest remainders)."""
    whole = sum(weights.values())
    exact = {key: total * weight / whole for key, weight in weights.items()}
    parts = {key: int(part) for key, part in exact.items()}
    rest = sorted(exact, key=lambda key: (parts[key] - exact[key], key))
    for key in rest[: total - sum(parts.values())]:
        parts[key] += 1
    return parts


def batch_lines(shares: Shares, seed: int) -> list[dict[str, Any]]:
    """Draw the lines of a batch, in mixed order: the same ones for the same shares, seed and versions of the skills."""
    lines = [
        {
            "messages": [{"role": "user", "content": problem.prompt}, {"role": "assistant", "content": problem.answer}],
            "skill": skill, "level": level, "problem": problem.prompt, "answer": problem.answer,
        }
        for (skill, level), count in sorted(shares.items())
        for problem in generate(get(skill), level, count, seed)
    ]  # fmt: skip
    random.Random(f"order {seed}").shuffle(lines)
    return lines


def _write_batch(ctx: Context, model: str, shares: Shares) -> tuple[str, int]:
    """Publish the sidecar, then the data; give the file's name and the number of its lines."""
    now = ctx.clock.now()
    seed = int(now.timestamp() * 1000)
    lines = batch_lines(shares, seed)
    skills, level = sorted({skill for skill, _ in shares}), max(level for _, level in shares)
    name = f"train_{skills[0] if len(skills) == 1 else 'mixed'}_level{level}_{len(lines)}_{compact(now)}.jsonl"
    sidecar = Sidecar(
        spec="syllo_v1", priority="low", model=model, training=JobTraining(epochs=EPOCHS),
        generator_id=".".join(skills), generator_version="+".join(get(skill).version for skill in skills),
        generated_at=iso(now), example_count=len(lines), source=GenerateData.name,
        params={
            **({"skill": skills[0]} if len(skills) == 1 else {}), "level": level, "seed": seed, "replay_share": REPLAY_SHARE,
            "parts": [{"skill": skill, "level": part, "count": number} for (skill, part), number in shares.items()],
        },
    )  # fmt: skip
    folder = ctx.paths.inbox / "low"
    replace_durable(folder / f"{name}{SIDECAR_ENDING}", encode_pretty(sidecar))
    replace_durable(folder / name, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    ctx.log.info("wrote %s: %s", name, ", ".join(f"{n} of {skill} {part}" for (skill, part), n in shares.items()))
    return name, len(lines)


def _on_the_way(paths: Paths, batch: int) -> int:
    """Give the number of own examples that are not queued yet: in the inbox, or being validated."""
    inbox = sum(int(found[1]) for name in _names(paths.inbox / "low") if (found := _OWN.fullmatch(name)))
    return inbox + batch * sum(_OWN_BUILDING.fullmatch(name) is not None for name in _names(paths.building))


def _check_disk(ctx: Context) -> None:
    free, floor = shutil.disk_usage(ctx.paths.home).free, ctx.config.weaver.disk.floor_bytes
    if free < floor:
        raise DiskLow(free=free, path=str(ctx.paths.home), floor=floor)


def _check_rejections(paths: Paths, spool: Spool) -> None:
    """Stop instead of filling rejected/ for ever. Raises InvalidData when the newest own files were all refused."""
    own = [job for state in ("rejected", "completed", "processing", "low") for job in spool.list(state) if "-train-" in job]
    reasons = []
    for job in sorted(own)[-REJECTED_IN_A_ROW:]:
        record = read_if_there(Job, paths.state("rejected") / job / "job.json")
        if record is None or record.source != GenerateData.name or record.reason is None:
            return
        reasons.append(record.reason.message)
    if len(reasons) == REJECTED_IN_A_ROW:
        detail = f"the last {REJECTED_IN_A_ROW} generated files were rejected: {reasons[-1]}"
        raise InvalidData(where=GenerateData.name, detail=f"{detail}; remove them from queue/rejected/ when that is mended")


def _sweep_orphans(ctx: Context) -> None:
    """Remove own sidecars whose data was never written because this daemon was killed in between."""
    folder = ctx.paths.inbox / "low"
    for name in _names(folder):
        data = name.removesuffix(SIDECAR_ENDING)
        if data != name and _OWN.fullmatch(data) and not (folder / data).exists():
            try:
                if ctx.clock.now().timestamp() - (folder / name).stat().st_mtime > ORPHAN_S:
                    (folder / name).unlink()
            except FileNotFoundError:
                continue  # watch_inbox has just taken it


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []

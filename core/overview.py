"""The whole factory at one moment, collected from files: what `weaver status`, GET /api/status and the page show.

Place in the flow: reads config/, queue/, models/*/deployments.jsonl, status/ and /proc; writes nothing, asks no program and no
network. Invariants: what is not known to be alive now is never shown as alive (core.liveness); a view that is missing or
damaged is null or is made up for from the truth, it never fails the whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from core.checkpoints.places import Ranked, Ranking
from core.checkpoints.served import changes, read_deployments, read_serving
from core.clock import Clock, from_iso, iso
from core.config import Config
from core.config_files import HOSTS, read_files
from core.errors import InvalidConfig, InvalidData, NotFound
from core.evals.standing import Curriculum, nothing_to_learn
from core.gpu import read_gpus
from core.hosts import Hosts, base_url, compose_hosts, describe, read_endpoint, service_host, this_host, wanted_port
from core.in_force import read_in_force
from core.jobs.job import Job
from core.jobs.spool import Spool
from core.liveness import TRAINER, Liveness, Seen
from core.paths import Paths
from core.records import Part, R, Record, read_if_there
from core.runs.run import Outcome, Progress, RunRequest, RunResult
from core.status import ConfigStatus, DiskStatus, GpuStatus, QueueStatus, ServingStatus, StatusReport, TrainingStatus

SHOWN_RANKS = 3
LATE_PROOFS = 2.5
LATE_SAVES, LEAST_LATE_S = 5, 300.0


class SkillLine(Part, frozen=True):
    """Where one skill stands; passes of the three in a row that the training level needs."""

    skill: str
    mastered_level: int
    training_level: int
    target_level: int
    passes: int


class Overview(Record, frozen=True, tag="weaver.overview/1"):
    """The status report and what a person wants to see beside it. A part whose view is missing is null.

    ranking holds the best of the default model; proof_is_late: what is served was last proved too long ago. Nothing is served
    while oracle_is_up is false, whatever was deployed.
    """

    status: StatusReport
    skills: list[SkillLine] | None
    nothing_to_learn: bool
    ranking: list[Ranked] | None
    proof_age_s: float | None
    proof_is_late: bool
    oracle_is_up: bool
    problems: list[str]


def collect(paths: Paths, environ: Mapping[str, str], clock: Clock) -> Overview:
    """Read everything once. Raises InvalidConfig for hosts.json where there never was a good one, and nothing for views."""
    living = Liveness(paths, clock.mono())
    problems = living.problems()
    config, hosts, here, said = _in_force(paths, environ)
    standing = living.config()
    if standing is None:
        standing, problem = said
        problems += [problem] if problem else []
    if config is not None and living.seen("train_next").fresh:
        problems += _unsaved(paths, config.weaver.checkpoints.every_s, clock)
    serving = _serving(paths)
    proof_age_s = (clock.now() - from_iso(serving.verified_at)).total_seconds() if serving else None
    curriculum = _view(Curriculum, paths.status / "curriculum.json")
    status = StatusReport(
        host=here, home=str(paths.home), state=living.factory_state(), checked_at=iso(clock.now()),
        web=_url(paths, hosts, here, "web", living.seen("web"), environ),
        oracle=_url(paths, hosts, here, "inference", living.seen("oracle"), environ),
        supervisor=living.supervisor(), daemons=living.rows(), queue=_queue(paths),
        training=_training(paths, living.seen(TRAINER)), serving=serving,
        gpus=[GpuStatus(**asdict(gpu)) for gpu in read_gpus()],
        disk=DiskStatus(
            free_bytes=shutil.disk_usage(paths.home).free,
            floor_bytes=config.weaver.disk.floor_bytes if config else None,
        ),
        hosts=describe(hosts), config=standing,
    )  # fmt: skip
    return Overview(
        status=status, skills=_skills(curriculum), nothing_to_learn=curriculum is not None and nothing_to_learn(curriculum),
        ranking=_ranking(paths, config.weaver.model if config else None), proof_age_s=proof_age_s,
        proof_is_late=bool(config and proof_age_s and proof_age_s > LATE_PROOFS * config.evals.proof_every_s),
        oracle_is_up=living.seen("oracle").fresh, problems=problems,
    )  # fmt: skip


def _in_force(
    paths: Paths, environ: Mapping[str, str]
) -> tuple[Config | None, Hosts, str, tuple[ConfigStatus, str]]:  # fmt: skip
    """Read what is in force: configuration, hosts, this host, and how it stands; no configuration does not blind the status."""
    try:
        now = read_in_force(paths, environ)
    except InvalidConfig as error:
        hosts, _ = compose_hosts(read_files(paths)[0].get(HOSTS))
        if hosts is None:
            raise
        where, reason = str(error.facts["path"]), str(error.facts["detail"])
        standing = ConfigStatus(state="refused", in_force_at=None, where=where, reason=reason, since=None)
        return None, hosts, this_host(hosts, environ), (standing, f"{error}. There never was a good configuration.")
    return now.config, now.hosts, now.here, (now.status(), now.problem)


def _view(kind: type[R], path: Path) -> R | None:
    """Read a view; one that is missing, damaged or of another version is None until its owner writes it again."""
    try:
        return read_if_there(kind, path)
    except InvalidData:
        return None


def _url(paths: Paths, hosts: Hosts, here: str, service: str, seen: Seen, environ: Mapping[str, str]) -> str | None:
    """Give where a service answers: the port it took while it lives, else the one it wants; None when it may take any."""
    try:
        name = service_host(hosts, service, here)
    except NotFound:
        return None
    host = hosts.hosts[name]
    taken = read_endpoint(paths, service) if name == here else None
    port = taken.port if taken and taken.pid == seen.pid else wanted_port(host, service, environ if name == here else {})
    return base_url(host.address, port) if port else None


def _queue(paths: Paths) -> QueueStatus:
    return QueueStatus(**Spool(paths).counts(), paused=paths.paused.exists())


def _training(paths: Paths, trainer: Seen) -> TrainingStatus | None:
    """Describe the job that trains: the one without a result; those that wait, for it or for a checkpoint, come after it.

    A trainer that is not there or silent is said so: its last speed is no news.
    """
    claimed = [paths.state("processing") / job for job in Spool(paths).list("processing")]
    for folder in sorted(claimed, key=lambda folder: ((folder / "result.json").exists(), _waits(folder))):
        progress = _view(Progress, folder / "progress.json")
        record = _view(Job, folder / "job.json") if progress is None else None
        if progress is None and record is None:
            continue  # it was moved on while we looked
        at_work = trainer.fresh and trainer.beat is not None
        return TrainingStatus(
            pid=trainer.pid,
            phase=trainer.beat.phase if at_work and trainer.beat else ("silent" if trainer.alive else "no trainer"),
            model=progress.model if progress else (record.model if record else ""),
            job=folder.name,
            step=progress.step if progress else None,
            total_steps=progress.total_steps if progress else None,
            loss=progress.loss if progress else None,
            tokens_per_s=progress.tokens_per_s if progress and at_work else None,
            eta_s=progress.eta_s if progress and at_work else None,
        )
    return None


def _waits(folder: Path) -> bool:
    request = _view(RunRequest, folder / "run.json")
    return request is not None and request.waits


def _unsaved(paths: Paths, every_s: float, clock: Clock) -> list[str]:
    """Say so when trained jobs wait for a checkpoint that holds them much longer than one takes to come."""
    folders = [paths.state("processing") / job for job in Spool(paths).list("processing")]
    results = [result for folder in folders if (result := _view(RunResult, folder / "result.json")) is not None]
    trained = [from_iso(result.at) for result in results if result.outcome is Outcome.COMPLETED]
    waits_s = (clock.now() - min(trained)).total_seconds() if trained else 0.0
    if waits_s <= LATE_SAVES * every_s + LEAST_LATE_S:
        return []
    return [
        f"No checkpoint holds what was trained {waits_s / 60:.0f} minutes ago (jobs waiting: {len(trained)}); one is due every "
        f"{every_s:.0f} s. See logs/trainer.jsonl; `weaver audit` checks the history."
    ]


def _skills(curriculum: Curriculum | None) -> list[SkillLine] | None:
    if curriculum is None:
        return None
    return [
        SkillLine(
            skill=name,
            mastered_level=skill.mastered_level,
            training_level=skill.training_level,
            target_level=skill.target_level,
            passes=next((level.passes for level in skill.levels if level.level == skill.training_level), 0),
        )
        for name, skill in sorted(curriculum.skills.items())
    ]


def _serving(paths: Paths) -> ServingStatus | None:
    """Say what is served: as deploy_best sees it, or, while that view is missing, as the deployments tell it."""
    view = read_serving(paths)
    if view is not None:
        return ServingStatus(checkpoint=view.checkpoint, host=view.host, verified_at=view.verified_at)
    newest = ServingStatus(checkpoint="", host="", verified_at="")
    for path in sorted(paths.models.glob("*/deployments.jsonl")):
        try:
            history = list(changes(read_deployments(paths.model(path.parent.name))))
        except InvalidData:
            continue
        if history and history[-1][0] is not None and history[-1][1].at > newest.verified_at:
            checkpoint, decision = history[-1]
            newest = ServingStatus(checkpoint=f"{decision.model}/{checkpoint}", host=decision.host, verified_at=decision.at)
    return newest if newest.checkpoint else None


def _ranking(paths: Paths, model: str | None) -> list[Ranked] | None:
    ranking = _view(Ranking, paths.status / "ranking.json")
    return ranking.models.get(model, [])[:SHOWN_RANKS] if ranking and model else None

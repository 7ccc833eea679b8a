"""GET /metrics: the present state in the text format of Prometheus, version 0.0.4.

Place in the flow: a scraper of the person's own reads it with the key, as often as it likes. Reads what core.overview reads and
status/data_lineage.json. Invariant: what is not known is absent, never 0; label values are escaped; a family is written whole,
its HELP and TYPE first (the format asks for it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from core import __version__
from core.jobs.lineage import Lineage
from core.overview import Overview
from core.paths import STATES
from core.status import DaemonStatus, State, StatusReport

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float | int | bool | None]


def metrics(overview: Overview, lineage: Lineage | None) -> str:
    """Write every family that has a sample."""
    status = overview.status
    return "".join([
        *_factory(status), *_programs(status.daemons), *_queue(status), *_training(status), *_serving(overview),
        *_machine(status), *(_lines(lineage) if lineage else ()),
    ])  # fmt: skip


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    """Write one family; nothing at all when no sample is known."""
    known = [(labels, value) for labels, value in samples if value is not None]
    if not known:
        return ""
    rows = [f"# HELP weaver_{name} {text}\n# TYPE weaver_{name} {kind}\n"]
    for labels, value in known:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        rows.append(f"weaver_{name}{f'{{{inside}}}' if inside else ''} {_number(value)}\n")
    return "".join(rows)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float | int | bool) -> str:
    return repr(float(value)) if isinstance(value, float) else str(int(value))


def _one(value: float | int | bool | None) -> list[Sample]:
    return [({}, value)]


def _factory(status: StatusReport) -> list[str]:
    labels = {"host": status.host, "version": __version__}
    states = ("healthy", "degraded", "stopped")
    up_s = status.supervisor.up_s if status.supervisor else None
    return [
        _family("info", "gauge", "Always 1; the host and the version of this factory.", [(labels, 1)]),
        _family(
            "state", "gauge", "1 for the state that the factory is in.",
            [({"state": state}, status.state == state) for state in states],
        ),
        _family("up_seconds", "gauge", "How long the Weaver runs.", _one(up_s)),
    ]  # fmt: skip


def _programs(rows: list[DaemonStatus]) -> list[str]:
    def each(samples: Iterable[float | int | bool | None]) -> list[Sample]:
        return [({"program": row.name}, value) for row, value in zip(rows, samples, strict=True)]

    is_up = [None if row.state == State.UNKNOWN else row.state == State.RUNNING for row in rows]
    return [
        _family("program_up", "gauge", "1 while the program is RUNNING.", each(is_up)),
        _family("heartbeat_age_seconds", "gauge", "Time since the last heartbeat.", each(row.heartbeat_age_s for row in rows)),
        _family("program_up_seconds", "gauge", "How long the process runs.", each(row.up_s for row in rows)),
        _family("program_restarts", "gauge", "Restarts that the Weaver remembers.", each(row.restarts for row in rows)),
    ]


def _queue(status: StatusReport) -> list[str]:
    counts: list[Sample] = [({"state": state}, getattr(status.queue, state)) for state in STATES]
    return [
        _family("inbox_drops", "gauge", "Files in the inbox that were not taken yet.", _one(status.queue.inbox)),
        _family("queue_jobs", "gauge", "Jobs by state.", counts),
        _family("queue_paused", "gauge", "1 while nothing is claimed.", _one(status.queue.paused)),
    ]


def _training(status: StatusReport) -> list[str]:
    training = status.training
    if training is None:
        return []
    labels = {"model": training.model}
    return [
        _family("training_step", "gauge", "Global step of the model in training.", [(labels, training.step)]),
        _family("training_end_step", "gauge", "Step at which the present job ends.", [(labels, training.total_steps)]),
        _family("training_loss", "gauge", "Mean loss per trained token, nats.", [(labels, training.loss)]),
        _family("training_tokens_per_second", "gauge", "Speed of the training.", [(labels, training.tokens_per_s)]),
        _family("training_eta_seconds", "gauge", "Expected time to the end of the job.", [(labels, training.eta_s)]),
    ]


def _serving(overview: Overview) -> list[str]:
    serving = overview.status.serving
    labels = {"checkpoint": serving.checkpoint, "host": serving.host} if serving else {}
    mastered: list[Sample] = [({"skill": row.skill}, row.mastered_level) for row in overview.skills or ()]
    target: list[Sample] = [({"skill": row.skill}, row.target_level) for row in overview.skills or ()]
    return [
        _family("oracle_up", "gauge", "1 while the oracle answers for itself.", _one(overview.oracle_is_up)),
        _family("serving_info", "gauge", "1; the checkpoint that was deployed last.", [(labels, 1 if serving else None)]),
        _family("serving_proof_age_seconds", "gauge", "Since what is served was last proved.", _one(overview.proof_age_s)),
        _family("skill_mastered_level", "gauge", "Mastered level of a skill.", mastered),
        _family("skill_target_level", "gauge", "Target level of a skill.", target),
    ]


def _machine(status: StatusReport) -> list[str]:
    def each(name: str) -> list[Sample]:
        return [({"gpu": str(gpu.index), "name": gpu.name}, getattr(gpu, name)) for gpu in status.gpus]

    return [
        _family("disk_free_bytes", "gauge", "Free space where the home lies.", _one(status.disk.free_bytes)),
        _family("disk_floor_bytes", "gauge", "Below it work pauses.", _one(status.disk.floor_bytes)),
        _family("gpu_memory_used_bytes", "gauge", "Used memory of a GPU.", each("memory_used_bytes")),
        _family("gpu_memory_total_bytes", "gauge", "Memory of a GPU.", each("memory_total_bytes")),
        _family("gpu_utilisation_ratio", "gauge", "Share of time in which a GPU worked.", each("utilisation")),
    ]


def _lines(lineage: Lineage) -> list[str]:
    samples: list[Sample] = [
        ({"generator": made.id, "version": made.version or "", "result": result}, getattr(made.lines, result))
        for made in lineage.generators
        for result in ("passed", "failed", "duplicate")
    ]
    return [_family("intake_lines", "gauge", "Lines of all jobs there are, by who made them and the verdict.", samples)]

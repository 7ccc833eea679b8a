"""Why a job, a checkpoint or a program is as it is: from the records that decided it, and the events that name it.

Place in the flow: `weaver why` prints it. Reads queue/, models/, status/ and logs/events/; writes nothing. Invariant: a cause
is only named where a record says it.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.checkpoints.ledger import Ledger
from core.checkpoints.places import read_places
from core.checkpoints.removal import must_stay
from core.checkpoints.served import read_deployments
from core.clock import Clock
from core.errors import Ambiguous, NotFound
from core.jobs.finding import resolve
from core.jobs.spool import Spool
from core.liveness import Liveness
from core.log import Event, read_events
from core.paths import Paths
from core.records import Record
from weaver.job_reasons import why_job

SHOWN_EVENTS = 20


class Explanation(Record, frozen=True, tag="weaver.explanation/1"):
    """`weaver why --json`. kind: job, checkpoint or program; events: the last that name it, oldest first."""

    kind: str
    id: str
    says: str
    because: list[str]
    events: list[Event]


def explain(paths: Paths, about: str, environ: Mapping[str, str], clock: Clock) -> Explanation:
    """Explain what a person means: a program by its name, else a checkpoint, else a job. Raises NotFound, InvalidData."""
    programs = {row.name: row for row in Liveness(paths, clock.mono()).rows()}
    if about in programs:
        row = programs[about]
        because = [f"restarts: {row.restarts}"] + ([f"last exit code: {row.last_exit}"] if row.last_exit is not None else [])
        says = f"{row.state}" + (f", {row.note}" if row.note else "")
        return Explanation(kind="program", id=about, says=says, because=because, events=_events(paths, about))
    try:
        model, name = Ledger(paths).resolve(about, removed=True)
    except Ambiguous:
        raise
    except NotFound as missing:
        return _job(paths, about, environ, clock, missing, sorted(programs))
    return _checkpoint(paths, model, name)


def _job(
    paths: Paths, about: str, environ: Mapping[str, str], clock: Clock, missing: NotFound, programs: list[str]
) -> Explanation:
    try:
        job = resolve(Spool(paths), about)
    except Ambiguous:
        raise
    except NotFound as error:
        known = f"programs {', '.join(programs) or 'none'}; `weaver queue ls`; `weaver ckpt ls`"
        raise NotFound(kind="job, checkpoint or program", name=about, known=known) from error
    found = why_job(paths, job, environ, clock)
    because = [f"{found.reason.code}: {found.reason.message}"] if found.reason else []
    because += [f"{count} lines {code}" for code, count in found.codes.items()] + found.trouble + found.to_do
    return Explanation(kind="job", id=job, says=found.says, because=because, events=_events(paths, job))


def _checkpoint(paths: Paths, model: str, name: str) -> Explanation:
    ledger = Ledger(paths)
    record = ledger.get(model, name)
    is_there, on_chain = ledger.is_complete(model, name), name in ledger.chain(model)
    place = next((place for place in read_places(paths, model) or [] if place.checkpoint == name), None)
    because = [f"parent {record.parent or 'none: it is the base'}, step {record.step}, last job {record.job or 'none'}"]
    because.append("it is of the surviving history" if on_chain else "it is off the surviving history: training was taken back")
    if place is not None:
        because += [f"place {place.place}, accuracy {place.accuracy:.3f}", *place.reasons]
    because += [
        f"{item.verdict} at {item.at} by {item.by}: {item.reason}"
        for item in read_deployments(paths.model(model))
        if name in (item.checkpoint, item.previous)
    ]
    stays = must_stay(paths, ledger, model).get(name)
    says = (f"on disk; it stays: {stays}" if stays else "on disk; it may be pruned") if is_there else "its weights were removed"
    return Explanation(kind="checkpoint", id=f"{model}/{name}", says=says, because=because, events=_events(paths, name))


def _events(paths: Paths, about: str) -> list[Event]:
    """Give the last events that are a program's own, or whose facts name the thing."""
    found = [
        event
        for event in read_events(paths)
        if about == event.program or any(isinstance(value, str) and about in value for value in event.facts.values())
    ]
    return found[-SHOWN_EVENTS:]

"""What an event means to a person: the notice that it is worth, if it is worth one.

Place in the flow: send_notices asks for every event. Files read: job.json of the job it is about. Invariant: people are told of
what they dropped, of everything that failed, and of what needs them; the factory's own daily work is no news.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.errors import InvalidData, NotFound
from core.jobs.job import Job
from core.jobs.lineage import PERSON
from core.jobs.spool import Spool
from core.notices import Kind, Notice
from core.paths import Paths

_LONGEST_TITLE, _LONGEST_BODY = 200, 2000
_BLOCKED = "blocked: "
_BY_TRAINER = "reset by trainer: "


def notice_of(event: Mapping[str, Any], paths: Paths, host: str) -> Notice | None:
    """Give the notice of an event; None for what nobody needs to be told."""
    tell = _TELLERS.get((str(event.get("program")), str(event.get("event"))))
    told = tell(event, paths) if tell else None
    if told is None:
        return None
    kind, subject, title, body, about = told
    return Notice(
        kind=kind, key=f"{kind}:{_plain(subject)}", title=_plain(title)[:_LONGEST_TITLE], body=_plain(body)[:_LONGEST_BODY],
        at=str(event.get("at")), host=host, job=about.get("job"), checkpoint=about.get("checkpoint"),
        program=about.get("program"),
    )  # fmt: skip


def _plain(text: str) -> str:
    """Give a text without control characters and halves of characters: names of files and messages come from outside."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


_Told = tuple[Kind, str, str, str, dict[str, str]]
_Teller = Callable[[Mapping[str, Any], Paths], _Told | None]


def _job(event: Mapping[str, Any], paths: Paths) -> tuple[str, Job] | None:
    try:
        return Spool(paths).read(str(event.get("job")))
    except (NotFound, InvalidData):
        return None  # it was taken away meanwhile, or its record is damaged: the audit says so


def _finished(event: Mapping[str, Any], paths: Paths) -> _Told | None:
    found = _job(event, paths)
    if found is None or found[1].source != PERSON:
        return None
    job = found[1]
    lines = f"{job.lines.accepted} lines, " if job.lines else ""
    body = f"{lines}model {job.model}, until step {event.get('step')}."
    return "finished", job.name, f"Trained: {job.name}", body, {"job": job.id}


def _failed(event: Mapping[str, Any], paths: Paths) -> _Told | None:
    found = _job(event, paths)
    if found is None or found[0] != "failed":
        return None  # it will be tried again
    job = found[1]
    body = f"{event.get('why')}\nTry it again: weaver queue retry {job.id}"
    return "failed", job.name, f"Failed: {job.name}", body, {"job": job.id}


def _rejected(event: Mapping[str, Any], paths: Paths) -> _Told | None:
    found = _job(event, paths)
    if found is None or found[1].source != PERSON:
        return None
    job = found[1]
    body = f"{event.get('code')}: {event.get('reason')}"
    return "rejected", job.name, f"Rejected: {job.name}", body, {"job": job.id}


def _refused(event: Mapping[str, Any], paths: Paths) -> _Told | None:
    reason, checkpoint = str(event.get("reason")), str(event.get("checkpoint"))
    if not reason.startswith(_BLOCKED):
        return None  # not better than what is served: that is daily work
    body = reason.removeprefix(_BLOCKED)
    return "regression", _model(checkpoint), f"Regression: {checkpoint} is not deployed", body, {"checkpoint": checkpoint}


def _deployed(event: Mapping[str, Any], paths: Paths) -> _Told:
    checkpoint = str(event.get("checkpoint"))
    return "deployed", _model(checkpoint), f"Deployed: {checkpoint}", str(event.get("reason")), {"checkpoint": checkpoint}


def _rolled_back(event: Mapping[str, Any], paths: Paths) -> _Told:
    checkpoint = str(event.get("checkpoint"))
    title = f"Rolled back from {checkpoint} to {event.get('previous')}"
    return "rolled_back", _model(checkpoint), title, str(event.get("reason")), {"checkpoint": checkpoint}


def _taken_back(event: Mapping[str, Any], paths: Paths) -> _Told | None:
    reason, model = str(event.get("reason")), str(event.get("model"))
    if not reason.startswith(_BY_TRAINER):
        return None  # a person did it
    checkpoint, gone = f"{model}/{event.get('checkpoint')}", event.get("taken_back")
    count = len(gone) if isinstance(gone, list) else 0
    body = f"{reason.removeprefix(_BY_TRAINER)}\nTaken back: {count} checkpoints. What only they were taught: weaver audit"
    return "broken", model, f"Broken checkpoint: training went back to {checkpoint}", body, {"checkpoint": checkpoint}


def _model(checkpoint: str) -> str:
    return checkpoint.partition("/")[0]


def _crash_loop(event: Mapping[str, Any], paths: Paths) -> _Told:
    name = str(event.get("name"))
    body = f"{event.get('reason')}\nIt stays down until: weaver restart {name}"
    return "crash_loop", name, f"Crash loop: {name} was given up", body, {"program": name}


def _parked(event: Mapping[str, Any], paths: Paths) -> _Told:
    name = str(event.get("name"))
    body = f"{event.get('reason')}\nIt stays down until config/ changes or: weaver restart {name}"
    return "parked", name, f"Parked: {name} cannot run", body, {"program": name}


def _config_refused(event: Mapping[str, Any], paths: Paths) -> _Told:
    where = str(event.get("where"))
    body = f"{event.get('reason')}\nIn force: the files of {event.get('in_force_at')}. See: weaver config validate"
    return "config_refused", where.partition(":")[0], f"Configuration refused: {where}", body, {}


def _disk_low(event: Mapping[str, Any], paths: Paths) -> _Told:
    body = f"{event.get('free_bytes')} bytes are free, the floor is {event.get('floor_bytes')}. Free some; work resumes."
    return "disk_low", "home", "Disk low", body, {}


_TELLERS: Mapping[tuple[str, str], _Teller] = {
    ("train_next", "completed"): _finished,
    ("train_next", "failed"): _failed,
    ("train_next", "diverged"): _failed,
    ("train_next", "reset"): _taken_back,
    ("watch_inbox", "rejected"): _rejected,
    ("deploy_best", "refused"): _refused,
    ("deploy_best", "deployed"): _deployed,
    ("deploy_best", "rolled_back"): _rolled_back,
    ("weaver", "fatal"): _crash_loop,
    ("weaver", "parked"): _parked,
    ("weaver", "config_refused"): _config_refused,
    ("send_notices", "disk_low"): _disk_low,
}

"""What must hold in a home after whatever was done to its programs: judged from the files alone, after everything has stopped.

Place in the flow: `weaver drill`, tests/faults and benchmarks/kills.py ask in the end. Reads queue/ and models/, no writing.
Invariant: every function gives sentences about what is wrong; none is good.
"""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from core.accounting.audit import audit
from core.checkpoints.ledger import Ledger
from core.errors import WeaverError
from core.evals.ask import connect
from core.jobs.archive import opened
from core.jobs.job import Job, Line, QuarantinedLine
from core.jobs.spool import Spool
from core.paths import STATES, Paths
from core.process import spawned
from core.records import decode, read, read_if_there
from core.runs.run import Plan, RowSpan
from weaver.drill.drops import Drop


def violations(paths: Paths, drops: Sequence[Drop]) -> list[str]:
    """Judge a home in which nothing runs any more."""
    found = [f"still alive: {program} {ref}" for program, ref in spawned(paths.home_id)]
    found += _audited(paths)
    jobs = {job: state for state in STATES for job in Spool(paths).list(state)}
    found += [f"{job} failed" for job, state in jobs.items() if state == "failed"]
    spans = consumed(paths)
    for job, state in jobs.items():
        found += _trained_once(paths.state(state) / job, state, spans[job])
    found += _forks(paths)
    for drop in drops:
        found += _kept(paths, drop, jobs)
    return found


def _audited(paths: Paths) -> Iterator[str]:
    account = audit(paths)
    if account.lines.unaccounted:
        yield f"{account.lines.unaccounted} lines are unaccounted"
    for invariant in account.invariants:
        yield from (f"{invariant.id}: {text}" for text in invariant.violations)


def consumed(paths: Paths) -> dict[str, list[RowSpan]]:
    """Give what the surviving history consumed of each job, oldest checkpoint first."""
    found: dict[str, list[RowSpan]] = defaultdict(list)
    ledger = Ledger(paths)
    for model in ledger.models():
        for name in reversed(ledger.chain(model)):
            for span in ledger.get(model, name).consumed:
                found[span.job].append(span)
    return found


def _trained_once(folder: Path, state: str, spans: Sequence[RowSpan]) -> Iterator[str]:
    """Judge one job: its spans follow one another without gap or overlap; a completed one has every line `epochs` times."""
    at = 0
    for span in spans:
        if span.rows_from != at:
            yield f"{folder.name}: rows {span.rows_from} to {span.rows_to} are consumed after row {at}"
        at = span.rows_to
    plan = read_if_there(Plan, folder / "plan.json")
    if plan is None:
        if spans or state == "completed":
            yield f"{folder.name} is {state} and was trained, but has no plan.json"
        return
    times = Counter(line for row in plan.rows[:at] for line in row)
    said = Counter(line for span in spans for line in span.lines)
    if times != said:
        yield f"{folder.name}: the lines that its checkpoints name are not those of its plan's rows 0 to {at}"
    if state != "completed":
        return
    job = read(Job, folder / "job.json")
    wanted = range(1, (job.lines.accepted if job.lines else 0) + 1)
    wrong = {line: times[line] for line in wanted if times[line] != plan.epochs}
    if wrong or at != len(plan.rows):
        some = dict(list(wrong.items())[:5])
        yield f"{folder.name} is completed at row {at} of {len(plan.rows)}; not {plan.epochs} times: {some}"


def _forks(paths: Paths) -> Iterator[str]:
    """Judge the checkpoints: nobody was stopped on purpose, so every one has one child at most, and one step is saved once."""
    ledger = Ledger(paths)
    for model in ledger.models():
        links = ledger.links(model).values()
        for what, values in (("parent", [link.parent for link in links]), ("step", [link.step for link in links])):
            for value, count in Counter(values).items():
                if count > 1:
                    yield f"{count} checkpoints of {model} have the {what} {value}"


def _kept(paths: Paths, drop: Drop, jobs: Mapping[str, str]) -> Iterator[str]:
    """Judge one dropped file: it is exactly one job, and that job has each of its lines exactly once."""
    own = [job for job in jobs if read(Job, paths.state(jobs[job]) / job / "job.json").name == drop.name]
    waiting = [path for place in ("", "high", "low") if (path := paths.inbox / place / drop.name).exists()]
    building = [path.name for path in paths.building.glob("[!.]*") if path.name.endswith(drop.stem)]
    if len(own) + len(waiting) + len(building) != 1:
        yield f"{drop.name} is {len(own)} jobs, {len(waiting)} times in the inbox, {len(building)} times being validated"
        return
    if not own:
        return
    if jobs[own[0]] == "rejected":
        yield f"{drop.name} was rejected"
    folder = paths.state(jobs[own[0]]) / own[0]
    texts = Counter(text.strip() for text in _texts(folder))
    wrong = [text for text in drop.texts if texts[text.strip()] != 1]
    if wrong or sum(texts.values()) != len(drop.texts):
        yield f"{drop.name}: {sum(texts.values())} of {len(drop.texts)} lines, {len(wrong)} lost or doubled: {wrong[:3]}"
    epochs = read(Job, folder / "job.json").training.epochs
    if drop.epochs != (epochs or 1):
        yield f"{drop.name} was dropped for {drop.epochs} epochs, its job says {epochs}"


def _texts(folder: Path) -> Iterator[str]:
    """Give the first message of every line of a job, of the quarantined ones too."""
    with opened(folder / "data.jsonl") as data:  # compressed, once the clock is set a day ahead
        for row in data:
            yield str(decode(Line, row, "data.jsonl").messages[0]["content"])
    quarantine = folder / "quarantine.jsonl"
    for row in quarantine.read_bytes().splitlines() if quarantine.exists() else ():
        line = json.loads(base64.b64decode(decode(QuarantinedLine, row, "quarantine.jsonl").raw_b64))
        yield line["messages"][0]["content"] if "messages" in line else line["question"]


def left_over(paths: Paths) -> list[str]:
    """Name the temporary files of killed writers."""
    return sorted(str(path.relative_to(paths.home)) for path in paths.home.rglob(".*.tmp"))


def champion_violations(paths: Paths, environ: Mapping[str, str], model: str = "tiny") -> list[str]:
    """Ask the champion of a running factory one question; it must be the checkpoint and the weights that were deployed."""
    from core.checkpoints.served import read_deployments, served

    current, _ = served(read_deployments(paths.model(model)))
    if current is None:
        return ["nothing was deployed"]
    try:
        oracle = connect(paths, environ)
        try:
            answers = oracle.answer("champion", [[{"role": "user", "content": "1010 xor 0110"}]], 8)
        finally:
            oracle.close()
    except WeaverError as error:
        return [f"the champion does not answer: {error}"]
    expected = (f"{model}/{current}", Ledger(paths).weights_id(model, current))
    given = (answers.model, answers.system_fingerprint)
    return [] if given == expected else [f"the champion is {given}, deployed was {expected}"]

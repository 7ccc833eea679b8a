"""A home in which something of everything lies, with one text wherever a file can hold any: for tests of all verbs at once."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from core.checkpoints.checkpoint import Checkpoint, Head, Pin
from core.checkpoints.deployment import Deployment
from core.checkpoints.ledger import SIDECAR, write_manifest
from core.checkpoints.places import Ranked, Ranking
from core.files import append_record
from core.jobs.job import Attempt, Job, QuarantinedLine, Reason
from core.log import write_event
from core.paths import Paths
from core.records import encode, encode_pretty, read
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.core.home_files import beat, healthy, make_home, put_job

AT = "2026-11-20T21:30:00.000Z"
HOSTILE = "\x1b[2J\x1b[31m\x1b]0;owned\x07\x1b]52;c;ZXZpbA==\x07\x9b5mevil\x08\x7f‮ 漢字\r\nnext\x1b"


@dataclass
class LivedIn:
    """The home and the names of what lies in it."""

    paths: Paths
    jobs: dict[str, str]
    checkpoint: str
    file: Path
    text: str

    def fill(self, arguments: list[str]) -> list[str]:
        """Put names into a command line: {job}, {rejected}, {failed}, {checkpoint}, {file}."""
        names = {"job": self.jobs["normal"], "checkpoint": f"tiny/{self.checkpoint}", "file": str(self.file), **self.jobs}
        return [word.format(**names) for word in arguments]


def lived_in(root: Path, text: str = "plain words", runs: bool = True) -> LivedIn:
    """Make the home; as far as its files tell everything runs in it, or nothing does."""
    paths = make_home(root)
    if runs:
        healthy(paths, "oracle", "web", "train_next")
        beat(paths, "web", note=text, error=text)
    states = ("high", "normal", "low", "completed", "failed", "rejected")
    jobs = {state: _job(paths, state, number, text) for number, state in enumerate(states)}
    checkpoint = _checkpoints(paths, text)
    line = {"at": AT, "level": text, "program": text, "msg": text, "job": text, "checkpoint": text}
    (paths.logs / "web.jsonl").write_text(json.dumps(line) + f"\n{text}\n", encoding="utf-8")
    write_event(paths, "deploy_best", "deployed", checkpoint=f"tiny/{checkpoint}", job=text, note=text, **{text: text})
    (paths.logs / "web.out").write_text(text, encoding="utf-8")
    (paths.inbox / f"{text.replace(chr(0), '').replace('/', '')[:80]}.jsonl").write_text(f"{text}\n", encoding="utf-8")
    file = root.parent / "data.jsonl"
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": f"answer {text}"}]
    file.write_text(json.dumps({"messages": turns, text: text}) + "\n" + text + "\n", encoding="utf-8")
    return LivedIn(paths, jobs, checkpoint, file, text)


def _job(paths: Paths, state: str, number: int, text: str) -> str:
    has_ended_badly = state in ("failed", "rejected")
    reason = Reason(code="unknown_keys", message=text) if has_ended_badly else None
    job = put_job(paths, state, state, number=number, accepted=3, rejected=1, reason=reason)
    folder = paths.state(state) / job
    (folder / "job.json").write_bytes(encode_pretty(replace(read(Job, folder / "job.json"), name=text, source=text)))
    line = QuarantinedLine(
        line=4, offset=9, code="not_json", reason=text, raw_b64=base64.b64encode(text.encode("utf-8", "replace")).decode()
    )
    (folder / "quarantine.jsonl").write_bytes(encode(line) + b"\n")
    attempt = Attempt(at=AT, event="finished", by=text, outcome="failed", detail=text, step=1)
    append_record(folder / "attempts.jsonl", encode(attempt))
    return job


def _checkpoints(paths: Paths, text: str) -> str:
    """Write two checkpoints; the second is head, pinned, ranked and deployed, and its card holds the text. Give its name."""
    first = make_checkpoint(paths, 3, None)
    name = make_checkpoint(paths, 20, first)
    model = paths.model("tiny")
    folder = model.checkpoint(name)
    record = replace(read(Checkpoint, folder / SIDECAR), dtype=text, by=text, skill=text, job=text)
    for path in (folder / SIDECAR, model.ledger(name)):
        path.write_bytes(encode_pretty(record))
    (folder / "README.md").write_text(f"# {text}\n", encoding="utf-8")
    weights_id = write_manifest(folder)
    model.head.write_bytes(encode_pretty(Head(checkpoint=name, reason=text, at=AT)))
    model.pins.mkdir(parents=True, exist_ok=True)
    (model.pins / f"{name}.json").write_bytes(encode_pretty(Pin(checkpoint=name, reason=text, at=AT)))
    append_record(model.deployments, encode(Deployment(
        id="d1", at=AT, model="tiny", checkpoint=name, weights_id=weights_id, previous=None, host="local", alias="champion",
        verdict="deployed", reason=text, test=None, by_suite=[], guards=[], proof=None, by=text,
    )))  # fmt: skip
    place = Ranked(place=1, checkpoint=name, accuracy=1.0, low=0.0, high=0.0, composite=0.9, eligible=True, reasons=[text])
    (paths.status / "ranking.json").write_bytes(encode(Ranking(models={"tiny": [place]})))
    return name

"""A home with an inbox, the real tiny tokenizer as its base, and the real WatchInbox to tick in it."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from core.config import IntakeConfig, WeaverConfig
from core.jobs.job import Job, QuarantinedLine
from core.jobs.spool import Spool
from core.paths import STATES
from core.records import decode, read
from daemons.harness.context import Report
from daemons.watch_inbox import WatchInbox
from tests.daemons.home_builder import TestHome
from trainer.tiny.tokenizer import save_tokenizer

BASE = "checkpoint-0-20261120-2130"


class InboxHome(TestHome):
    """A home whose only daemon is watch_inbox, with a clock that the test moves."""

    __test__ = False

    def __init__(self, root: Path, tokenizer: Path | None) -> None:
        super().__init__(root)
        self.daemon = WatchInbox()
        self.spool = Spool(self.paths)
        if tokenizer is not None:
            self.put_base(tokenizer)

    def put_base(self, tokenizer: Path, model: str = "tiny") -> None:
        """Put the base checkpoint of a model, as far as intake needs it, where the trainer would."""
        shutil.copytree(tokenizer, self.paths.model(model).checkpoint(BASE))

    def set_intake(self, **settings: Any) -> None:
        """Change keys of the section intake."""
        weaver = msgspec.structs.replace(self.config.weaver, intake=IntakeConfig(**settings))
        self.configure(weaver=weaver)

    def set_weaver(self, **settings: Any) -> None:
        """Change sections of weaver.yaml."""
        self.configure(weaver=WeaverConfig(**settings))

    def restart(self) -> None:
        """Forget everything that the daemon had in memory, as a kill and a start do."""
        self.daemon = WatchInbox()

    def drop(self, name: str, content: bytes | str, sidecar: Mapping[str, Any] | bytes | None = None, place: str = "") -> Path:
        """Put a file into the inbox as a copy does: it stands still from now on."""
        folder = self.paths.inbox / place
        if sidecar is not None:
            text = sidecar if isinstance(sidecar, bytes) else json.dumps({"schema": "weaver.sidecar/1", **sidecar}).encode()
            (folder / f"{name}.meta.json").write_bytes(text)
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def tick(self) -> Report:
        """Run one real tick."""
        return self.daemon.tick(self.context("watch_inbox"))

    def settle(self) -> Report:
        """Tick, let the settling time pass, tick again: a drop that stands still is taken and, if small, decided."""
        self.tick()
        self.clock.passed_s += 1.5
        return self.tick()

    def jobs(self) -> dict[str, Job]:
        """Give the jobs by the name of their drop; several of one name are an error of the test."""
        found: dict[str, Job] = {}
        for state in STATES:
            for job in self.spool.list(state):
                record = self.spool.read(job)[1]
                assert record.name not in found, record.name
                found[record.name] = record
        return found

    def only_job(self) -> tuple[str, Job]:
        """Give the state and the record of the one job there is."""
        found = [(state, job) for state in STATES for job in self.spool.list(state)]
        assert len(found) == 1, (found, list(self.paths.building.iterdir()), self.tick().note)
        state, name = found[0]
        return state, read(Job, self.paths.state(state) / name / "job.json")

    def data(self, job: Job) -> list[dict[str, Any]]:
        """Read the canonical lines of a job."""
        return [json.loads(line) for line in (self.spool.folder(job.id) / "data.jsonl").read_bytes().splitlines()]

    def quarantine(self, job: Job) -> list[QuarantinedLine]:
        """Read the quarantined lines of a job."""
        path = self.spool.folder(job.id) / "quarantine.jsonl"
        return [decode(QuarantinedLine, line, str(path)) for line in path.read_bytes().splitlines()]


def chat(question: str, said: str, /, **more: Any) -> str:
    """Write one line of an OpenAI-messages file."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
    return json.dumps({"messages": messages, **more})


def jsonl(lines: Iterable[str]) -> str:
    """Join lines as a file holds them."""
    return "".join(f"{line}\n" for line in lines)


def good(count: int, first: int = 0) -> list[str]:
    """Give so many different good lines."""
    return [chat(f"What is {number} and one?", str(number + 1)) for number in range(first, first + count)]


def raw_of(line: QuarantinedLine) -> bytes:
    """Give the bytes that were quarantined."""
    return base64.b64decode(line.raw_b64)


def make_tokenizer(folder: Path) -> Path:
    """Save the tiny tokenizer once for many homes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder)
    return folder

"""Every file and endpoint of a live factory: what its real producer wrote is read by its real consumer.

Runs after test_factory.py on the same factory, in which by then every program has done its work. The table is complete: a file
in the home that no row names fails, so does a row whose file was never written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from core.checkpoints.champion import Champion
from core.checkpoints.checkpoint import Checkpoint, Fingerprint, Head
from core.checkpoints.ledger import Ledger, verify
from core.checkpoints.ranking import Ranking
from core.checkpoints.served import Serving, read_deployments
from core.config_files import HOSTS, load, read_files
from core.evals.curriculum import Curriculum
from core.evals.score import Score
from core.evals.suite import load_suites
from core.evals.superseded import read_superseded
from core.files import read_records
from core.hosts import Endpoint, compose_hosts
from core.in_force import KeptFiles
from core.jobs.job import Claim, Job, QuarantinedLine, Sidecar
from core.jobs.lineage import Lineage
from core.jobs.pause import Pause
from core.jobs.poison import poison_of
from core.jobs.spool import Spool
from core.keys import read_key
from core.locked import ModelFacts
from core.orders import Order
from core.records import Record, decode, read, strict_json
from core.runs.run import Plan, Progress, RunRequest, RunResult
from core.status import Heartbeat, StatusReport, SupervisorView
from core.text.tokens import load_tokenizer
from daemons.notices.outbox import Outbox
from tests.fakes import wait_for
from tests.flow.checkout import Checkout
from trainer.data.dataset import read_lines
from trainer.resume import Cursor
from weaver.desired import DesiredRecord
from weaver.memory import SupervisionRecord

pytestmark = pytest.mark.timeout(300)

Consumer = Callable[[Checkout, Path], Any]
JOB, CKPT, UTC = r"\d{8}-\d{9}-[0-9a-f]{8}-[a-z0-9-]+", r"checkpoint-\d+-\d{8}-\d{4}(-\d+)?", r"\d{8}-\d{9}"
STATE = r"queue/(high|normal|low|processing|completed|failed|rejected)"


def record(kind: type[Record]) -> Consumer:
    """Give the consumer of a file that holds one record."""
    return lambda checkout, path: read(kind, path)


def is_json(checkout: Checkout, path: Path) -> Any:
    """Read a log line by line as JSON."""
    return [strict_json(line) for line in path.read_bytes().splitlines()] or True


# (name, files under the home as a regular expression, consumer, written for sure by the time these tests run)
FILES: list[tuple[str, str, Consumer, bool]] = [
    ("job", rf"{STATE}/{JOB}/job\.json", lambda c, p: Spool(c.paths).read(p.parent.name)[1], True),
    ("lines", rf"{STATE}/{JOB}/data\.jsonl", lambda c, p: read_lines(p), True),
    (
        "quarantine",
        rf"{STATE}/{JOB}/quarantine\.jsonl",
        lambda c, p: [decode(QuarantinedLine, line, str(p)) for line in p.read_bytes().splitlines()] or True,
        True,
    ),
    ("sidecar", rf"{STATE}/{JOB}/sidecar\.json", record(Sidecar), True),
    ("raw drop", rf"{STATE}/{JOB}/raw", lambda c, p: p.stat().st_size, True),
    ("attempts", rf"{STATE}/{JOB}/attempts\.jsonl", lambda c, p: Spool(c.paths).read_attempts(p.parent.name) or True, True),
    ("claim", rf"{STATE}/{JOB}/claim\.json", record(Claim), True),
    ("run", rf"{STATE}/{JOB}/run(-\d+)?\.json", record(RunRequest), True),
    ("plan", rf"{STATE}/{JOB}/plan\.json", record(Plan), True),
    ("progress", rf"{STATE}/{JOB}/progress\.json", record(Progress), True),
    ("result", rf"{STATE}/{JOB}/result(-\d+)?\.json", record(RunResult), True),
    ("pause", r"queue/paused\.json", record(Pause), False),
    ("order", r"queue/orders/.*\.json", record(Order), False),
    ("model facts", r"models/tiny/model\.json", record(ModelFacts), True),
    ("head", r"models/tiny/head\.json", record(Head), True),
    ("champion", r"models/tiny/champion\.json", record(Champion), True),
    ("deployments", r"models/tiny/deployments\.jsonl", lambda c, p: read_deployments(c.paths.model("tiny")), True),
    ("superseded", r"models/tiny/superseded\.jsonl", lambda c, p: read_superseded(c.paths.model("tiny")), False),
    ("ledger", rf"models/tiny/{CKPT}/\.ledger\.json", lambda c, p: Ledger(c.paths).get("tiny", p.parent.name), True),
    ("ledger copy", rf"models/tiny/ledger/{CKPT}\.json", record(Checkpoint), True),
    ("manifest", rf"models/tiny/(state/)?{CKPT}/MANIFEST\.sha256", lambda c, p: verify(p.parent), True),
    ("fingerprint", rf"models/tiny/{CKPT}/fingerprint\.json", record(Fingerprint), True),
    ("cursor", rf"models/tiny/state/{CKPT}/cursor\.json", record(Cursor), True),
    ("tokenizer", rf"models/tiny/{CKPT}/(tokenizer.*|chat_template.*)", lambda c, p: load_tokenizer(p.parent), True),
    ("weights", rf"models/tiny/(state/)?{CKPT}/(.*\.safetensors|optimizer\.pt|(generation_)?config\.json)",
     lambda c, p: verify(p.parent), True),
    ("card", rf"models/tiny/{CKPT}/README\.md", lambda c, p: verify(p.parent), True),
    ("score", rf"models/tiny/scores/{CKPT}/[a-z]+-\d-{UTC}-local(-\d+)?\.json", record(Score), True),
    ("heartbeat", r"status/procs/[a-z_]+\.json", record(Heartbeat), True),
    ("supervisor", r"status/supervisor\.json", record(SupervisorView), True),
    ("endpoint", r"status/endpoints/(web|inference)\.json", record(Endpoint), True),
    ("ranking", r"status/ranking\.json", record(Ranking), True),
    ("curriculum", r"status/curriculum\.json", record(Curriculum), True),
    ("serving", r"status/deployment\.json", record(Serving), True),
    ("lineage", r"status/data_lineage\.json", record(Lineage), True),
    ("supervision", r"config/local/supervision\.json", record(SupervisionRecord), False),
    ("mark of a skip", r"queue/low/\.[0-9-]+~.+", lambda c, p: True, False),
    ("poison", rf"{STATE}/{JOB}/poison\.jsonl", lambda c, p: poison_of(p.parent), False),
    ("key", r"config/local/tokens/[a-z-]+", lambda c, p: read_key(p), True),
    ("switched off", r"config/local/desired\.json", record(DesiredRecord), False),
    ("in force", r"config/local/in_force\.json", record(KeptFiles), True),
    ("notices", r"logs/notices\.json", record(Outbox), True),
    ("suites", r"config/suites/[a-z0-9@-]+\.json", lambda c, p: load_suites(p.parent), True),
    ("hosts", r"config/hosts\.json", lambda c, p: compose_hosts(read_files(c.paths)[0][HOSTS])[0], True),
    ("configuration", r"config/(weaver|training|evals|skills/[a-z]+)\.yaml", lambda c, p: load(c.paths, {}), True),
    ("log", r"logs/[a-z_]+\.jsonl(\.\d)?", is_json, True),
    ("output", r"logs/[a-z_-]+\.out", lambda c, p: p.read_text(encoding="utf-8") or True, True),
    ("events", r"logs/events/[a-z_]+(\.1)?\.jsonl", lambda c, p: [strict_json(data) for data in read_records(p)], True),
]  # fmt: skip
# Files of people, of private folders, and temporary ones that have not been renamed yet: nobody else reads them.
PRIVATE = re.compile(
    r"(queue|status)/(README\.md|\.gitignore)|config/README\.md|queue/inbox/.*|queue/\.building/.*"
    r"|models/tiny/\.(staging|trash)/.*|.*/\.[^/]+\.tmp"
)


def files(checkout: Checkout) -> list[str]:
    """Give every file of the home's own folders, relative to the home."""
    home = checkout.folder
    return [
        path.relative_to(home).as_posix()
        for top in ("queue", "status", "models", "logs", "config")
        for path in (home / top).rglob("*")
        if path.is_file()
    ]


@pytest.mark.parametrize(("name", "pattern", "consumer", "is_certain"), FILES, ids=[row[0] for row in FILES])
def test_consumer_reads_what_the_producer_wrote(
    checkout: Checkout, name: str, pattern: str, consumer: Consumer, is_certain: bool
) -> None:
    def newest() -> list[Path]:
        found = [checkout.folder / relative for relative in files(checkout) if re.fullmatch(pattern, relative)]
        return sorted(found)[-5:]

    found = wait_for(f"a {name} file", newest, 60.0) if is_certain else newest()
    for path in found:
        try:
            assert consumer(checkout, path), path
        except FileNotFoundError:
            assert not path.exists(), f"{path} is there and was not found"  # a job moved on, a checkpoint was pruned


def test_no_file_is_without_a_contract(checkout: Checkout) -> None:
    known = re.compile("|".join(f"(?:{pattern})" for _, pattern, _, _ in FILES))
    strangers = [name for name in files(checkout) if not (known.fullmatch(name) or PRIVATE.fullmatch(name))]
    assert strangers == []


WEB: list[tuple[str, Callable[[Any], Any]]] = [
    ("/api/status", lambda body: decode(StatusReport, body, "status").state in ("healthy", "degraded")),
    ("/api/queue?state=completed&limit=3", lambda body: [job["id"] for job in strict_json(body)["jobs"]]),
    ("/api/ledger", lambda body: strict_json(body)["checkpoints"]),
    ("/api/ledger/summary", lambda body: strict_json(body)),
    ("/api/ledger/best?metric=accuracy", lambda body: strict_json(body)),
]


@pytest.mark.parametrize(("route", "consumer"), WEB, ids=[route for route, _ in WEB])
def test_web_route_answers_in_its_contract(checkout: Checkout, route: str, consumer: Callable[[Any], Any]) -> None:
    key = read_key(checkout.paths.tokens / "web")
    url = checkout.status()["web"]
    answer = requests.get(f"{url}{route}", headers={"Authorization": f"Bearer {key}"}, timeout=20)
    assert answer.status_code == 200, answer.text
    assert consumer(answer.content)


def test_web_lists_jobs_that_read_as_jobs(checkout: Checkout) -> None:
    key = read_key(checkout.paths.tokens / "web")
    url = checkout.status()["web"]
    answer = requests.get(f"{url}/api/queue?limit=5", headers={"Authorization": f"Bearer {key}"}, timeout=20)
    for job in answer.json()["jobs"]:
        state = job.pop("state")
        assert state in ("high", "normal", "low", "processing", "completed", "failed", "rejected")
        fields = {name: job[name] for name in ("id", "name", "priority", "model")}
        assert Spool(checkout.paths).read(job["id"])[1].id == fields["id"]
        assert set(job) >= set(Job.__struct_fields__)

"""The API is what its description says: schemathesis throws requests at a real web process by it, good ones and bad ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.checkpoints.places import Ranked, Ranking
from core.clock import SystemClock
from core.files import replace_quick
from core.jobs.job import Reason
from core.orders import order_queue
from core.records import encode
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.core.home_files import make_home, put_job
from tests.weaver.web.web_process import WebProcess, running
from weaver.web.app import route_table
from weaver.web.openapi import ROUTES, describe

SEED = 4
EXAMPLES = 25
UPLOAD_BYTES = 2**20
STREAM = "/api/events"  # it never ends: tests/weaver/web/test_events.py reads it


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebProcess]:
    with running(make_home(tmp_path / "home"), WEAVER__WEB__MAX_UPLOAD_MB="1") as process:
        yield process


def with_examples(description: dict[str, Any], known: dict[tuple[str, str], str]) -> dict[str, Any]:
    """Name things that exist for (path, parameter), so that good answers are looked at too."""
    for (path, name), value in known.items():
        for operation in description["paths"][path].values():
            [parameter] = [one for one in operation["parameters"] if one["name"] == name]
            parameter["examples"] = {"known": {"value": value}}
    return description


def fill(web: WebProcess) -> dict[tuple[str, str], str]:
    """Put jobs of several states and a checkpoint into the home; give (path, parameter) -> what exists."""
    queued = [put_job(web.paths, "normal", number=number) for number in range(3)]
    put_job(web.paths, "rejected", number=4, rejected=2, reason=Reason(code="not_json", message="no"))
    failed = put_job(web.paths, "failed", "failed", number=5)
    checkpoint = make_checkpoint(web.paths, 0, None)
    first = Ranked(place=1, checkpoint=checkpoint, accuracy=0.5, low=0, high=0, composite=0.5, eligible=True, reasons=[])
    replace_quick(web.paths.status / "ranking.json", encode(Ranking(models={"tiny": [first]})))
    placed = order_queue(web.paths, "pause", "test", SystemClock().now())
    return {
        ("/api/queue/{job}", "job"): queued[0], ("/api/queue/{job}/promote", "job"): queued[0],
        ("/api/queue/{job}/rm", "job"): queued[1], ("/api/queue/{job}/retry", "job"): failed,
        ("/api/inbox/{drop}", "drop"): "failed.jsonl", ("/api/ledger/{checkpoint}", "checkpoint"): f"tiny/{checkpoint}",
        ("/static/{name}", "name"): "page.js", ("/api/orders/{order}", "order"): placed.id,
    }  # fmt: skip


def test_every_route_is_described_and_nothing_else() -> None:
    assert {f"{route.method} {route.path}" for route in route_table(1)} == ROUTES.keys()


def test_description_is_of_the_typed_records() -> None:
    description = describe(UPLOAD_BYTES)
    answer = description["paths"]["/api/status"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/StatusReport"}
    record = description["components"]["schemas"]["StatusReport"]
    assert record["properties"]["schema"] == {"enum": ["weaver.status/1"]}
    assert record["additionalProperties"] is False
    open_ = [path for path, item in description["paths"].items() for one in item.values() if not one["security"]]
    assert sorted(open_) == ["/health", "/login", "/login"]


def test_real_process_keeps_to_its_description_under_schemathesis(web: WebProcess, tmp_path: Path) -> None:
    """Takes up to a minute: some thousand requests, among them those that a description forbids."""
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(with_examples(describe(UPLOAD_BYTES), fill(web))))
    print(f"seed {SEED}, {EXAMPLES} examples an operation")
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", str(file), "--url", f"http://127.0.0.1:{web.port}",
         "--header", f"Authorization: Bearer {web.key}", "--exclude-path", STREAM, "--phases", "examples,coverage,fuzzing",
         "--max-examples", str(EXAMPLES), "--seed", str(SEED), "--checks", "all", "--no-color",
         "--generation-database", "none", "--max-response-time", "30", "--request-timeout", "60"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert web.process.poll() is None
    assert web.ask("GET", "/health", {}).status == 200

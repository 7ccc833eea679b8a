"""What the reading routes give is what lies in the files, under the contract's names."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator

import pytest

from core.checkpoints.checkpoint import Head
from core.checkpoints.ledger import Ledger
from core.checkpoints.places import Ranked, Ranking
from core.files import replace_quick
from core.jobs.job import QuarantinedLine, Reason
from core.jobs.lineage import LineageTally, view_path
from core.records import encode
from core.status import State
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_state
from tests.core.checkpoints.score_builder import put_score
from tests.core.home_files import put_job
from tests.weaver.cli.command import weaver
from tests.weaver.web.web_process import WebProcess


@pytest.fixture(autouse=True)
def clean(web: WebProcess) -> Iterator[None]:
    """Leave an empty queue and no models behind for the next test."""
    yield
    paths = web.paths
    for folder in (paths.queue, paths.models):
        shutil.rmtree(folder)
    paths.make()


def test_status_is_what_weaver_status_prints(web: WebProcess) -> None:
    put_job(web.paths, "normal")
    shown, printed = web.get("/api/status"), json.loads(weaver(web.paths.home, "status", "--json", WEAVER_WEB_PORT="0").stdout)
    for found in (shown, printed):
        del found["checked_at"], found["disk"]["free_bytes"]
        for row in found["daemons"]:
            del row["up_s"], row["heartbeat_age_s"]
    assert shown == printed
    assert shown["web"] == f"http://127.0.0.1:{web.port}"
    assert [(row["name"], row["state"]) for row in shown["daemons"]] == [("web", State.RUNNING)]


def test_queue_gives_job_records_with_their_state_page_by_page(web: WebProcess) -> None:
    jobs = sorted([put_job(web.paths, "high"), *(put_job(web.paths, "completed", number=number) for number in range(1, 5))])
    everything = web.get("/api/queue")
    assert [job["id"] for job in everything["jobs"]] == jobs
    assert everything["next"] is None
    first = everything["jobs"][0]
    assert (first["schema"], first["state"], first["lines"]["dropped"]) == ("weaver.job/1", "high", 3)
    done = [job for job in jobs if job != first["id"]]
    for newest, expected in (("false", done), ("true", done[::-1])):
        pages, after = [], ""
        while after is not None:
            page = web.get(f"/api/queue?state=completed&limit=2&newest={newest}&after={after}")
            pages.append([job["id"] for job in page["jobs"]])
            after = page["next"]
        assert pages == [expected[:2], expected[2:]]


@pytest.mark.parametrize("query", ["state=unknown", "limit=0", "limit=501", "limit=x"])
def test_bad_question_to_the_queue_is_400_and_says_what_is_valid(web: WebProcess, query: str) -> None:
    answer = web.ask("GET", f"/api/queue?{query}")
    assert answer.status == 400
    assert answer.json["error"]["code"] == "bad_request"


def test_job_that_cannot_be_read_is_shown_with_the_reason(web: WebProcess) -> None:
    good, bad = put_job(web.paths, "low"), put_job(web.paths, "low", number=1)
    (web.paths.state("low") / bad / "job.json").write_text("{")
    found = {job["id"]: job for job in web.get("/api/queue?state=low")["jobs"]}
    assert found[good]["state"] == "low"
    assert "not a whole weaver.job/1 record" in found[bad]["error"]


def test_one_job_is_shown_with_its_attempts_and_its_end(web: WebProcess) -> None:
    job = put_job(web.paths, "completed")
    found = web.get(f"/api/queue/{job}")
    assert (found["id"], found["state"], found["attempts"]) == (job, "completed", [])
    assert (found["progress"], found["result"]) == (None, None)
    for unknown in ("nothing", "..%2f..%2fetc", "%00"):
        answer = web.ask("GET", f"/api/queue/{unknown}")
        assert answer.status == 404


def checkpoints(web: WebProcess) -> list[str]:
    """Make a short history: base, two on the chain, one off it."""
    paths = web.paths
    base = make_checkpoint(paths, 0, None)
    first = make_checkpoint(paths, 10, base)
    second = make_checkpoint(paths, 20, first)
    off = make_checkpoint(paths, 15, base)
    make_state(paths, second)
    Ledger(paths).write_head("tiny", Head(checkpoint=second, reason="test", at="2026-11-20T21:30:00.000Z"))
    return [base, first, off, second]


def test_ledger_lists_every_checkpoint_also_those_whose_weights_are_gone(web: WebProcess) -> None:
    names = checkpoints(web)
    shutil.rmtree(web.paths.model("tiny").checkpoint(names[1]))
    rows = web.get("/api/ledger")["checkpoints"]
    assert [row["id"] for row in rows] == [f"tiny/{name}" for name in names]
    assert [row["present"] for row in rows] == [True, False, True, True]
    assert [row["on_chain"] for row in rows] == [True, True, False, True]
    assert [(row["head"], row["resumable"]) for row in rows] == [(False, False)] * 3 + [(True, True)]
    page = web.get("/api/ledger?limit=3")
    assert ([row["step"] for row in page["checkpoints"]], page["next"]) == ([0, 10, 15], 3)
    assert [row["step"] for row in web.get("/api/ledger?limit=3&after=3")["checkpoints"]] == [20]


def test_ledger_summary_names_the_head(web: WebProcess) -> None:
    names = checkpoints(web)
    (summary,) = web.get("/api/ledger/summary")["models"]
    assert (summary["model"], summary["recorded"], summary["present"], summary["on_chain"]) == ("tiny", 4, 4, 3)
    assert (summary["head"], summary["newest"], summary["step"], summary["serving"]) == (names[3], names[3], 20, None)


def test_one_checkpoint_is_shown_with_its_scores_by_any_of_its_names(web: WebProcess) -> None:
    name = checkpoints(web)[1]
    put_score(web.paths, "binary-1", name)
    for asked in (f"tiny/{name}", name, "tiny@10"):
        found = web.get(f"/api/ledger/{asked}")
        assert (found["schema"], found["id"], found["step"]) == ("weaver.checkpoint/1", f"tiny/{name}", 10)
        assert found["on_chain"] is True
        assert [(score["checkpoint"], score["suite"]) for score in found["scores"]] == [(name, "binary-1")]
        assert "items" not in found["scores"][0]
    for unknown in ("tiny@99", "..%2f..", "tiny/../head.json"):
        assert web.ask("GET", f"/api/ledger/{unknown}").status == 404


def test_best_is_by_ranking_or_by_loss(web: WebProcess) -> None:
    names = checkpoints(web)
    assert web.ask("GET", "/api/ledger/best?metric=accuracy").status == 404
    assert web.ask("GET", "/api/ledger/best?metric=beauty").status == 400
    ranked = [
        Ranked(place=place, checkpoint=name, accuracy=accuracy, low=0, high=0, composite=composite, eligible=True, reasons=[])
        for place, name, accuracy, composite in ((1, names[3], 0.9, 0.5), (2, names[1], 0.8, 0.6))
    ]
    replace_quick(web.paths.status / "ranking.json", encode(Ranking(models={"tiny": ranked})))
    best = {metric: web.get(f"/api/ledger/best?metric={metric}")["best"][0] for metric in ("accuracy", "composite", "loss")}
    assert best["accuracy"] == {"model": "tiny", "checkpoint": f"tiny/{names[3]}", "value": 0.9}
    assert best["composite"]["checkpoint"] == f"tiny/{names[1]}"
    assert best["loss"]["value"] == 0.5
    rows = {row["id"]: row["accuracy"] for row in web.get("/api/ledger")["checkpoints"]}
    assert {id: right for id, right in rows.items() if right is not None} == {f"tiny/{names[3]}": 0.9, f"tiny/{names[1]}": 0.8}


def test_lineage_is_the_view_and_the_same_while_the_view_is_missing(web: WebProcess) -> None:
    put_job(web.paths, "normal", accepted=4)
    computed = web.get("/api/lineage")
    assert (computed["schema"], computed["jobs"]) == ("weaver.lineage/1", 1)
    assert computed["generators"][0]["lines"] == {"total": 4, "passed": 4, "failed": 0, "duplicate": 0}
    tally = LineageTally(web.paths)
    assert tally.keep_view(lambda: False)
    try:
        assert web.get("/api/lineage") == computed
        put_job(web.paths, "normal", number=1)
        assert web.get("/api/lineage") == computed, "the view is its owner's to bring up to date"
    finally:
        view_path(web.paths).unlink()
    assert web.get("/api/lineage")["jobs"] == 2


def test_refused_job_says_why_and_shows_its_first_refused_lines(web: WebProcess) -> None:
    job = put_job(web.paths, "rejected", reason=Reason(code="not_json", message="no line is JSON"))
    raws = [b"<b>", b"\xff\xfe", *(b"%d" % number for number in range(30))]
    lines = [
        encode(QuarantinedLine(line=at, offset=9, code="not_json", reason="no", raw_b64=base64.b64encode(raw * 400).decode()))
        for at, raw in enumerate(raws, 1)
    ]
    (web.paths.state("rejected") / job / "quarantine.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    found = web.get(f"/api/queue/{job}")
    assert found["why"] == {"code": "not_json", "message": "no line is JSON"}
    assert found["more"] is True
    assert [line["line"] for line in found["refused"]] == list(range(1, 21))
    assert found["refused"][0]["text"] == "<b>" * 80
    assert found["refused"][1]["text"].startswith("\\xff\\xfe")

"""POST /api/queue/...: a job is moved by one rename or not at all; what concerns the running job becomes an order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from core.jobs.job import Reason
from core.jobs.spool import Spool
from core.orders import answer as answer_order
from core.orders import pending
from tests.core.home_files import put_job
from tests.weaver.web.web_process import WebProcess


@pytest.fixture(autouse=True)
def clean(web: WebProcess) -> Iterator[None]:
    """Leave an empty queue behind for the next test."""
    yield
    shutil.rmtree(web.paths.queue)
    web.paths.make()


@pytest.mark.parametrize(
    ("state", "verb", "body", "to"),
    [
        ("normal", "promote", None, "high"),
        ("normal", "promote", {"priority": "low"}, "low"),
        ("high", "rm", None, "rejected"),
        ("failed", "retry", None, "normal"),
        ("completed", "retry", {"fresh": True}, "normal"),
    ],
)
def test_job_is_moved_and_given_back_with_its_new_state(web: WebProcess, state: str, verb: str, body: object, to: str) -> None:
    job = put_job(web.paths, state)
    answer = web.ask("POST", f"/api/queue/{job}/{verb}", body=None if body is None else json.dumps(body).encode())
    assert answer.status == 200, answer.body
    assert (answer.json["id"], answer.json["state"], answer.json["schema"]) == (job, to, "weaver.job/1")
    assert Spool(web.paths).find(job) == to


def test_removed_job_says_who_removed_it(web: WebProcess) -> None:
    job = put_job(web.paths, "low")
    assert web.ask("POST", f"/api/queue/{job}/rm").status == 200
    reason = Spool(web.paths).reason(job)
    assert reason is not None and reason.code == "removed"
    assert Spool(web.paths).read_attempts(job)[-1].by == "web"


@pytest.mark.parametrize(
    ("state", "verb"), [("processing", "promote"), ("completed", "rm"), ("normal", "retry"), ("high", "promote")]
)
def test_move_that_the_table_does_not_know_is_409_and_changes_nothing(web: WebProcess, state: str, verb: str) -> None:
    job = put_job(web.paths, state)
    answer = web.ask("POST", f"/api/queue/{job}/{verb}")
    assert (answer.status, answer.json["error"]["code"]) == (409, "conflict")
    assert Spool(web.paths).find(job) == state


def test_rejected_job_is_not_retried_unless_it_is_a_duplicate(web: WebProcess) -> None:
    refused = put_job(web.paths, "rejected", reason=Reason(code="not_json", message="no"))
    again = put_job(web.paths, "rejected", number=1, reason=Reason(code="duplicate", message="again"))
    assert web.ask("POST", f"/api/queue/{refused}/retry").status == 409
    assert web.ask("POST", f"/api/queue/{again}/retry").json["state"] == "normal"


@pytest.mark.parametrize("verb", ["promote", "rm", "retry"])
def test_unknown_job_is_404_and_a_path_is_no_id(web: WebProcess, verb: str) -> None:
    assert web.ask("POST", f"/api/queue/nobody/{verb}").status == 404
    assert web.ask("POST", f"/api/queue/..%2Fnormal/{verb}").status == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"priority": "highest"}', b'{"prio": "low"}', b"\xff"])
def test_body_that_is_not_understood_is_400_and_changes_nothing(web: WebProcess, body: bytes) -> None:
    job = put_job(web.paths, "normal")
    assert web.ask("POST", f"/api/queue/{job}/promote", body=body).status == 400
    assert Spool(web.paths).find(job) == "normal"


@pytest.mark.parametrize("verb", ["pause", "resume", "stop", "skip"])
def test_order_is_placed_for_train_next_and_answered_with_202(web: WebProcess, verb: str) -> None:
    answer = web.ask("POST", f"/api/queue/{verb}")
    assert answer.status == 202
    [order] = pending(web.paths, "train_next")
    assert (order.verb, order.by, order.args) == (verb, "web", {})
    assert answer.json["id"] == order.id and answer.json["schema"] == "weaver.order/1"


def test_empty_state_of_the_list_means_all(web: WebProcess) -> None:
    job = put_job(web.paths, "normal")
    assert [row["id"] for row in web.get("/api/queue?state=&limit=5&after=")["jobs"]] == [job]


def test_order_waits_and_then_holds_its_answer(web: WebProcess) -> None:
    order = web.ask("POST", "/api/queue/skip").json
    waiting = web.get(f"/api/orders/{order['id']}")
    assert waiting == order
    placed = next(one for one in pending(web.paths, "train_next") if one.id == order["id"])
    answer_order(web.paths, "train_next", placed, False, "nothing trains")
    assert web.get(f"/api/orders/{order['id']}") == {**order, "ok": False, "message": "nothing trains"}


@pytest.mark.parametrize("order", ["20261121-054633132-9b4507b4", "..%2f..%2fpaused", "x"])
def test_unknown_order_is_404(web: WebProcess, order: str) -> None:
    assert web.ask("GET", f"/api/orders/{order}").status == 404

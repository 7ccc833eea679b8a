"""The worker thread: in order, failing alone, and loud when it breaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from trainer.serve.api_errors import ApiError
from trainer.serve.loaded import Target
from trainer.serve.worker import Worker


def fail(error: Exception) -> None:
    raise error


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    worker.start()
    yield worker
    worker.stop()


def test_tasks_run_in_order_and_one_that_fails_fails_alone(worker: Worker) -> None:
    seen: list[int] = []
    works = [worker.task(lambda number=number: seen.append(number)) for number in range(20)]  # type: ignore[misc]
    failing = worker.task(lambda: fail(RuntimeError("no memory")))
    last = worker.task(lambda: 7)
    assert last.future.result(10) == 7 and seen == list(range(20)) and all(work.future.done() for work in works)
    with pytest.raises(RuntimeError, match="no memory"):
        failing.future.result(10)


def test_cancelled_task_is_never_begun(worker: Worker) -> None:
    free, seen = threading.Event(), list[str]()
    worker.task(lambda: free.wait(10))
    given_up, kept = worker.task(lambda: seen.append("given up")), worker.task(lambda: seen.append("kept"))
    given_up.cancel()
    with pytest.raises(CancelledError):
        given_up.future.result(10)
    assert worker.waiting_rows == 2
    free.set()
    kept.future.result(10)
    assert seen == ["kept"] and worker.waiting_rows == 0


def test_checkpoint_is_wanted_from_the_submission_to_the_end(worker: Worker) -> None:
    free = threading.Event()
    work = worker.task(lambda: free.wait(10), Target("tiny", "c"))
    assert worker.is_wanted("tiny/c") and not worker.is_wanted("tiny/d")
    free.set()
    work.future.result(10)
    assert not worker.is_wanted("tiny/c")


def test_stop_finishes_what_was_submitted() -> None:
    worker = Worker()
    worker.start()
    works = [worker.task(lambda: time.monotonic()) for _ in range(50)]
    worker.stop()
    assert all(work.future.done() for work in works)


def test_promise_is_kept_while_waiting_and_broken_when_it_is_overdue(worker: Worker) -> None:
    worker.task(lambda: None).future.result(10)
    assert worker.keeps_promise()
    worker.due_mono = time.monotonic() - 1
    assert not worker.keeps_promise()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_breaks_tells_every_waiter_and_takes_nothing_more() -> None:
    worker, free = Worker(), threading.Event()
    worker.start()
    worker.task(lambda: free.wait(10))
    breaking = worker.task(lambda: fail(ZeroDivisionError("a defect")))
    behind = worker.task(lambda: "never")
    free.set()
    for work in (breaking, behind):
        with pytest.raises(ApiError, match="a defect") as caught:
            work.future.result(10)
        assert caught.value.status == 500
    worker.stop()
    assert isinstance(worker.crashed, ZeroDivisionError)
    with pytest.raises(ApiError) as refused:
        worker.task(lambda: None)
    assert refused.value.status == 503

"""The oracle's one worker thread: everything that touches a model, a tokenizer or the pool happens here, in order.

Place in the flow: handlers submit Work and await its result. A load or a swap is an item of the same queue and runs between
two steps, so every answer comes from the checkpoint it names. Reads and writes no file itself. Invariants: the number of
waiting rows is bounded; a failing request fails alone; if the thread itself breaks, every waiter is told and `crashed` is
set, so that the process can end and be started again.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from core.errors import WeaverError
from trainer.serve.api_errors import ApiError
from trainer.serve.generate import Row
from trainer.serve.loaded import Loaded, Target
from trainer.serve.pool import Pool

GATHER_S = 0.003
MOST_WAITING_ROWS = 4096
# What fails one request and not the thread: our own errors, and what the model, its tokenizer or its files may raise.
REQUEST_ERRORS = (WeaverError, OSError, RuntimeError, ValueError, LookupError, TypeError)
STEP_PATIENCE_S = 60.0
TASK_PATIENCE_S = 600.0


class Generation(Protocol):
    """A request for answers of one checkpoint. size: how many rows it may need."""

    target: Target
    size: int

    def begin(self, loaded: Loaded) -> list[Row]:
        """Make the rows. Raises WeaverError."""
        ...

    def finish(self, loaded: Loaded) -> Any:
        """Make the result, once every row is over."""
        ...


class Work:
    """Something submitted. begun: the thread has taken it up; cancelled: nobody waits for it any more."""

    def __init__(self, size: int, target: Target | None) -> None:
        self.size, self.target = size, target
        self.future: Future[Any] = Future()
        self.begun = self.cancelled = False
        self.rows: list[Row] = []
        self.left = 0

    def cancel(self) -> None:
        """Stop working on it as soon as possible: before it begins, or at the next step. For any thread."""
        self.cancelled = True
        self.future.cancel()
        for row in self.rows:
            row.cancelled = True

    def begin(self) -> bool:
        """Take it up, unless it was cancelled. From here on its future ends with a result or an error."""
        self.begun = True
        return self.future.set_running_or_notify_cancel()


class Worker:
    """The thread and its queue. due_mono: by when it promises to have moved on; None while it waits for work."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pending: set[Work] = set()
        self._pending_rows = 0
        self._wanted: Counter[str] = Counter()
        self._owners: dict[Row, tuple[Work, Generation, Loaded]] = {}
        self._entering: dict[Loaded, deque[Row]] = {}
        self._thread = threading.Thread(target=self._run, name="worker")
        self._stopping = False
        self.due_mono: float | None = None
        self.crashed: BaseException | None = None
        self.answered = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish everything that was submitted, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    @property
    def waiting_rows(self) -> int:
        """Say how many rows are queued or running."""
        return self._pending_rows

    def keeps_promise(self) -> bool:
        """Say whether the thread has moved on when it should have."""
        due = self.due_mono
        return due is None or time.monotonic() <= due

    def is_wanted(self, id_: str) -> bool:
        """Say whether a request waits for a checkpoint."""
        with self._lock:
            return self._wanted[id_] > 0

    def generate(self, generation: Generation, pool: Pool) -> Work:
        """Submit a request for answers. Raises ApiError (429) when too many rows wait."""
        work = Work(generation.size, generation.target)
        self._submit(work, lambda: self._begin(work, generation, pool))
        return work

    def task(self, run: Callable[[], Any], target: Target | None = None, size: int = 1) -> Work:
        """Submit a function to run between two steps; target: a checkpoint that has to stay in memory until then."""
        work = Work(size, target)
        self._submit(work, lambda: self._do(work, run))
        return work

    def _submit(self, work: Work, item: Callable[[], None]) -> None:
        with self._lock:
            if self.crashed is not None:
                raise ApiError(503, "stopping", "The oracle is about to start again.")
            if self._pending_rows + work.size > MOST_WAITING_ROWS:
                detail = f"{self._pending_rows} answers are waiting; at most {MOST_WAITING_ROWS} may. Try again later."
                raise ApiError(429, "queue_full", detail)
            self._pending.add(work)
            self._pending_rows += work.size
            if work.target is not None:
                self._wanted[work.target.id] += 1
        work.future.add_done_callback(lambda _: self._release(work))
        self._queue.put(item)

    def _release(self, work: Work) -> None:
        with self._lock:
            self._pending.discard(work)
            self._pending_rows -= work.size
            if work.target is not None:
                self._wanted[work.target.id] -= 1

    def _run(self) -> None:
        try:
            while not (self._stopping and not self._owners):
                self._take()
                for loaded in list(self._entering):
                    self._advance(loaded)
        except BaseException as error:
            with self._lock:
                self.crashed = error
            self._fail_all(error)
            raise

    def _take(self) -> None:
        """Take up everything queued; with nothing to do wait for the first, then a moment for its company."""
        self.due_mono = time.monotonic() + STEP_PATIENCE_S
        if not self._owners and not self._stopping:
            self.due_mono = None
            item = self._queue.get()
            self._take_item(item)
            until = time.monotonic() + GATHER_S
            while self._owners and (left := until - time.monotonic()) > 0:
                try:
                    self._take_item(self._queue.get(timeout=left))
                except queue.Empty:
                    break
        while True:
            try:
                self._take_item(self._queue.get_nowait())
            except queue.Empty:
                return

    def _take_item(self, item: Callable[[], None] | None) -> None:
        if item is None:
            self._stopping = True
            return
        self.due_mono = time.monotonic() + TASK_PATIENCE_S
        item()
        self.due_mono = time.monotonic() + STEP_PATIENCE_S

    def _do(self, work: Work, run: Callable[[], Any]) -> None:
        if not work.begin():
            return
        try:
            result = run()
        except REQUEST_ERRORS as error:
            work.future.set_exception(error)
            return
        work.future.set_result(result)

    def _begin(self, work: Work, generation: Generation, pool: Pool) -> None:
        if not work.begin():
            return
        try:
            loaded = pool.get(generation.target)
            work.rows = generation.begin(loaded)
        except REQUEST_ERRORS as error:
            work.future.set_exception(error)
            return
        work.left = len(work.rows)
        if not work.rows:
            self._finish(work, generation, loaded)
            return
        for row in work.rows:
            row.cancelled = work.cancelled
            self._owners[row] = (work, generation, loaded)
        self._entering.setdefault(loaded, deque()).extend(work.rows)

    def _advance(self, loaded: Loaded) -> None:
        """Move one checkpoint's batch on by a step, letting in what fits."""
        entering, batch = self._entering[loaded], loaded.batch
        joining = [entering.popleft() for _ in range(batch.room_for(entering))]
        over: list[Row] = []
        try:
            if joining:
                over += batch.add(joining)
            over += batch.step()
        except REQUEST_ERRORS as error:  # torch: out of memory, a kernel that failed
            waiting = set(entering)
            over = [row for row, (_, _, mine) in self._owners.items() if mine is loaded and row not in waiting]
            batch.clear()
            for row in over:
                row.end(None, f"the model failed: {error}")
        for row in over:
            self._over(row)
        if not batch.rows and not entering:
            del self._entering[loaded]

    def _over(self, row: Row) -> None:
        work, generation, loaded = self._owners.pop(row)
        work.left -= 1
        self.answered += 1
        if not work.left:
            self._finish(work, generation, loaded)

    def _finish(self, work: Work, generation: Generation, loaded: Loaded) -> None:
        try:
            work.future.set_result(generation.finish(loaded))
        except REQUEST_ERRORS as error:
            work.future.set_exception(error)

    def _fail_all(self, error: BaseException) -> None:
        with self._lock:
            pending = list(self._pending)
        for work in pending:
            if work.begun or work.begin():
                work.future.set_exception(ApiError(500, "server_error", f"The oracle broke down: {error!r}"))

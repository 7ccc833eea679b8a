"""The spool: every move of the table and nothing else, one winner of every race, nothing overwritten."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from core.clock import boot_id
from core.errors import IllegalMove, NotFound
from core.files import Ops
from core.jobs.archive import compress
from core.jobs.job import Attempt, Claim, Reason
from core.jobs.order import claim_order
from core.jobs.pause import Pause, clear_paused, paused, set_paused
from core.jobs.spool import MOVES, Spool
from core.paths import PRIORITIES, STATES, Paths
from core.records import encode_pretty
from tests.core.home_files import job_record
from tests.fakes import wait_for
from tests.waiting import is_awaited

AT = "2026-11-20T21:30:00.000Z"
JOB = "20261120-213000000-0123abcd-drop"

# CONTRACTS.md section 6, retyped: which moves there are between the state folders.
TABLE = {
    *itertools.permutations(PRIORITIES, 2),
    *((priority, "rejected") for priority in PRIORITIES),
    *((priority, "processing") for priority in PRIORITIES),
    ("processing", "completed"), ("processing", "failed"), *(("processing", priority) for priority in PRIORITIES),
    ("failed", "normal"), ("completed", "normal"), ("rejected", "normal"),
}  # fmt: skip


def put(paths: Paths, state: str, job: str = JOB, reason: Reason | None = None, accepted: int = 3) -> Path:
    folder = paths.state(state) / job
    folder.mkdir()
    (folder / "job.json").write_bytes(encode_pretty(job_record(job, accepted, received_at=AT, reason=reason)))
    (folder / "data.jsonl").write_text("{}\n" * accepted)
    return folder


def claim(job: str = JOB) -> Claim:
    return Claim(job=job, owner="train_next", pid=1, start_ticks=2, boot_id=boot_id(), at=AT)


def end(outcome: str) -> Attempt:
    return Attempt(
        at=AT, event="returned" if outcome in ("stopped", "skipped") else "finished", by="train_next", outcome=outcome,
    )  # fmt: skip


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def every_verb(spool: Spool) -> dict[str, object]:
    return {
        **{f"promote {to}": (lambda to=to: spool.promote(JOB, to)) for to in PRIORITIES},
        "remove": lambda: spool.remove(JOB, "person", AT),
        "expire": lambda: spool.expire(JOB, "train_next", AT, "superseded"),
        "claim": lambda: spool.claim(JOB, claim()),
        "complete": lambda: spool.complete(JOB, end("completed")),
        "return": lambda: spool.return_to_queue(JOB, end("stopped")),
        "skip": lambda: spool.skip(JOB, end("skipped")),
        "fail": lambda: spool.fail(JOB, end("failed")),
        "retry": lambda: spool.retry(JOB),
    }


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", sorted(every_verb(Spool(Paths(Path("/nowhere"))))))
def test_every_verb_in_every_state_makes_a_move_of_the_table_or_none(paths: Paths, state: str, verb: str) -> None:
    spool = Spool(paths)
    put(paths, state, reason=Reason(code="duplicate", message="again") if state == "rejected" else None)
    before = sorted(names(paths.state(state) / JOB))
    try:
        every_verb(spool)[verb]()  # type: ignore[operator]
    except IllegalMove:
        assert spool.find(JOB) == state
        assert sorted(names(paths.state(state) / JOB)) == before
        assert state not in MOVES[verb.split()[0]][0] or verb == f"promote {state}"
    else:
        assert (state, spool.find(JOB)) in TABLE
        assert state in MOVES[verb.split()[0]][0]
    assert sum(JOB in spool.list(other) for other in STATES) == 1


def test_table_of_the_code_is_the_table_of_the_contract() -> None:
    made = {
        (source, target)
        for verb, (sources, targets) in MOVES.items()
        for source in sources
        for target in targets
        if source != target and verb != "publish"
    }
    assert made == TABLE


def test_only_a_duplicate_leaves_rejected(paths: Paths) -> None:
    put(paths, "rejected", reason=Reason(code="not_json", message="no"))
    with pytest.raises(IllegalMove, match="not_json"):
        Spool(paths).retry(JOB)


def test_publish_never_takes_a_name_that_any_state_has(paths: Paths) -> None:
    put(paths, "completed")
    building = paths.building / "x"
    building.mkdir()
    with pytest.raises(Exception, match="already exists"):
        Spool(paths).publish(building, JOB, "normal")
    assert building.is_dir()


def test_oldest_prefers_priority_then_age(paths: Paths) -> None:
    spool = Spool(paths)
    assert spool.oldest() is None
    for state, name in [("low", "a"), ("normal", "c"), ("normal", "b"), ("high", "z"), ("processing", "0")]:
        put(paths, state, name)
    taken = []
    while (job := spool.oldest()) is not None:
        taken.append(job)
        spool.claim(job, claim(job))
    assert taken == ["z", "b", "c", "a"]


def test_list_ignores_what_is_no_job(paths: Paths) -> None:
    put(paths, "normal", "b")
    put(paths, "normal", "a")
    (paths.state("normal") / ".hidden").mkdir()
    (paths.state("normal") / "a-file").write_text("")
    (paths.state("normal") / "link").symlink_to(paths.home)
    assert Spool(paths).list("normal") == ["a", "b"]


def test_returned_job_finds_its_promoted_priority_and_its_place_again(paths: Paths) -> None:
    spool = Spool(paths)
    put(paths, "low")
    spool.promote(JOB, "high")
    folder = spool.claim(JOB, claim())
    for name in ("run.json", "order.json", "result.json", "plan.json", "progress.json"):
        (folder / name).write_text(name)
    folder = spool.return_to_queue(JOB, end("stopped"))
    assert folder == paths.state("high") / JOB
    there = set(names(folder))
    assert {"plan.json", "progress.json", "data.jsonl"} <= there, "the cursor is kept"
    assert {"run-1.json", "order-1.json", "result-1.json"} <= there
    assert not {"run.json", "order.json", "result.json"} & there, "a new claim must not start with the old request"
    assert (folder / "result-1.json").read_text() == "result.json"
    attempts = [(attempt.event, attempt.outcome) for attempt in spool.read_attempts(JOB)]
    assert attempts == [("claimed", None), ("returned", "stopped")]


def test_second_attempt_keeps_the_results_of_the_first(paths: Paths) -> None:
    spool = Spool(paths)
    put(paths, "normal")
    for number in (1, 2):
        folder = spool.claim(JOB, claim())
        (folder / "result.json").write_text(str(number))
        spool.return_to_queue(JOB, end("stopped"))
    folder = spool.folder(JOB)
    assert [(folder / f"result-{number}.json").read_text() for number in (1, 2)] == ["1", "2"]


def test_skipped_job_goes_to_low(paths: Paths) -> None:
    spool = Spool(paths)
    put(paths, "high")
    spool.claim(JOB, claim())
    assert spool.skip(JOB, end("skipped")) == paths.state("low") / JOB


@pytest.mark.parametrize("years", [-10, 10])
def test_skipped_job_waits_behind_the_others_whatever_the_clock_says(paths: Paths, years: int) -> None:
    spool = Spool(paths)
    first, second, third = (f"20261120-21300{number}000-9f2c01ab-x" for number in range(3))
    for job in (first, second):
        put(paths, "low", job)
    at = f"{2026 + years}-11-20T21:31:00.000Z"
    spool.claim(first, claim(first))
    spool.skip(first, Attempt(at=at, event="finished", by="train_next", outcome="skipped"))
    put(paths, "low", third)
    assert claim_order(paths.state("low")) == [second, first, third]


def test_skipped_job_comes_after_those_that_were_there_and_before_those_that_came_later(paths: Paths) -> None:
    spool = Spool(paths)
    a, b, c, e = (f"20261120-21300{number}000-9f2c01ab-x" for number in range(4))
    late = "20261120-213300000-9f2c01ab-x"
    for job in (a, b, c):
        put(paths, "low", job)
    for job, at in ((a, "2026-11-20T21:31:00.000Z"), (b, "2026-11-20T21:32:00.000Z")):
        assert spool.oldest() == job
        spool.claim(job, claim(job))
        spool.skip(job, Attempt(at=at, event="finished", by="train_next", outcome="skipped"))
    put(paths, "low", late)
    taken = []
    while (found := spool.oldest()) is not None:
        taken.append(found)
        spool.claim(found, claim(found))
    assert taken == [c, a, b, late], "generation may go on for ever, a skipped job does not wait for its end"
    spool.return_to_queue(b, end("stopped"))
    put(paths, "low", e)
    assert spool.oldest() == b


def test_duplicate_that_was_queued_again_and_taken_out_is_removed_and_no_duplicate(paths: Paths) -> None:
    spool = Spool(paths)
    put(paths, "rejected", reason=Reason(code="duplicate", message="again"))
    assert (spool.reason(JOB) or Reason(code="", message="")).code == "duplicate"
    spool.retry(JOB)
    spool.remove(JOB, "person", AT)
    assert (spool.reason(JOB) or Reason(code="", message="")).code == "removed"


def test_retry_of_a_job_whose_data_was_pruned_is_refused_and_changes_nothing(paths: Paths) -> None:
    (put(paths, "completed") / "data.jsonl").unlink()
    with pytest.raises(IllegalMove, match="was removed to save space"):
        Spool(paths).retry(JOB)
    assert Spool(paths).find(JOB) == "completed"


class Meanwhile(Ops):
    """Starts something else just before one call, and goes on when that waits or has ended."""

    def __init__(self, call: str, folder: Path, begin: Callable[[], object]) -> None:
        super().__init__()
        self._call, self._folder = call, folder
        self.other = threading.Thread(target=begin)

    def _begin(self, call: str) -> None:
        if call == self._call and not self.other.ident:
            self.other.start()
            wait_for("it waits, or has ended", lambda: not self.other.is_alive() or is_awaited(self._folder))

    def unlink(self, path: Path) -> None:
        self._begin("unlink")
        super().unlink(path)

    def rename_new(self, source: Path, target: Path) -> None:
        self._begin("rename_new")
        super().rename_new(source, target)


def test_job_that_is_queued_again_while_its_data_is_being_compressed_has_its_data(paths: Paths) -> None:
    folder = put(paths, "completed")
    ops = Meanwhile("unlink", folder, lambda: Spool(paths).retry(JOB))
    compress(folder / "data.jsonl", ops=ops)
    ops.other.join(20)
    assert (paths.state("normal") / JOB / "data.jsonl").read_text() == "{}\n" * 3


def test_data_of_a_job_that_is_being_queued_again_is_neither_compressed_nor_removed(paths: Paths) -> None:
    folder = put(paths, "completed")
    found = []

    def tidy() -> None:
        try:
            compress(folder / "data.jsonl")
        except FileNotFoundError:
            found.append("moved meanwhile")

    ops = Meanwhile("rename_new", folder, tidy)
    Spool(paths, ops).retry(JOB)
    ops.other.join(20)
    assert found == ["moved meanwhile"]
    assert (paths.state("normal") / JOB / "data.jsonl").read_text() == "{}\n" * 3


@pytest.mark.parametrize("fresh", [False, True])
def test_retry_keeps_the_cursor_unless_fresh(paths: Paths, fresh: bool) -> None:
    spool = Spool(paths)
    put(paths, "normal")
    folder = spool.claim(JOB, claim())
    for name in ("plan.json", "progress.json", "result.json"):
        (folder / name).write_text("")
    spool.fail(JOB, end("failed"))
    there = set(names(spool.retry(JOB, fresh=fresh)))
    assert "result.json" not in there, "it would end the next run before it begins"
    assert ({"plan.json", "progress.json"} <= there) is not fresh
    assert ({"plan-1.json", "progress-1.json"} <= there) is fresh


def test_adoption_keeps_the_origin(paths: Paths) -> None:
    spool = Spool(paths)
    put(paths, "high")
    spool.claim(JOB, claim())
    spool.adopt(JOB, claim(), Attempt(at=AT, event="adopted", by="train_next", detail="its owner died"))
    found = spool.claim_of(JOB)
    assert found is not None and found.origin == "high"
    assert spool.return_to_queue(JOB, end("stopped")).parent.name == "high"


def test_claim_cut_short_before_its_record_returns_by_the_received_priority(paths: Paths) -> None:
    put(paths, "processing")
    spool = Spool(paths)
    assert spool.claim_of(JOB) is None
    assert spool.return_to_queue(JOB, end("stopped")) == paths.state("normal") / JOB


class StopAt(Ops):
    """System calls of which the k-th rename is the last thing that happens."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def rename_new(self, source: Path, target: Path) -> None:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        super().rename_new(source, target)


@pytest.mark.parametrize("at", range(4))
def test_return_killed_between_its_renames_is_finished_by_the_same_call_or_the_next_claim(paths: Paths, at: int) -> None:
    put(paths, "high")
    folder = Spool(paths).claim(JOB, claim())
    ours = ("run.json", "order.json", "result.json")
    for name in (*ours, ".progress.json.123.0a1b2c3d.tmp"):
        (folder / name).write_text(name)
    with pytest.raises(KeyboardInterrupt):
        Spool(paths, StopAt(at)).return_to_queue(JOB, end("stopped"))
    spool = Spool(paths)
    if spool.find(JOB) == "processing":
        assert at == 0, "after its first rename the job is where it should be"
        spool.return_to_queue(JOB, end("stopped"))
    assert spool.find(JOB) == "high"
    assert [attempt.event for attempt in spool.read_attempts(JOB)] == ["claimed", "returned"], "noted once"
    left = set(names(spool.claim(JOB, claim())))
    assert {"run-1.json", "order-1.json", "result-1.json"} <= left
    assert not left & {*ours, ".progress.json.123.0a1b2c3d.tmp"}, "nobody takes it for the next attempt's"


def test_many_claimers_and_removers_of_one_job_have_one_winner(paths: Paths) -> None:
    for round_number in range(20):
        job = f"job-{round_number:02}"
        put(paths, "normal", job)
        won: list[str] = []
        start = threading.Barrier(4)

        def act(verb: str, job: str = job, won: list[str] = won, start: threading.Barrier = start) -> None:
            spool = Spool(paths)
            start.wait()
            try:
                spool.claim(job, claim(job)) if verb == "claim" else spool.remove(job, "person", AT)
                won.append(verb)
            except (IllegalMove, NotFound):
                return

        threads = [threading.Thread(target=act, args=(verb,)) for verb in ("claim", "remove") * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1, won
        state = Spool(paths).find(job)
        assert state == {"claim": "processing", "remove": "rejected"}[won[0]]
        assert (state == "rejected") == (Spool(paths).reason(job) is not None)


def test_reason_names_removed_and_expired(paths: Paths) -> None:
    spool = Spool(paths)
    put(paths, "normal", "a")
    put(paths, "low", "b")
    put(paths, "normal", "c")
    spool.remove("a", "anna", AT, "not this one")
    spool.expire("b", "train_next", AT, "made for an older checkpoint")
    assert spool.reason("a") == Reason(code="removed", message="not this one")
    assert spool.reason("b") == Reason(code="expired", message="made for an older checkpoint")
    assert spool.reason("c") is None


def test_reason_of_a_removal_cut_short_says_so(paths: Paths) -> None:
    put(paths, "rejected")
    reason = Spool(paths).reason(JOB)
    assert reason is not None and reason.code == "removed" and "died" in reason.message


def test_counts_know_drops_and_ignore_sidecars_and_hidden_files(paths: Paths) -> None:
    put(paths, "high")
    for name in ("a.jsonl", "a.jsonl.meta.json", ".b.jsonl", "e.jsonl.part", "high/c.jsonl", "low/d.jsonl"):
        (paths.inbox / name).write_text("")
    counts = Spool(paths).counts()
    assert (counts["inbox"], counts["high"], counts["normal"]) == (3, 1, 0)
    (paths.building / "20261120-213000000-00000000-x").mkdir()
    assert Spool(paths).undecided() == 4


def test_pending_examples_counts_accepted_lines_that_are_queued(paths: Paths) -> None:
    for number, state in enumerate(("high", "normal", "low", "processing", "completed", "rejected")):
        put(paths, state, f"job-{number}", accepted=10**number)
    assert Spool(paths).pending_examples() == 111


def test_job_with_a_damaged_record_adds_no_pending_examples(paths: Paths) -> None:
    put(paths, "normal", "job-1", accepted=5)
    (put(paths, "normal", "job-2", accepted=7) / "job.json").write_bytes(b"\0\0")
    assert Spool(paths).pending_examples() == 5


def test_a_thousand_jobs_are_all_counted(paths: Paths) -> None:
    for number in range(1000):
        put(paths, "low", f"job-{number:04}", accepted=2)
    assert Spool(paths).pending_examples() == 2000
    assert len(Spool(paths).list("low")) == 1000


@pytest.mark.parametrize("name", ["nothing", "../high", "", "UPPER", "a/b", "a" * 200])
def test_unknown_or_impossible_job_is_not_found(paths: Paths, name: str) -> None:
    with pytest.raises(NotFound):
        Spool(paths).find(name)


def test_missing_state_folder_is_made_again(paths: Paths) -> None:
    put(paths, "normal")
    paths.state("processing").rmdir()
    assert Spool(paths).list("processing") == []
    Spool(paths).claim(JOB, claim())
    assert Spool(paths).find(JOB) == "processing"


def test_pause_survives_and_is_cleared_once(paths: Paths) -> None:
    assert paused(paths) is None
    pause = Pause(verb="pause", by="anna", at=AT)
    set_paused(paths, pause)
    assert paused(paths) == pause
    assert clear_paused(paths) is True
    assert clear_paused(paths) is False
    assert paused(paths) is None

"""Every protocol that changes the disk through `Ops`: its stage, its calls, its next life, and what must be so then.

One entry of PROTOCOLS for each; test_protocols kills, fills, breaks and cuts the power in every call of every one. Saving a
checkpoint needs the trainer: its protocol is tests/faults/saving.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.checkpoints.champion import Champion
from core.checkpoints.deployment import Deployment
from core.checkpoints.ledger import Ledger
from core.checkpoints.reset import reset_head
from core.checkpoints.served import append_deployment, read_deployments, served
from core.clock import boot_id
from core.errors import IllegalMove
from core.files import OPS, Ops, replace_durable
from core.jobs.archive import compress, opened
from core.jobs.order import claim_order
from core.jobs.pause import Pause, clear_paused, paused, set_paused
from core.jobs.poison import PoisonLine, add_poison, poison_of
from core.jobs.spool import Spool
from core.orders import answer, answered, pending, place
from core.records import encode_pretty, read_if_there
from core.runs.run import Outcome, RunRequest
from core.status import Heartbeat, State, read_heartbeat, write_heartbeat
from tests.faults.stage import AT, GONE, JOB, LINES, NOW, OTHER, Stage, claim, end
from weaver.drill.drops import chat_lines


@dataclass(frozen=True)
class Protocol:
    """One protocol. begin() is what is broken; again() what the next life does; wrong() what is not as it must be then.

    kept() says what is not as was promised when begin() returned, before any next life; lines: how many were dropped.
    """

    name: str
    prepare: Callable[[Stage], object]
    begin: Callable[[Stage, Ops], object]
    again: Callable[[Stage], object]
    wrong: Callable[[Stage], list[str]]
    kept: Callable[[Stage], list[str]]
    lines: int = LINES

    def make(self, root: Path) -> Stage:
        """Make the stage, everything of it durable."""
        stage = Stage(root)
        stage.paths.make()
        self.prepare(stage)
        return stage

    def judge(self, root: Path, what: str, is_done: bool) -> list[str]:
        """Say what is wrong with a disk, before and after the next life."""
        stage = Stage(root)
        found = self.kept(stage) if is_done else []
        stage.paths.make()
        self.again(stage)
        found += [*self.wrong(stage), *stage.audited(self.lines)]
        return [f"{self.name}, {what}: {text}" for text in found]


def _is_in(*states: str, job: str = JOB) -> Callable[[Stage], list[str]]:
    def look(stage: Stage) -> list[str]:
        found = stage.states(job)
        return [] if len(found) == 1 and found[0] in states else [f"{job} is in {found}, expected {states}"]

    return look


def _tried(move: Callable[[Stage, Ops], object]) -> Callable[[Stage], None]:
    """Ask for a move again, as a person does who was not told that it is done."""

    def again(stage: Stage) -> None:
        try:
            move(stage, OPS)
        except IllegalMove:
            return

    return again


def _ended(name: str, outcome: Outcome, permanent: bool, begin: Callable[[Spool], object], state: str) -> Protocol:
    """The end of a claimed job: train_next sees the result again in its next life."""

    def prepare(stage: Stage) -> None:
        stage.put("processing")
        stage.put("low", OTHER, "low")
        stage.history(*([JOB] if outcome is Outcome.COMPLETED else []))
        stage.result(outcome, permanent)
        stage.claim_nothing()

    def wrong(stage: Stage) -> list[str]:
        order = claim_order(stage.paths.state("low"))
        late = [] if outcome is not Outcome.SKIPPED or order == [OTHER, JOB] else [f"low is in the order {order}"]
        events = [attempt.event for attempt in stage.spool.read_attempts(JOB)]
        return [*_is_in(state)(stage), *late, *([] if events == ["claimed", "finished"] else [f"its attempts are {events}"])]

    return Protocol(
        name, prepare, lambda stage, ops: begin(Spool(stage.paths, ops)), Stage.train_next, wrong, _is_in(state), 2 * LINES
    )


def _moved(name: str, source: str, move: Callable[[Stage, Ops], object], target: str) -> Protocol:
    """A move by a person or by train_next, asked for again when it did not happen."""
    return Protocol(name, lambda stage: stage.put(source), move, _tried(move), _is_in(target), _is_in(target))


def _has_request(stage: Stage) -> list[str]:
    request = read_if_there(RunRequest, stage.paths.state("processing") / JOB / "run.json")
    found = [*_is_in("processing")(stage), *([] if request is not None and request.job == JOB else ["it has no run.json"])]
    stage.spool.return_to_queue(JOB, end("stopped"))
    return [*found, *_is_in("normal")(stage)]


# -- data of ended jobs ---------------------------------------------------------------------------------------------------


def _data_is_whole(stage: Stage) -> list[str]:
    try:
        with opened(stage.spool.folder(JOB) / "data.jsonl") as file:
            data = file.read()
    except FileNotFoundError:
        return ["its data is gone"]
    return [] if data == chat_lines(JOB, LINES)[1] else [f"its data has become {len(data)} other bytes"]


def _ended_job(stage: Stage) -> Path:
    folder = stage.put("completed")
    stage.history(JOB)
    return folder / "data.jsonl"


def _pack(stage: Stage, ops: Ops = OPS) -> None:
    path = stage.spool.folder(JOB) / "data.jsonl"
    if path.exists():
        compress(path, ops=ops)


def _queue_afresh(stage: Stage, ops: Ops = OPS) -> None:
    Spool(stage.paths, ops).retry(JOB, fresh=True)


# -- what is beside the queue ---------------------------------------------------------------------------------------------


def _orders(stage: Stage) -> list[str]:
    done = list((stage.paths.orders / "done").glob("[!.]*.json"))
    left = pending(stage.paths, "train_next")
    return [] if len(done) == 1 and not left else [f"{len(done)} answers, {len(left)} orders wait"]


def _answer(stage: Stage, ops: Ops = OPS) -> None:
    for order in pending(stage.paths, "train_next", ops):
        answer(stage.paths, "train_next", order, True, "done", ops)


def _is_answered(stage: Stage) -> list[str]:
    [path] = (stage.paths.orders / "done").glob("[!.]*.json")
    order = answered(stage.paths, path.stem)
    return [*_orders(stage), *([] if order is not None and order.ok else ["its answer is not what was answered"])]


def _place(stage: Stage, ops: Ops = OPS) -> None:
    if not pending(stage.paths, "train_next"):
        place(stage.paths, "train_next", "pause", {}, "test", NOW, ops)


def _is_ordered(stage: Stage) -> list[str]:
    found = pending(stage.paths, "train_next")
    return [] if [order.verb for order in found] == ["pause"] else [f"{len(found)} orders wait"]


def _beat(stage: Stage, ops: Ops = OPS) -> None:
    write_heartbeat(stage.paths, Heartbeat(
        name="web", pid=GONE.pid, start_ticks=GONE.start_ticks, boot_id=boot_id(), state=State.RUNNING, seq=1, beat_mono=1.0,
        next_due_mono=2.0, beat_at=AT, phase="wait", note="a note", last_report=None, last_error=None, exit_code=0, version="1",
    ), ops)  # fmt: skip


def _is_beating(stage: Stage) -> list[str]:
    beat = read_heartbeat(stage.paths, "web")
    return [] if beat is not None and beat.note == "a note" else ["the heartbeat is not what was written"]


def _take_back(stage: Stage, ops: Ops = OPS) -> None:
    ledger = Ledger(stage.paths)
    base = ledger.names("tiny")[0]
    reset_head(stage.paths, ledger, "tiny", base, "test", AT, ops)


def _take_back_again(stage: Stage) -> None:
    if _head_is_moved(stage):
        _take_back(stage)


def _head_is_moved(stage: Stage) -> list[str]:
    ledger = Ledger(stage.paths)
    head, names = ledger.head("tiny"), ledger.names("tiny")
    is_moved = head is not None and head.checkpoint == names[0] and head.cut == [names[1]]
    return [] if is_moved else [f"head is {head}"]


def _name_poison(stage: Stage, ops: Ops = OPS) -> None:
    folder = stage.spool.folder(JOB)
    if not poison_of(folder):
        checkpoint = Ledger(stage.paths).names("tiny")[0]
        line = PoisonLine(line=2, code="loss", reason="nan", step=1, checkpoint=checkpoint, probes=1, at=AT, raw_b64="")
        add_poison(folder, line, ops)


def _is_poisoned(stage: Stage) -> list[str]:
    lines = [line.line for line in poison_of(stage.spool.folder(JOB))]
    return [] if lines == [2] else [f"poisoned lines are {lines}"]


def _poisoned_stage(stage: Stage) -> None:
    stage.put("processing")
    stage.history()


def _pause(stage: Stage, ops: Ops = OPS) -> None:
    set_paused(stage.paths, Pause(verb="pause", by="test", at=AT), ops)


def _is_paused(stage: Stage) -> list[str]:
    pause = paused(stage.paths)
    return [] if pause is not None and pause.verb == "pause" else [f"the pause is {pause}"]


def _resume(stage: Stage, ops: Ops = OPS) -> None:
    clear_paused(stage.paths, ops)


def _goes_on(stage: Stage) -> list[str]:
    return [] if paused(stage.paths) is None else ["it is still paused"]


def _deploy(stage: Stage, ops: Ops = OPS) -> None:
    """Move the alias, as the oracle does, then record the decision, as deploy_best does once the server has proved it."""
    if not _is_deployed(stage):
        return
    ledger = Ledger(stage.paths)
    name = ledger.names("tiny")[-1]
    weights_id, model = ledger.weights_id("tiny", name), stage.paths.model("tiny")
    champion = Champion(alias="tiny/champion", checkpoint=name, weights_id=weights_id, at=AT)
    replace_durable(model.champion, encode_pretty(champion), ops)
    append_deployment(model, Deployment(
        id="1", at=AT, model="tiny", checkpoint=name, weights_id=weights_id, previous=None, host="local", alias="champion",
        verdict="deployed", reason="test", test=None, by_suite=[], guards=[], proof=None, by="test",
    ), ops)  # fmt: skip


def _is_deployed(stage: Stage) -> list[str]:
    current, _ = served(read_deployments(stage.paths.model("tiny")))
    wanted = Ledger(stage.paths).names("tiny")[-1]
    return [] if current == wanted else [f"{current} is served, deployed was {wanted}"]


PROTOCOLS = (
    Protocol("admit", Stage.drop, Stage.admit, Stage.admit, Stage.admitted, Stage.admitted),
    Protocol(
        "claim", lambda stage: (stage.put("normal"), stage.history()),
        lambda stage, ops: Spool(stage.paths, ops).claim(JOB, claim()), Stage.train_next, _has_request, _is_in("processing"),
    ),
    _ended("finish", Outcome.COMPLETED, False, lambda spool: spool.complete(JOB, end("completed")), "completed"),
    _ended("fail", Outcome.FAILED, True, lambda spool: spool.fail(JOB, end("failed")), "failed"),
    _ended("return", Outcome.STOPPED, False, lambda spool: spool.return_to_queue(JOB, end("stopped")), "normal"),
    _ended("skip", Outcome.SKIPPED, False, lambda spool: spool.skip(JOB, end("skipped")), "low"),
    _moved("retry", "failed", lambda stage, ops: Spool(stage.paths, ops).retry(JOB), "normal"),
    _moved("promote", "low", lambda stage, ops: Spool(stage.paths, ops).promote(JOB, "high"), "high"),
    _moved("remove", "normal", lambda stage, ops: Spool(stage.paths, ops).remove(JOB, "test", AT), "rejected"),
    _moved("expire", "low", lambda stage, ops: Spool(stage.paths, ops).expire(JOB, "test", AT, "old"), "rejected"),
    Protocol("compress data", _ended_job, _pack, _pack, _data_is_whole, _data_is_whole),
    Protocol(
        "queue packed data again", lambda stage: compress(_ended_job(stage)), _queue_afresh, _tried(_queue_afresh),
        lambda stage: [*_is_in("normal")(stage), *_data_is_whole(stage)],
        lambda stage: [*_is_in("normal")(stage), *_data_is_whole(stage)],
    ),
    Protocol("order", lambda stage: None, _place, _place, _is_ordered, _is_ordered, 0),
    Protocol("answer", _place, _answer, _answer, _is_answered, _is_answered, 0),
    Protocol("status", lambda stage: None, _beat, _beat, _is_beating, lambda stage: [], 0),
    Protocol("reset head", lambda stage: (_ended_job(stage)), _take_back, _take_back_again, _head_is_moved, _head_is_moved),
    Protocol("poison", _poisoned_stage, _name_poison, _name_poison, _is_poisoned, _is_poisoned),
    Protocol("pause", lambda stage: None, _pause, _pause, _is_paused, _is_paused, 0),
    Protocol("resume", _pause, _resume, _resume, _goes_on, _goes_on, 0),
    Protocol("deploy", _ended_job, _deploy, _deploy, _is_deployed, _is_deployed),
)  # fmt: skip

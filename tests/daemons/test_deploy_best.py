"""deploy_best: what is promoted is proved and recorded, what fails its proof is taken back, at whatever point it is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.checkpoints.champion import read_champion
from core.checkpoints.deployment import Deployment
from core.checkpoints.protection import deciding
from core.checkpoints.removal import take_weights
from core.checkpoints.served import Serving, read_deployments, read_serving, served, serving_path
from core.checkpoints.standing import MOST_FAILURES, RETRY_S
from core.clock import boot_id, iso
from core.config import EvalsConfig
from core.errors import InvalidData, Unavailable
from core.records import strict_json
from core.status import Heartbeat, write_heartbeat
from daemons.deploy_best import DeployBest
from daemons.harness.context import Report
from daemons.rank_checkpoints import RankCheckpoints
from tests.core.checkpoints.checkpoint_builder import logprob_of, make_checkpoint
from tests.core.checkpoints.score_builder import committed_suites, put_score
from tests.daemons.home_builder import TestHome
from tests.daemons.oracle_fake import FakeOracle
from tests.waiting import is_awaited

SIZE = {name: len(suite.items) for name, suite in committed_suites().items()}


class Deploying:
    """A home with a history and scores, a fake oracle, and the daemons that rank and deploy."""

    def __init__(self, root: Path) -> None:
        self.home = TestHome(root)
        self.oracle = FakeOracle(self.home.paths)
        self.names: list[str] = []
        self.daemon, self.ranker = DeployBest(self.oracle.connect), RankCheckpoints()
        self.beat_oracle(ticks=1)
        self.grow(0, binary=SIZE["binary-1"], syllables=SIZE["syllables-1"])

    def grow(self, step: int, minute: int = 0, **wrong: int) -> str:
        """Add a checkpoint with so many wrong answers on the first level of each named skill, made at 21:<minute>."""
        self.names.append(make_checkpoint(self.home.paths, step, self.names[-1] if self.names else None, minute=minute))
        self.home.put_head(self.names[-1])
        for skill, number in wrong.items():
            self.score(self.names[-1], f"{skill}-1", number)
        return self.names[-1]

    def score(self, name: str, suite: str, wrong: int) -> None:
        self.home.clock.passed_s += 1.0
        put_score(self.home.paths, suite, name, wrong=range(wrong), second=int(self.home.clock.passed_s))

    def beat_oracle(self, ticks: int) -> None:
        """Let the oracle's heartbeat name a process."""
        beat = Heartbeat(
            name="oracle", pid=4200, start_ticks=ticks, boot_id=boot_id(), state="RUNNING", seq=1, beat_mono=0.0,
            next_due_mono=6.0, beat_at="2026-11-20T21:30:00.000Z", phase="serve", note="", last_report=None, last_error=None,
            exit_code=None, version="0",
        )  # fmt: skip
        write_heartbeat(self.home.paths, beat)

    def tick(self, daemon: DeployBest | None = None) -> Report:
        self.home.clock.passed_s += 1.0
        self.ranker.tick(self.home.context("rank_checkpoints"))
        return (daemon or self.daemon).tick(self.home.context("deploy_best"))

    @property
    def records(self) -> list[Deployment]:
        return read_deployments(self.home.paths.model("tiny"))

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        return [(record.verdict, record.checkpoint) for record in self.records]

    @property
    def alias(self) -> str | None:
        champion = read_champion(self.home.paths, "tiny")
        return champion.checkpoint if champion else None

    def view(self) -> Serving:
        view = read_serving(self.home.paths)
        assert view is not None
        return view


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Deploying]:
    factory = Deploying(tmp_path)
    yield factory
    assert factory.oracle.aliases.get("champion") == factory.alias


def test_first_checkpoint_that_beats_the_base_is_staged_proved_flipped_and_recorded(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    report = factory.tick()
    assert report.did == 1 and report.note.startswith(f"deployed {first}")
    assert factory.oracle.calls == [("load", first), ("alias", first)]
    [record] = factory.records
    assert (record.verdict, record.checkpoint, record.previous, record.alias) == ("deployed", first, None, "champion")
    assert record.weights_id == factory.oracle.ledger.weights_id("tiny", first)
    assert record.test is not None and record.test.suite == "all" and record.test.better > 0 and record.guards == []
    assert record.proof is not None and record.proof.prompts == 3 and record.proof.max_diff == 0.0
    view = factory.view()
    assert (view.checkpoint, view.deployment, view.host) == (f"tiny/{first}", record.id, "local")
    assert view.verified_at == iso(factory.home.clock.now())
    assert [event for event, _ in factory.home.events] == ["deployed"]
    assert factory.tick().did == 0 and len(factory.records) == 1


def test_nothing_is_deployed_before_the_base_was_examined(tmp_path: Path) -> None:
    factory = Deploying(tmp_path)
    for path in factory.home.paths.model("tiny").scores(factory.names[0]).iterdir():
        path.unlink()
    factory.grow(10, binary=0, syllables=0)
    report = factory.tick()
    assert factory.records == [] and f"waits for {factory.names[0]}" in report.note


def test_checkpoint_no_better_than_the_base_is_refused_once(factory: Deploying) -> None:
    same = factory.grow(10, binary=SIZE["binary-1"], syllables=SIZE["syllables-1"])
    for _ in range(5):
        factory.tick()
    assert factory.verdicts == [("refused", same)]
    assert factory.oracle.calls == [] and read_serving(factory.home.paths) is None


def test_better_checkpoint_replaces_the_champion_and_names_it_as_previous(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    second = factory.grow(20, binary=10, syllables=20)
    factory.tick()
    assert factory.verdicts == [("deployed", first), ("deployed", second)]
    assert factory.records[1].previous == first
    proof = factory.records[1].proof
    assert proof is not None and proof.margin == pytest.approx(abs(logprob_of(first) - logprob_of(second)))
    assert {guard.suite for guard in factory.records[1].guards} == {"binary-1", "syllables-1"}
    assert factory.view().checkpoint == f"tiny/{second}"


def test_slightly_better_checkpoint_is_refused_for_want_of_questions_once_for_each_opponent(factory: Deploying) -> None:
    first = factory.grow(10, binary=20, syllables=30)
    factory.tick()
    second = factory.grow(20, binary=18, syllables=30)
    for _ in range(4):
        factory.tick()
    assert factory.verdicts == [("deployed", first), ("refused", second)]
    assert factory.records[1].reason.startswith("not enough questions: ")
    factory.tick(DeployBest(factory.oracle.connect))
    assert len(factory.records) == 2


def test_checkpoint_that_unlearned_a_mastered_suite_is_blocked_and_the_next_one_is_tried(factory: Deploying) -> None:
    first = factory.grow(10, binary=0, syllables=90)
    factory.tick()
    forgetful = factory.grow(20, binary=12, syllables=0)
    factory.tick()
    assert factory.verdicts == [("deployed", first), ("refused", forgetful)]
    assert factory.records[1].reason.startswith("blocked: ") and factory.alias == first
    sound = factory.grow(30, binary=1, syllables=15)
    factory.tick()
    assert factory.verdicts[-1] == ("deployed", sound)


def test_line_of_a_deployment_has_the_shape_that_the_contract_names(factory: Deploying) -> None:
    factory.grow(10, binary=40, syllables=60)
    factory.tick()
    [line] = [strict_json(line) for line in factory.home.paths.model("tiny").deployments.read_bytes().splitlines()]
    assert line["schema"] == "weaver.deployment/1"
    assert {"id", "at", "model", "checkpoint", "weights_id", "previous", "host", "alias", "verdict", "reason", "by"} <= set(
        line
    )
    assert set(line["test"]) == {"suite", "better", "worse", "p", "effect"}
    assert set(line["proof"]) == {"prompts", "max_diff", "tolerance", "margin"}
    assert isinstance(line["guards"], list)


def test_damaged_candidate_fails_and_what_is_served_stays(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    second = factory.grow(20, binary=0, syllables=0)
    (factory.home.paths.model("tiny").checkpoint(second) / "model.safetensors").write_bytes(b"bit rot")
    factory.tick()
    assert factory.verdicts == [("deployed", first), ("failed", second)]
    assert "model.safetensors hashes to" in factory.records[1].reason
    assert factory.alias == first and ("load", second) not in factory.oracle.calls
    assert f"{second} is ahead and could not be deployed" in factory.tick().note
    assert len(factory.records) == 2
    for _ in range(6):
        factory.home.clock.passed_s += RETRY_S
        factory.tick()
    assert factory.verdicts.count(("failed", second)) == MOST_FAILURES


def test_failure_of_a_future_from_which_the_clock_was_set_back_holds_nothing_up(factory: Deploying) -> None:
    factory.grow(10, binary=40, syllables=60)
    factory.tick()
    second = factory.grow(20, binary=0, syllables=0)
    weights = factory.home.paths.model("tiny").checkpoint(second) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"x")
    factory.home.clock.jumped = timedelta(days=3652)
    factory.tick()
    assert factory.verdicts[-1] == ("failed", second)
    factory.home.clock.jumped = timedelta()
    weights.write_bytes(whole)
    report = factory.tick()
    assert factory.alias == second, report.note


def test_oracle_that_loads_other_weights_than_asked_never_gets_the_alias(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.oracle.swaps[first] = factory.names[0]
    factory.tick()
    assert factory.verdicts == [("failed", first)] and factory.alias is None
    assert "answered by" in factory.records[0].reason


def test_wrong_numbers_under_the_right_name_never_get_the_alias(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.oracle.logprob[first] = logprob_of(first) + 0.01
    factory.tick()
    assert factory.verdicts == [("failed", first)] and factory.alias is None


def test_proof_that_fails_after_the_flip_rolls_back_to_the_champion(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    second = factory.grow(20, binary=0, syllables=0)
    factory.oracle.on_alias[second] = lambda: factory.oracle.logprob.update({second: -9.0})
    report = factory.tick()
    assert factory.verdicts == [("deployed", first), ("rolled_back", second)]
    assert served(factory.records) == (first, None)
    assert factory.alias == first and "rolled back" in report.note
    assert ("rolled_back", second) == (factory.home.events[-1][0], factory.home.events[-1][1]["checkpoint"].split("/")[1])
    assert factory.view().checkpoint == f"tiny/{first}"
    for _ in range(3):
        factory.tick()
    assert len(factory.records) == 2  # it is not eligible any more


def test_alias_that_answers_as_another_checkpoint_after_the_flip_is_rolled_back(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    second = factory.grow(20, binary=0, syllables=0)
    factory.oracle.on_alias[second] = lambda: factory.oracle.aliases.update({"champion": factory.names[0]})
    factory.tick()
    assert factory.verdicts[-1] == ("rolled_back", second) and factory.alias == first
    assert f"champion was answered by tiny/{factory.names[0]}" in factory.records[-1].reason


def test_candidate_that_a_removal_takes_under_the_flip_is_rolled_back(factory: Deploying) -> None:
    """The removal asked what must stay before the alias meant it: it is waited for, or its weights went once it is proved."""
    first = factory.grow(10, binary=40, syllables=60)
    mine, is_ours, began = factory.home.paths.model("tiny"), threading.Event(), list[bool]()

    def remove() -> None:
        with deciding(mine):
            is_ours.set()
            deadline = time.monotonic() + 60
            while not (is_late := is_awaited(mine.root)) and time.monotonic() < deadline and not factory.records:
                pass
            began.append(is_late)
            take_weights(factory.home.paths, "tiny", first)

    removal = threading.Thread(target=remove)
    factory.oracle.on_alias[first] = lambda: (removal.start(), is_ours.wait(60))[0]  # type: ignore[func-returns-value]
    factory.tick()
    removal.join(60)
    assert began == [True] and factory.verdicts == [("rolled_back", first)] and factory.alias == factory.names[0]


def test_first_deployment_that_fails_after_the_flip_goes_back_to_the_base(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.oracle.on_alias[first] = lambda: factory.oracle.logprob.update({first: -9.0})
    factory.tick()
    assert factory.verdicts == [("rolled_back", first)] and factory.alias == factory.names[0]
    second = factory.grow(20, binary=40, syllables=60)
    factory.tick()
    assert factory.verdicts[-1] == ("deployed", second) and factory.records[-1].previous == factory.names[0]


def test_what_is_served_is_proved_again_after_every_restart_of_the_oracle(factory: Deploying) -> None:
    factory.grow(10, binary=40, syllables=60)
    factory.tick()
    before, connections = factory.view(), factory.oracle.connections
    factory.tick()
    assert factory.oracle.connections == connections and factory.view() == before
    factory.oracle.restart()
    factory.beat_oracle(ticks=2)
    factory.tick()
    assert factory.view().verified_at == iso(factory.home.clock.now()) > before.verified_at
    assert factory.view().deployment == before.deployment and len(factory.records) == 1


def test_what_is_served_is_proved_again_after_the_interval(factory: Deploying) -> None:
    factory.home.configure(evals=EvalsConfig(proof_every_s=100.0))
    factory.grow(10, binary=40, syllables=60)
    factory.tick()
    before = factory.view().verified_at
    factory.home.clock.passed_s += 90.0
    factory.tick()
    assert factory.view().verified_at == before
    factory.home.clock.passed_s += 10.0
    factory.tick()
    assert factory.view().verified_at > before


def test_champion_whose_proof_fails_later_is_rolled_back_to_the_previous_one(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    second = factory.grow(20, binary=0, syllables=0)
    factory.tick()
    factory.oracle.logprob[second] = -9.0
    factory.beat_oracle(ticks=2)
    factory.tick()
    assert factory.verdicts[-1] == ("rolled_back", second) and factory.alias == first
    assert factory.view().checkpoint == f"tiny/{first}"
    assert served(factory.records) == (first, None)


def test_alias_that_somebody_moved_is_put_back_and_proved(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    factory.oracle.alias("champion", f"tiny/{factory.names[0]}")
    factory.tick()
    assert factory.alias == first and len(factory.records) == 1


def test_nothing_provable_left_to_serve_is_an_error_and_not_an_endless_record(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    factory.oracle.logprob.update({first: -9.0, factory.names[0]: -9.0})
    factory.beat_oracle(ticks=2)
    factory.tick()
    for _ in range(3):
        with pytest.raises(InvalidData, match="nothing else can be served"):
            factory.tick()
    assert factory.verdicts == [("deployed", first), ("rolled_back", first)]


def test_deleted_view_comes_back_without_a_new_proof(factory: Deploying) -> None:
    factory.grow(10, binary=40, syllables=60)
    factory.tick()
    before, connections = factory.view(), factory.oracle.connections
    serving_path(factory.home.paths).unlink()
    factory.tick()
    assert factory.view() == before and factory.oracle.connections == connections
    serving_path(factory.home.paths).write_bytes(b"{")
    factory.oracle.is_away = True
    factory.tick()
    assert factory.view() == before


def test_restarted_daemon_without_a_view_proves_before_it_says_so(factory: Deploying) -> None:
    factory.grow(10, binary=40, syllables=60)
    factory.tick()
    before = factory.view()
    factory.tick(DeployBest(factory.oracle.connect))
    assert factory.view() == before
    serving_path(factory.home.paths).unlink()
    factory.tick(DeployBest(factory.oracle.connect))
    assert factory.view().verified_at > before.verified_at


@pytest.mark.parametrize("calls", range(7))
def test_oracle_lost_after_any_call_of_a_deployment_ends_in_one_of_the_two_states(factory: Deploying, calls: int) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    second = factory.grow(20, binary=0, syllables=0)
    factory.oracle.away_after = calls
    lost = False
    try:
        factory.tick()
    except Unavailable:
        lost = True
        assert factory.verdicts == [("deployed", first)]
    assert lost == (calls < 6)
    factory.oracle.away_after, factory.oracle.is_away = None, False
    for _ in range(3):
        factory.tick(DeployBest(factory.oracle.connect))
    assert factory.verdicts == [("deployed", first), ("deployed", second)]
    assert factory.alias == second and factory.view().checkpoint == f"tiny/{second}"


def test_fingerprint_that_is_gone_proves_nothing(factory: Deploying) -> None:
    first = factory.grow(10, binary=40, syllables=60)
    factory.tick()
    (factory.home.paths.model("tiny").checkpoint(first) / "fingerprint.json").unlink()
    factory.beat_oracle(ticks=2)
    factory.tick()
    assert factory.verdicts[-1] == ("rolled_back", first) and "cannot be read" in factory.records[-1].reason

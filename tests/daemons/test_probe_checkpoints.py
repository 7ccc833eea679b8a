"""probe_checkpoints asks the right checkpoints the right suites, once, and writes only what they answered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.checkpoints.deployment import Deployment
from core.checkpoints.served import append_deployment
from core.errors import Unavailable
from core.evals.score import Score, read_scores
from core.evals.superseded import read_superseded
from daemons.harness.context import Report
from daemons.probe_checkpoints import LONGEST_REFUSED_S, MOST_VOIDS, REFUSED_S, ProbeCheckpoints
from daemons.rank_checkpoints import RankCheckpoints
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.core.checkpoints.score_builder import committed_suites
from tests.daemons.home_builder import TestHome
from tests.daemons.oracle_fake import FakeOracle


class Probing:
    """A home with a history, a fake oracle, and both daemons of the examination."""

    def __init__(self, root: Path, *steps: int) -> None:
        self.home = TestHome(root)
        self.names: list[str] = []
        self.grow(*steps)
        self.oracle = FakeOracle(self.home.paths)
        self.daemon = ProbeCheckpoints(self.oracle.connect)
        self.ranker = RankCheckpoints()

    def grow(self, *steps: int) -> None:
        for step in steps:
            self.names.append(make_checkpoint(self.home.paths, step, self.names[-1] if self.names else None))
        self.home.put_head(self.names[-1])

    def tick(self) -> Report:
        self.home.clock.passed_s += 1.0
        self.ranker.tick(self.home.context("rank_checkpoints"))
        return self.daemon.tick(self.home.context("probe_checkpoints"))

    def until_done(self) -> None:
        for _ in range(30):
            if not self.tick().again:
                return
        raise AssertionError("it asks for ever")

    def scores(self) -> list[Score]:
        return list(read_scores(self.home.paths.model("tiny")).scores)

    def deploy(self, checkpoint: str) -> None:
        append_deployment(
            self.home.paths.model("tiny"),
            Deployment(
                id="1", at="2026-11-20T21:30:00.000Z", model="tiny", checkpoint=checkpoint, weights_id="0" * 16, previous=None,
                host="local", alias="champion", verdict="deployed", reason="test",
                test=None, by_suite=[], guards=[], proof=None, by="test",
            ),
        )  # fmt: skip


def test_base_is_asked_first_then_the_newest_and_those_between_are_superseded(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0, 10, 20, 30)
    base, _, _, newest = probing.names
    probing.until_done()
    asked = [(name, suite) for name, suite, _ in probing.oracle.asked]
    assert asked == [(name, suite) for name in (base, newest) for suite in ("binary-1", "syllables-1")]
    assert read_superseded(probing.home.paths.model("tiny")) == {probing.names[1]: newest, probing.names[2]: newest}
    probing.until_done()
    assert len(probing.oracle.asked) == 4
    assert len(probing.home.paths.model("tiny").superseded.read_bytes().splitlines()) == 2


def test_score_holds_what_was_answered_by_the_named_weights(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0, 10)
    probing.oracle.wrong[probing.names[1]] = {"binary-1": 7, "syllables-1": 100}
    probing.until_done()
    scores = {(score.checkpoint, score.suite): score for score in probing.scores()}
    score = scores[probing.names[1], "binary-1"]
    size = len(committed_suites()["binary-1"].items)
    assert (score.n, score.correct, score.errors, score.void) == (size, size - 7, 0, False)
    assert score.weights_id == probing.oracle.ledger.weights_id("tiny", probing.names[1])
    assert score.host == "local" and score.decoding.temperature == 0.0
    assert scores[probing.names[0], "binary-1"].correct == 0


def test_new_level_is_asked_of_the_newest_and_of_what_is_served(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0)
    probing.until_done()
    for step in (10, 20, 30):
        probing.grow(step)
        probing.oracle.wrong[probing.names[-1]] = {"binary-1": 0}
        if step == 20:
            probing.deploy(probing.names[1])
        probing.until_done()
    asked_level_two = [name for name, suite, _ in probing.oracle.asked if suite == "binary-2"]
    assert asked_level_two == [probing.names[3], probing.names[1]]


def test_one_tick_asks_one_checkpoint_and_beats_for_every_suite(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0, 10)
    report = probing.tick()
    assert report.did == 2 and report.again and report.facts == {"checkpoint": probing.names[0]}
    assert len(probing.home.beats) == 2


def test_checkpoint_of_another_line_of_history_is_not_asked(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0, 10, 20)
    probing.home.put_head(probing.names[1])
    probing.until_done()
    assert {name for name, _, _ in probing.oracle.asked} == set(probing.names[:2])


def test_answers_of_other_weights_are_errors_and_void_scores_end(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0, 10)
    probing.oracle.swaps[probing.names[1]] = probing.names[0]
    probing.until_done()
    scores = [score for score in probing.scores() if score.checkpoint == probing.names[1]]
    assert len(scores) == 2 * MOST_VOIDS and all(score.void and score.n == 0 for score in scores)
    assert "expected" in str(scores[0].items[0].error)
    assert not read_superseded(probing.home.paths.model("tiny"))


def test_void_score_is_asked_again_and_the_second_counts(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0)
    probing.oracle.failing_answers = 10
    probing.tick()
    probing.oracle.failing_answers = 1
    probing.until_done()
    counted = [(score.suite, score.errors) for score in probing.scores() if score.counts]
    assert counted == [("binary-1", 1), ("syllables-1", 1)]
    assert sum(score.void for score in probing.scores()) == 2


def test_absent_oracle_ends_the_tick_and_writes_nothing(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0, 10)
    probing.oracle.is_away = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            probing.tick()
    assert probing.scores() == []
    probing.oracle.is_away = False
    probing.until_done()
    assert len(probing.scores()) == 4


def test_refused_checkpoint_does_not_keep_others_from_their_turn(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0, 10)
    probing.oracle.refuses.add(probing.names[0])
    assert "refused" in probing.tick().note
    probing.until_done()
    assert {score.checkpoint for score in probing.scores()} == {probing.names[1]}
    asked = len(probing.oracle.asked)
    probing.oracle.refuses.clear()
    probing.home.clock.passed_s += REFUSED_S
    probing.until_done()
    assert len(probing.oracle.asked) == asked + 2


def test_checkpoint_that_is_refused_again_and_again_is_asked_ever_less_often(tmp_path: Path) -> None:
    """The oracle hashes all of a broken checkpoint each time: gigabytes of it, with a large model."""
    probing = Probing(tmp_path, 0)
    probing.oracle.refuses.add(probing.names[0])
    asked = 0
    for _ in range(24 * 60):
        probing.home.clock.passed_s += 60.0
        asked += "refused" in probing.tick().note
    assert asked == pytest.approx(24 + 6, abs=1)
    probing.oracle.refuses.clear()
    probing.home.clock.passed_s += LONGEST_REFUSED_S
    probing.until_done()
    assert len(probing.scores()) == 2


def test_damaged_suite_is_not_asked_and_the_others_are(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0)
    path = probing.home.paths.suites / "binary-1@1.json"
    path.write_text(path.read_text().replace('"golden": 1.0', '"golden": 0.9'))
    report = probing.tick()
    assert "binary-1 is not asked" in report.note and "golden" in report.note
    assert [suite for _, suite, _ in probing.oracle.asked] == ["syllables-1"]
    shutil.copy(Path(__file__).parents[2] / "config" / "suites" / path.name, path)
    probing.until_done()
    assert [suite for _, suite, _ in probing.oracle.asked] == ["syllables-1", "binary-1"]


def test_stopping_between_two_suites_keeps_what_was_scored(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0)
    probing.home.beats = _StopAfterOne(probing.home)
    assert probing.tick().did == 1
    assert len(probing.scores()) == 1
    probing.home.is_stopping = False
    ProbeCheckpoints(probing.oracle.connect).tick(probing.home.context("probe_checkpoints"))
    assert [suite for _, suite, _ in probing.oracle.asked] == ["binary-1", "syllables-1"]


class _StopAfterOne(list[str]):
    """Asks the daemon to stop at its first beat."""

    def __init__(self, home: TestHome) -> None:
        self._home = home

    def append(self, note: str) -> None:
        self._home.is_stopping = True


def test_without_a_curriculum_nothing_is_asked(tmp_path: Path) -> None:
    probing = Probing(tmp_path, 0)
    report = probing.daemon.tick(probing.home.context("probe_checkpoints"))
    assert report.note == "waits for the curriculum" and probing.oracle.connections == 0

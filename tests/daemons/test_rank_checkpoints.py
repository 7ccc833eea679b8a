"""rank_checkpoints writes both views from the scores and keeps them there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.checkpoints.deployment import Deployment
from core.checkpoints.ranking import Ranking
from core.checkpoints.served import append_deployment
from core.evals.curriculum import Curriculum
from core.records import read
from daemons.rank_checkpoints import RankCheckpoints
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.core.checkpoints.score_builder import put_score
from tests.daemons.home_builder import TestHome


@pytest.fixture
def home(tmp_path: Path) -> TestHome:
    return TestHome(tmp_path)


def views(home: TestHome) -> tuple[Curriculum, Ranking]:
    return read(Curriculum, home.paths.status / "curriculum.json"), read(Ranking, home.paths.status / "ranking.json")


def history(home: TestHome, *steps: int) -> list[str]:
    names: list[str] = []
    for step in steps:
        names.append(make_checkpoint(home.paths, step, names[-1] if names else None))
    home.put_head(names[-1])
    return names


def test_before_anything_is_scored_both_views_are_there_and_say_what_to_learn_first(home: TestHome) -> None:
    report = RankCheckpoints().tick(home.context("rank_checkpoints"))
    curriculum, ranking = views(home)
    assert {name: skill.training_level for name, skill in curriculum.skills.items()} == {"binary": 1, "syllables": 1}
    assert ranking.models == {"tiny": []}
    assert report.did == 2 and "nothing is scored yet" in report.note


def test_new_scores_move_the_curriculum_and_the_order(home: TestHome) -> None:
    daemon, names = RankCheckpoints(), history(home, 0, 10, 20, 30)
    for place, name in enumerate(names):
        put_score(home.paths, "binary-1", name, wrong=range(60 if place == 0 else 4 - place), second=place)
        put_score(home.paths, "syllables-1", name, wrong=range(60), second=place)
        daemon.tick(home.context("rank_checkpoints"))
    curriculum, ranking = views(home)
    assert curriculum.skills["binary"].mastered_level == 1 and curriculum.skills["binary"].training_level == 2
    assert curriculum.skills["syllables"].mastered_level == 0
    assert [place.checkpoint for place in ranking.models["tiny"]] == names[::-1]
    assert not any(place.eligible for place in ranking.models["tiny"])  # nobody sat binary-2 yet
    put_score(home.paths, "binary-2", names[-1], wrong=range(10), second=9)
    daemon.tick(home.context("rank_checkpoints"))
    assert [place.checkpoint for place in views(home)[1].models["tiny"] if place.eligible] == [names[-1]]


def test_deleted_or_damaged_views_are_written_again_and_unchanged_ones_are_not(home: TestHome) -> None:
    daemon, names = RankCheckpoints(), history(home, 0, 10)
    put_score(home.paths, "binary-1", names[1])
    daemon.tick(home.context("rank_checkpoints"))
    before = views(home)
    assert daemon.tick(home.context("rank_checkpoints")).did == 0
    shutil.rmtree(home.paths.status)
    assert daemon.tick(home.context("rank_checkpoints")).did == 2
    assert views(home) == before
    (home.paths.status / "ranking.json").write_bytes(b"{")
    assert daemon.tick(home.context("rank_checkpoints")).did == 1
    assert views(home) == before


def test_restarted_daemon_gives_the_same_views(home: TestHome) -> None:
    names = history(home, 0, 10)
    put_score(home.paths, "binary-1", names[1])
    RankCheckpoints().tick(home.context("rank_checkpoints"))
    before = views(home)
    assert RankCheckpoints().tick(home.context("rank_checkpoints")).did == 0
    assert views(home) == before


def test_checkpoints_without_weights_or_off_the_chain_are_not_ranked_but_mastery_stays(home: TestHome) -> None:
    names = history(home, 0, 10, 20, 30, 40)
    for place, name in enumerate(names[1:]):
        put_score(home.paths, "binary-1", name, second=place)
    daemon = RankCheckpoints()
    shutil.rmtree(home.paths.model("tiny").checkpoint(names[1]))
    home.put_head(names[3])
    daemon.tick(home.context("rank_checkpoints"))
    curriculum, ranking = views(home)
    assert {place.checkpoint for place in ranking.models["tiny"]} == {names[2], names[3]}
    assert curriculum.skills["binary"].mastered_level == 1
    home.put_head(names[2])
    daemon.tick(home.context("rank_checkpoints"))
    curriculum, ranking = views(home)
    assert curriculum.skills["binary"].mastered_level == 0  # the third pass was cut off by the reset
    assert {place.checkpoint for place in ranking.models["tiny"]} == {names[2]}


def test_rolled_back_checkpoint_loses_its_eligibility(home: TestHome) -> None:
    daemon, names = RankCheckpoints(), history(home, 0, 10)
    put_score(home.paths, "binary-1", names[1])
    put_score(home.paths, "syllables-1", names[1])
    daemon.tick(home.context("rank_checkpoints"))
    assert views(home)[1].models["tiny"][0].eligible
    append_deployment(
        home.paths.model("tiny"),
        Deployment(
            id="1", at="2026-11-20T21:30:00.000Z", model="tiny", checkpoint=names[1], weights_id="0" * 16, previous=None,
            host="local", alias="champion", verdict="rolled_back", reason="test",
            test=None, by_suite=[], guards=[], proof=None, by="test",
        ),
    )  # fmt: skip
    daemon.tick(home.context("rank_checkpoints"))
    assert not views(home)[1].models["tiny"][0].eligible


def test_changed_target_level_shows_in_the_next_tick(home: TestHome) -> None:
    daemon = RankCheckpoints()
    daemon.tick(home.context("rank_checkpoints"))
    only = {"binary": home.config.skills["binary"]}
    home.configure(skills=only)
    daemon.tick(home.context("rank_checkpoints"))
    assert set(views(home)[0].skills) == {"binary"}


def test_torn_score_is_reported_and_the_others_count(home: TestHome) -> None:
    names = history(home, 0, 10)
    put_score(home.paths, "binary-1", names[1])
    (home.paths.model("tiny").scores(names[1]) / "binary-2-x-local.json").write_bytes(b"{")
    report = RankCheckpoints().tick(home.context("rank_checkpoints"))
    assert report.facts == {"scores": 1, "unread": 1}

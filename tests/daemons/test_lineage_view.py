"""status/data_lineage.json, kept by the real watch_inbox over drops of people and of the real generator."""

from __future__ import annotations

import shutil

import pytest

from core.evals.curriculum import Curriculum, SkillProgress
from core.jobs.lineage import Lineage, LineageTally, read_lineage
from core.records import encode_pretty
from daemons.generate_data import HOLD_S, GenerateData
from tests.daemons.inbox_builder import InboxHome, good, jsonl


def afresh(inbox: InboxHome) -> Lineage:
    tally = LineageTally(inbox.paths)
    assert tally.look()
    return tally.lineage()


def shown(inbox: InboxHome) -> Lineage:
    """Tick once more, so that what the last tick published is in the view; give the view."""
    inbox.tick()
    view = read_lineage(inbox.paths)
    assert view is not None
    return view


def test_every_drop_is_tallied_under_who_made_it_and_who_judged_it(inbox: InboxHome) -> None:
    skill = SkillProgress(training_level=1, mastered_level=0, target_level=3, levels=())
    curriculum = Curriculum(model="tiny", active_skill=None, skills={"binary": skill, "syllables": skill})
    (inbox.paths.status / "curriculum.json").write_bytes(encode_pretty(curriculum))
    inbox.clock.passed_s += HOLD_S
    GenerateData().tick(inbox.context("generate_data"))
    inbox.drop("mine.jsonl", jsonl([*good(60), "this is no JSON"]))
    inbox.drop("refused.jsonl", jsonl([*good(5, 100), "{}", "{", "["]))
    inbox.drop("made.jsonl", jsonl(good(4, 200)), {"generator_id": "sums", "generator_version": "2.1"})
    inbox.settle()
    view = shown(inbox)
    assert view == afresh(inbox)
    assert [(made.id, made.version, made.lines.passed, made.lines.failed) for made in view.generators] == [
        ("binary.syllables", "1.0.0+1.0.0", 512, 0), ("person", None, 60, 9), ("sums", "2.1", 4, 0),
    ]  # fmt: skip
    [validator] = view.validators
    assert (validator.id, validator.jobs.total, validator.jobs.failed) == ("watch_inbox", 4, 1)
    assert validator.fail_rate == pytest.approx(9 / 585)
    assert [offender.name for offender in validator.worst] == ["refused.jsonl", "mine.jsonl"]
    assert {reason.code for reason in validator.reasons} >= {"not_json"}


def test_deleted_view_is_written_again_by_the_next_tick_also_after_a_kill(inbox: InboxHome) -> None:
    inbox.drop("mine.jsonl", jsonl(good(3)))
    inbox.settle()
    view = shown(inbox)
    assert view.jobs == 1
    shutil.rmtree(inbox.paths.status)
    assert shown(inbox) == view
    shutil.rmtree(inbox.paths.status)
    inbox.restart()
    assert shown(inbox) == view == afresh(inbox)

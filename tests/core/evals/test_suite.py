"""Frozen suites: built always alike, verified when read, calibrated, never rewritten; the committed ones are today's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core import records
from core.errors import Conflict, CorruptRecord, InvalidData, NotFound
from core.evals.suite import (
    Suite,
    build_suite,
    calibrate,
    check,
    frozen_prompts,
    items_sha256,
    load_frozen_prompts,
    load_suites,
    publish_all_suites,
    publish_suite,
    suite_for,
    suite_name,
)
from core.skills.binary import Binary
from core.skills.registry import SKILLS
from core.skills.skill import generate, is_held_out

COMMITTED = Path(__file__).parents[3] / "config" / "suites"
AT = "2026-11-20T21:30:05.123Z"
LEVELS = [
    pytest.param(skill.name, level.level, id=f"{skill.name}-{level.level}")
    for skill in SKILLS.values()
    for level in skill.levels
]


@pytest.fixture(scope="module")
def suite() -> Suite:
    return build_suite("binary", 2, AT)


def _changed(suite: Suite, **fields: Any) -> Suite:
    return msgspec.structs.replace(suite, **fields)


def _rehashed(suite: Suite, items: tuple[Any, ...]) -> Suite:
    return _changed(suite, items=items, sha256=items_sha256(items))


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_committed_suite_is_the_one_that_the_skill_builds(skill: str, level: int) -> None:
    committed = load_suites(COMMITTED)[suite_name(skill, level)]
    built = build_suite(skill, level, committed.calibration.at)
    assert committed == built, "the skill changed under a frozen suite: raise the skill's version and build suite version 2"


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_committed_suite_is_calibrated_again_by_todays_grader(skill: str, level: int) -> None:
    suite = load_suites(COMMITTED)[suite_name(skill, level)]
    found = calibrate(SKILLS[skill], level, suite.items, suite.calibration.at)
    assert (found.golden, found.empty) == (1.0, 0.0)
    assert found == suite.calibration


def test_committed_folder_has_exactly_one_suite_per_level() -> None:
    assert sorted(path.name for path in COMMITTED.iterdir()) == sorted(
        f"{skill.name}-{level.level}@1.json" for skill in SKILLS.values() for level in skill.levels
    )


@pytest.mark.parametrize(("skill", "level"), LEVELS)
def test_training_data_never_holds_a_frozen_item(skill: str, level: int) -> None:
    frozen = load_frozen_prompts(COMMITTED)
    assert len(frozen) >= 1_000
    assert not frozen.keys() & {problem.digest for problem in generate(SKILLS[skill], level, 3_000, seed=11)}


def test_suite_has_a_hundred_items_or_all_that_are_held_out() -> None:
    assert len(build_suite("syllables", 3, AT).items) == 100
    binary = Binary()
    listed = binary.all_problems(2)
    assert listed is not None
    all_held_out = {problem.prompt for problem in listed if is_held_out(binary, problem.prompt)}
    assert {item.prompt for item in build_suite("binary", 2, AT).items} == all_held_out


def test_suite_survives_writing_and_reading(tmp_path: Path, suite: Suite) -> None:
    assert publish_suite(tmp_path / "suites", suite)
    assert load_suites(tmp_path / "suites") == {"binary-2": suite}
    assert (tmp_path / "suites" / "binary-2@1.json").is_file()


def test_publishing_again_changes_nothing(tmp_path: Path, suite: Suite) -> None:
    publish_suite(tmp_path, suite)
    before = (tmp_path / suite.file_name).read_bytes()
    assert not publish_suite(tmp_path, build_suite("binary", 2, "2027-01-01T00:00:00.000Z"))
    assert (tmp_path / suite.file_name).read_bytes() == before


def test_publishing_other_items_under_the_same_version_is_refused(tmp_path: Path, suite: Suite) -> None:
    publish_suite(tmp_path, _rehashed(suite, suite.items[:-1]))
    with pytest.raises(Conflict, match="build version 2 instead"):
        publish_suite(tmp_path, suite)


def test_newest_version_is_loaded_and_older_digests_stay_frozen(tmp_path: Path, suite: Suite) -> None:
    newer = _changed(_rehashed(suite, suite.items[:-1]), version=10)
    for version in (suite, _changed(suite, version=2), newer):
        publish_suite(tmp_path, version)
    assert load_suites(tmp_path)["binary-2"].version == 10
    assert frozen_prompts([newer]).items() < load_frozen_prompts(tmp_path).items() == frozen_prompts([suite]).items()


def test_all_suites_are_built_once(tmp_path: Path) -> None:
    assert len(publish_all_suites(tmp_path, AT)) == sum(len(skill.levels) for skill in SKILLS.values())
    assert publish_all_suites(tmp_path, AT) == []


def test_missing_folder_holds_no_suites(tmp_path: Path) -> None:
    assert load_suites(tmp_path / "missing") == {}


def _edited_answer(suite: Suite) -> Suite:
    first = msgspec.structs.replace(suite.items[0], answer="1")
    return _changed(suite, items=(first, *suite.items[1:]))


def _foreign_digest(suite: Suite) -> Suite:
    first = msgspec.structs.replace(suite.items[0], digest="0" * 64)
    return _rehashed(suite, (first, *suite.items[1:]))


def _calibrated(**accuracy: float) -> Callable[[Suite], Suite]:
    return lambda suite: _changed(suite, calibration=msgspec.structs.replace(suite.calibration, **accuracy))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (_edited_answer, "do not match the sha256"),
        (_foreign_digest, "not the digest of its prompt"),
        (lambda suite: _rehashed(suite, suite.items[:49]), "at least 50 are needed"),
        (lambda suite: _rehashed(suite, (*suite.items[:-1], suite.items[0])), "57 items, 56 distinct"),
        (_calibrated(golden=0.99), "golden player scored 0.99"),
        (_calibrated(empty=0.01), "empty player scored 0.01"),
        (_calibrated(constant=0.4), "a constant answer scored 0.400"),
    ],
)
def test_damaged_suite_is_refused(tmp_path: Path, suite: Suite, broken: Callable[[Suite], Suite], message: str) -> None:
    damaged = broken(suite)
    with pytest.raises(InvalidData, match=message):
        check(damaged, "here")
    with pytest.raises(InvalidData, match=message):
        publish_suite(tmp_path, damaged)
    (tmp_path / damaged.file_name).write_bytes(records.encode_pretty(damaged))
    with pytest.raises(InvalidData, match=message):
        load_suites(tmp_path)


def test_constant_player_is_allowed_chance_and_its_interval(suite: Suite) -> None:
    check(_calibrated(constant=0.19)(suite), "here")  # 0.09 of 57 has the upper bound 0.192
    with pytest.raises(InvalidData):
        check(_calibrated(constant=0.20)(suite), "here")


def test_file_under_another_name_is_refused(tmp_path: Path, suite: Suite) -> None:
    (tmp_path / "binary-3@1.json").write_bytes(records.encode_pretty(suite))
    with pytest.raises(InvalidData, match=r"expected binary-2@1\.json"):
        load_suites(tmp_path)


def test_torn_file_is_refused(tmp_path: Path, suite: Suite) -> None:
    whole = records.encode_pretty(suite)
    (tmp_path / suite.file_name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptRecord):
        load_suites(tmp_path)


@pytest.mark.parametrize("fields", [{"skill": "juggling"}, {"level": 8}])
def test_suite_of_an_unknown_skill_or_level_is_refused(tmp_path: Path, suite: Suite, fields: dict[str, Any]) -> None:
    (tmp_path / suite.file_name).write_bytes(records.encode_pretty(_changed(suite, **fields)))
    with pytest.raises(NotFound):
        load_suites(tmp_path)


def test_calibration_sees_a_grader_that_takes_anything(suite: Suite) -> None:
    class Gullible(Binary):
        def grade(self, prompt: str, level: int, answer: str) -> bool:
            return True

    found = calibrate(Gullible(), 2, suite.items, AT)
    assert (found.golden, found.empty, found.constant) == (1.0, 1.0, 1.0)


def test_suite_of_a_level_is_found_or_named(suite: Suite) -> None:
    assert suite_for({"binary-2": suite}, "binary", 2) is suite
    with pytest.raises(NotFound, match=r"'binary-3'.*binary-2"):
        suite_for({"binary-2": suite}, "binary", 3)

"""Frozen suites: fixed, hashed, calibrated sets of held-out problems.

Place in the flow: `weaver suites build` makes them from the skills, probe_checkpoints asks them, watch_inbox keeps their items
out of the training data. Writes and reads config/suites/<name>@<version>.json (committed). Invariants: a suite is measured,
never mined, never rewritten; it has at least 50 distinct items; the golden, the empty and the constant player sat it first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from core import files, records
from core.errors import Conflict, InvalidData, NotFound
from core.evals.statistics import wilson
from core.records import Part, Record
from core.skills import registry
from core.skills.skill import Problem, Skill, held_out, level_of
from core.text.digest import problem_digest

FEWEST_ITEMS = 50
MOST_ITEMS = 100
_FILE = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)@(?P<version>[1-9][0-9]*)\.json")


class SuiteItem(Part, frozen=True):
    """One question. digest: of the prompt."""

    id: str
    prompt: str
    answer: str
    digest: str


class Calibration(Part, frozen=True):
    """Accuracy of three players that know nothing of the model: the golden answers, empty answers, the best constant answer."""

    golden: float
    empty: float
    constant: float
    at: str


class Suite(Record, frozen=True, tag="weaver.suite/1"):
    """A frozen examination of one level of one skill. chance: the declared accuracy of the best constant answer."""

    name: str
    version: int
    skill: str
    level: int
    kind: Literal["p0", "wide"]
    chance: float
    sha256: str
    items: tuple[SuiteItem, ...]
    calibration: Calibration

    @property
    def file_name(self) -> str:
        """Give the name of the file: <name>@<version>.json."""
        return f"{self.name}@{self.version}.json"


def suite_name(skill: str, level: int) -> str:
    """Give the name of the suite that examines a level."""
    return f"{skill}-{level}"


def items_sha256(items: tuple[SuiteItem, ...]) -> str:
    """Give the SHA-256 of the items: of their compact JSON, keys in the order id, prompt, answer, digest."""
    return hashlib.sha256(msgspec.json.encode(items)).hexdigest()


def build_suite(skill: str, level: int, at: str, version: int = 1) -> Suite:
    """Build the suite of a level: 100 held-out problems, or all where there are fewer. at: time of the calibration, ISO 8601.

    The items depend on the skill's version and the level alone. Raises NotFound for an unknown skill or level, InvalidData when
    the suite is too small or fails its calibration.
    """
    examined = registry.get(skill)
    description = level_of(examined, level)
    items = tuple(_item(problem) for problem in held_out(examined, level, MOST_ITEMS))
    suite = Suite(
        name=suite_name(skill, level), version=version, skill=skill, level=level, kind="p0", chance=description.chance,
        sha256=items_sha256(items), items=items, calibration=calibrate(examined, level, items, at),
    )  # fmt: skip
    check(suite, f"suite {suite.name}")
    return suite


def _item(problem: Problem) -> SuiteItem:
    return SuiteItem(id=problem.id, prompt=problem.prompt, answer=problem.answer, digest=problem.digest)


def calibrate(skill: Skill, level: int, items: tuple[SuiteItem, ...], at: str) -> Calibration:
    """Let the golden, the empty and the constant player answer, through the grader that will grade the model."""

    def accuracy(answers: Iterable[str]) -> float:
        graded = [skill.grade(item.prompt, level, answer) for item, answer in zip(items, answers, strict=True)]
        return sum(graded) / len(items) if items else 0.0

    constants = {item.answer for item in items}
    return Calibration(
        golden=accuracy(item.answer for item in items),
        empty=accuracy("" for _ in items),
        constant=max((accuracy(answer for _ in items) for answer in constants), default=0.0),
        at=at,
    )


def check(suite: Suite, where: str) -> None:
    """Check hash, size, distinctness, digests and calibration. Raises InvalidData saying what is wrong."""
    if items_sha256(suite.items) != suite.sha256:
        raise InvalidData(where=where, detail="the items do not match the sha256: restore the file, it is never edited")
    if any(problem_digest(item.prompt) != item.digest for item in suite.items):
        raise InvalidData(where=where, detail="an item's digest is not the digest of its prompt")
    for distinct in ({item.digest for item in suite.items}, {item.id for item in suite.items}):
        if len(distinct) != len(suite.items) or len(distinct) < FEWEST_ITEMS:
            raise InvalidData(
                where=where,
                detail=f"{len(suite.items)} items, {len(distinct)} distinct: at least {FEWEST_ITEMS} are needed, all distinct",
            )
    _check_calibration(suite, where)


def _check_calibration(suite: Suite, where: str) -> None:
    found, n = suite.calibration, len(suite.items)
    allowed = wilson(suite.chance * n, n)[1]
    if found.golden != 1.0:
        raise InvalidData(where=where, detail=f"the golden player scored {found.golden}, expected 1: the grader is wrong")
    if found.empty != 0.0:
        raise InvalidData(where=where, detail=f"the empty player scored {found.empty}, expected 0: the grader is wrong")
    if found.constant > allowed:
        raise InvalidData(
            where=where,
            detail=f"a constant answer scored {found.constant:.3f}; the declared chance {suite.chance} allows {allowed:.3f}",
        )


def publish_suite(folder: Path, suite: Suite) -> bool:
    """Write a suite into config/suites/ and say whether it was new; one that is there with the same items is left alone.

    Raises Conflict when other items are frozen under the name and version: raise the version then.
    """
    check(suite, f"suite {suite.name}")
    path = folder / suite.file_name
    there = records.read_if_there(Suite, path)
    if there is None:
        folder.mkdir(parents=True, exist_ok=True)
        files.replace_durable(path, records.encode_pretty(suite))
        return True
    if there.sha256 != suite.sha256:
        raise Conflict(detail=f"{path} is frozen with other items; build version {suite.version + 1} instead.")
    return False


def publish_all_suites(folder: Path, at: str) -> list[str]:
    """Build the suite of every level of every skill, write the missing ones and give their names. Raises as publish_suite()."""
    built = [build_suite(skill.name, level.level, at) for skill in registry.SKILLS.values() for level in skill.levels]
    return [suite.name for suite in built if publish_suite(folder, suite)]


def load_suites(folder: Path) -> dict[str, Suite]:
    """Read all suites of config/suites/, by name, the highest version of each.

    Raises InvalidData for a file whose name, items, skill or calibration is not right, CorruptRecord, NewerRecord.
    """
    newest: dict[str, Suite] = {}
    for suite in _all_versions(folder):
        if suite.name not in newest or newest[suite.name].version < suite.version:
            newest[suite.name] = suite
    return newest


def load_suite(folder: Path, name: str) -> Suite:
    """Read the highest version of one suite; a damaged one of another name is no hindrance.

    Raises NotFound when there is none, else as load_suites() does.
    """
    found = [(int(match["version"]), path) for path in folder.glob(f"{name}@*.json") if (match := _FILE.fullmatch(path.name))]
    if not found:
        raise NotFound(kind="suite", name=name, known=", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "none")
    return _read(max(found)[1])


def frozen_prompts(suites: Iterable[Suite]) -> dict[str, str]:
    """Give the prompts of all items of these suites by their digests: no line that asks one may be trained on."""
    return {item.digest: item.prompt for suite in suites for item in suite.items}


def load_frozen_prompts(folder: Path) -> dict[str, str]:
    """Give the prompts of all items in config/suites/ by their digests, older versions included. Raises as load_suites()."""
    return frozen_prompts(_all_versions(folder))


def _all_versions(folder: Path) -> list[Suite]:
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def _read(path: Path) -> Suite:
    suite = records.decode_strict(Suite, path.read_bytes(), str(path))
    if _FILE.fullmatch(path.name) is None or path.name != suite.file_name:
        raise InvalidData(
            where=str(path), detail=f"holds suite {suite.name} version {suite.version}: expected {suite.file_name}"
        )
    level_of(registry.get(suite.skill), suite.level)
    check(suite, str(path))
    return suite


def suite_for(suites: Mapping[str, Suite], skill: str, level: int) -> Suite:
    """Give the suite that examines a level. Raises NotFound naming the suites there are."""
    name = suite_name(skill, level)
    if name not in suites:
        raise NotFound(kind="suite", name=name, known=", ".join(sorted(suites)))
    return suites[name]

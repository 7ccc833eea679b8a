"""The registry of skills and the shipped configuration of each."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from core.config import SkillConfig
from core.errors import InvalidConfig, NotFound
from core.skills.registry import SKILLS, enabled, get

SHIPPED = Path(__file__).parents[3] / "config" / "skills"


def test_skill_is_found_by_name_and_named_by_its_key() -> None:
    assert get("binary").name == "binary"
    assert {name: skill.name for name, skill in SKILLS.items()} == {name: name for name in SKILLS}


def test_unknown_skill_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"'binray'.*binary.*syllables"):
        get("binray")


def test_shipped_configuration_has_every_skill_with_target_three() -> None:
    shipped = {path.stem: SkillConfig(**yaml.safe_load(path.read_text(encoding="utf-8"))) for path in SHIPPED.glob("*.yaml")}
    assert set(shipped) == set(SKILLS)
    assert set(enabled(shipped)) == set(SKILLS)
    assert {config.target_level for config in shipped.values()} == {3}


def test_disabled_skill_is_left_out() -> None:
    assert list(enabled({"binary": SkillConfig(enabled=False), "syllables": SkillConfig()})) == ["syllables"]


def test_configured_skill_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidConfig, match=r"config/skills/juggling\.yaml.*binary.*syllables"):
        enabled({"juggling": SkillConfig()})


@pytest.mark.parametrize("target", [0, 8])
def test_target_level_beyond_the_skill_is_refused(target: int) -> None:
    with pytest.raises(InvalidConfig, match=rf"target_level: {target} is no level of it; valid: 1, 2, 3, 4, 5, 6, 7"):
        enabled({"binary": SkillConfig(target_level=target)})

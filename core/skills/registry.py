"""The skills there are, written by hand. A new skill is one module and one line here.

Place in the flow: everything that needs a skill by name asks here. Reads and writes no file. Invariant: the key is
the skill's name.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.config import SkillConfig
from core.errors import InvalidConfig, NotFound
from core.skills.binary import Binary
from core.skills.skill import Skill
from core.skills.syllables import Syllables

SKILLS: Mapping[str, Skill] = {skill.name: skill for skill in (Binary(), Syllables())}


def get(name: str) -> Skill:
    """Give a skill by name. Raises NotFound naming the skills there are."""
    skill = SKILLS.get(name)
    if skill is None:
        raise NotFound(kind="skill", name=name, known=", ".join(sorted(SKILLS)))
    return skill


def check(name: str, config: SkillConfig) -> list[tuple[tuple[str, ...], str, str]]:
    """Give (key, what is wrong, what is valid) of a skill that does not exist, or of a target level that it does not have."""
    if name not in SKILLS:
        return [((), f"there is no skill {name!r}", f"known: {', '.join(sorted(SKILLS))}")]
    levels = [level.level for level in SKILLS[name].levels]
    if config.target_level not in levels:
        return [(("target_level",), f"{config.target_level} is no level of it", f"valid: {', '.join(map(str, levels))}")]
    return []


def enabled(configured: Mapping[str, SkillConfig]) -> dict[str, SkillConfig]:
    """Give the enabled ones of the configured skills, by name. Raises InvalidConfig for what check() finds."""
    for name, config in sorted(configured.items()):
        for key, detail, valid in check(name, config):
            said = ": ".join([*key, detail])
            raise InvalidConfig(path=f"config/skills/{name}.yaml", detail=f"{said}; {valid}")
    return {name: config for name, config in sorted(configured.items()) if config.enabled}

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


def enabled(configured: Mapping[str, SkillConfig]) -> dict[str, SkillConfig]:
    """Give the enabled ones of the configured skills, by name.

    Raises InvalidConfig for a skill that does not exist and for a target level that it does not have.
    """
    chosen: dict[str, SkillConfig] = {}
    for name, config in sorted(configured.items()):
        where = f"config/skills/{name}.yaml"
        if name not in SKILLS:
            raise InvalidConfig(path=where, detail=f"there is no skill {name!r}; known: {', '.join(sorted(SKILLS))}")
        levels = [level.level for level in SKILLS[name].levels]
        if config.target_level not in levels:
            raise InvalidConfig(path=where, detail=f"target_level {config.target_level} is not one of {levels}")
        if config.enabled:
            chosen[name] = config
    return chosen

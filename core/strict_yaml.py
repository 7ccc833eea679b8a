"""YAML as people write it in config/: the safe subset, less what would be read otherwise than it was meant.

Place in the flow: core.config reads its files and the values of variables with it. No file is written. Invariants: a key that
appears twice in one mapping is refused (PyYAML keeps the last one in silence), so are NaN and infinities; `off` and `on` are
words and `2e-3` is a number, as in YAML 1.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from core.errors import InvalidConfig

# libyaml's loader is ten times faster, which `weaver status` needs; both are safe and read the same language.
_SAFE: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"


class _Strict(_SAFE):  # type: ignore[misc]  # which of the two it is, is known at run time
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != _BOOL]
        for first, known in _SAFE.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} appears twice", key.start_mark)
                seen.add(key.value)
        value: dict[Any, Any] = super().construct_mapping(node, deep)
        return value

    def construct_number(self, node: yaml.ScalarNode) -> float:
        value: float = self.construct_yaml_float(node)
        if not math.isfinite(value):
            raise yaml.constructor.ConstructorError(None, None, f"{node.value} is no finite number", node.start_mark)
        return value


_Strict.add_implicit_resolver(
    _BOOL, re.compile(r"(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE)$"), list("yYnNtTfF")
)
_Strict.add_implicit_resolver(_FLOAT, re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789"))
_Strict.add_constructor(_FLOAT, _Strict.construct_number)


def parse_yaml(text: str, where: str) -> Any:
    """Parse one YAML document; nothing at all is None. Raises InvalidConfig naming where, and the line."""
    try:
        return yaml.load(text, Loader=_Strict)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidConfig(path=where, detail=f"is not YAML: {error}") from error


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Give the line, from 1, on which each key of a document stands; nothing for a document that is not YAML."""
    try:
        node = yaml.compose(text, Loader=_Strict)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return dict(_lines(node, ()))


def _lines(node: yaml.Node | None, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield (*above, key.value), key.start_mark.line + 1
                yield from _lines(value, (*above, key.value))

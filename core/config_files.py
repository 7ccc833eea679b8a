"""Reading config/: the files that people write and the variables over them, made into one typed Config, or every fault in them.

Place in the flow: core.in_force reads the files, judges them with this and keeps them. Precedence: environment
(WEAVER__SECTION__KEY) > file > default. Files read: config/hosts.json (as text), weaver.yaml, training.yaml, evals.yaml,
skills/*.yaml; none is written. Invariant: a set of texts and variables gives a whole Config or none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from core.config import Config, EvalsConfig, Section, SkillConfig, TrainingConfig, WeaverConfig
from core.config_shapes import Flaw, Key, flaws
from core.errors import InvalidConfig
from core.names import is_identifier
from core.paths import Paths
from core.records import Part
from core.strict_yaml import key_lines, parse_yaml

HOSTS = "hosts.json"
VARIABLE = "WEAVER__"
BUILTIN_BASE = "builtin:tiny-qwen3"
_KINDS: Mapping[str, type[Section]] = {"weaver": WeaverConfig, "training": TrainingConfig, "evals": EvalsConfig}


class Fault(Part, frozen=True):
    """One thing that is wrong: in a file (line: where it is known) or in a variable; suggestion: what was probably meant."""

    detail: str
    file: str | None = None
    line: int | None = None
    variable: str | None = None
    key: str | None = None
    valid: str | None = None
    suggestion: str | None = None

    @property
    def where(self) -> str:
        """Give the variable, or the file with its line."""
        return self.variable or (f"{self.file}:{self.line}" if self.line else self.file or "config/")

    @property
    def text(self) -> str:
        """Give what is wrong, what is valid and what was probably meant, without the place."""
        said = f"{self.detail} {self.key}" if self.detail == "unknown key" else ": ".join(filter(None, (self.key, self.detail)))
        hint = f"did you mean {self.suggestion!r}?" if self.suggestion else self.valid
        return "; ".join(filter(None, (said, hint)))


def refusal_of(faults: Sequence[Fault]) -> InvalidConfig:
    """Give the first of some faults as an error that counts the others."""
    more = f" (and {len(faults) - 1} more: weaver config validate)" if len(faults) > 1 else ""
    return InvalidConfig(path=faults[0].where, detail=faults[0].text + more)


@dataclass
class Source:
    """One YAML file: its text, its values with those of the variables over them, and which variable set which key."""

    name: Key
    kind: type[Section]
    text: str = ""
    values: Any = field(default_factory=dict)
    variables: dict[Key, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Give the name of the file as people say it."""
        return f"config/{'/'.join(self.name)}.yaml"

    def full(self, key: Key) -> str:
        """Give a key as people write it: those of weaver.yaml alone, those of the others behind the file's name."""
        return ".".join(key if self.name == ("weaver",) else (*self.name, *key))

    def line(self, key: Key) -> int | None:
        """Give the line of the file on which a key stands."""
        return key_lines(self.text).get(key)

    def variable(self, key: Key) -> Key | None:
        """Give the key, among those set by variables, by which a key came in: itself, one above, or the only one below."""
        for at in self.variables:
            if key[: len(at)] == at or (at[: len(key)] == key and self.line(key) is None):
                return at
        return None

    def fault(self, flaw: Flaw) -> Fault:
        """Give a flaw with its place: the variable that brought it in, else the file and the line."""
        at, key, valid = self.variable(flaw.key), self.full(flaw.key) or None, flaw.valid or None
        if at is None:
            near, line = flaw.near or None, self.line(flaw.key)
            return Fault(detail=flaw.detail, key=key, valid=valid, suggestion=near, file=self.file, line=line)
        name = self.variables[at]
        meant = "__".join((*flaw.key[:-1], flaw.near, *at[len(flaw.key) :])).upper()
        front = name[: len(name) - len("__".join(at))]
        near = front + meant if flaw.near else None
        return Fault(detail=flaw.detail, key=key, valid=valid, suggestion=near, variable=name)


def read_files(paths: Paths) -> tuple[dict[str, str], list[Fault]]:
    """Read the files that people write, by their names under config/; one that is missing is left out."""
    skills = sorted(f"skills/{path.name}" for path in (paths.config / "skills").glob("[!.]*.yaml"))
    files, faults = dict[str, str](), list[Fault]()
    for name in (HOSTS, *(f"{name}.yaml" for name in _KINDS), *skills):
        try:
            files[name] = (paths.config / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault(file=f"config/{name}", detail=f"cannot be read: {error}"))
    return files, faults


def compose(files: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Config | None, list[Source], list[Fault]]:
    """Make one Config of texts and variables, with where everything came from; None and every fault where there is one."""
    faults = list[Fault]()
    sources: dict[Key, Source] = {(name,): Source((name,), kind) for name, kind in _KINDS.items()}
    for name in files:
        if name.startswith("skills/"):
            sources[("skills", name[7:-5])] = Source(("skills", name[7:-5]), SkillConfig)
    for source in sources.values():
        source.text = files.get(source.file.removeprefix("config/"), "")
        try:
            value = parse_yaml(source.text, source.file)
        except InvalidConfig as error:
            source.text = ""
            faults.append(Fault(file=source.file, detail=str(error.facts["detail"])))
        else:
            source.values = {} if value is None else value
    faults += _override(sources, environ)
    if all(fault.variable is None for fault in faults):
        faults += [source.fault(flaw) for source in sources.values() for flaw in flaws(source.kind, source.values)]
    if faults:
        return None, list(sources.values()), faults
    skills = {source.name[1]: source.values for source in sources.values() if source.kind is SkillConfig}
    config = msgspec.convert({**{name: sources[(name,)].values for name in _KINDS}, "skills": skills}, Config)
    faults = [sources[("weaver",)].fault(flaw) for flaw in _model_flaws(config.weaver)]
    return None if faults else config, list(sources.values()), faults


def _override(sources: dict[Key, Source], environ: Mapping[str, str]) -> Iterator[Fault]:
    """Put the variables over the values of the files; give those that cannot be."""
    for variable in sorted(name for name in environ if name.startswith(VARIABLE)):
        keys = tuple(variable[len(VARIABLE) :].lower().split("__"))
        length = 0 if len(keys) == 1 else 2 if keys[0] == "skills" else 1 if keys[0] in _KINDS else 0
        name, keys = keys[:length] or ("weaver",), keys[length:]
        source = sources.setdefault(name, Source(name, SkillConfig))
        try:
            _set(source, keys, parse_yaml(environ[variable], variable))
            source.variables[keys] = variable
        except InvalidConfig as error:
            yield Fault(variable=variable, key=source.full(keys) or None, detail=str(error.facts["detail"]))


def _set(source: Source, keys: Key, value: Any) -> None:
    """Set one key. Raises InvalidConfig when something above it holds no keys."""
    if not keys:
        source.values = value
        return
    inner = source.values
    for at in range(len(keys)):
        if not isinstance(inner, dict):
            raise InvalidConfig(path=source.file, detail=f"{source.full(keys[:at]) or source.file} holds no keys")
        if at < len(keys) - 1:
            inner = inner.setdefault(keys[at], {})
    inner[keys[-1]] = value


def _model_flaws(config: WeaverConfig) -> Iterator[Flaw]:
    """Give what is wrong with the models as far as the configuration alone can tell; the disk is core.locked's."""
    known = ", ".join(sorted(config.models))
    if config.model not in config.models:
        yield Flaw(("model",), f"{config.model!r} is not under models", f"valid: {known}")
    for name, model in config.models.items():
        if not is_identifier(name):
            yield Flaw(("models", name), f"{name!r} is no name", "expected a-z, 0-9, '.', '_', '-'")
        elif model.base.startswith("builtin:") and model.base != BUILTIN_BASE:
            yield Flaw(("models", name, "base"), f"there is no {model.base!r}", f"the only builtin is {BUILTIN_BASE}")


def load(paths: Paths, environ: Mapping[str, str] | None = None) -> Config:
    """Read the files as they are now, good or not. Raises InvalidConfig naming file or variable, key and what is valid."""
    files, faults = read_files(paths)
    config, _, found = compose(files, os.environ if environ is None else environ)
    if config is None or faults:
        raise refusal_of([*faults, *found])
    return config


def fingerprint(paths: Paths) -> str:
    """Give a cheap mark of all files under config/ that people write: it changes when any of them does.

    Raises FileNotFoundError when a file vanishes meanwhile: somebody is replacing it at this moment.
    """
    marks = []
    for base, folders, names in os.walk(paths.config):
        folders[:] = sorted(folder for folder in folders if folder != "local")
        for name in sorted(names):
            path = os.path.join(base, name)  # noqa: PTH118 - called every few seconds
            try:
                stat = os.stat(path)  # noqa: PTH116
            except FileNotFoundError:
                stat = os.lstat(path)  # a link to nothing: some editors lock a file with one beside it
            marks.append(f"{base}/{name}:{stat.st_mtime_ns}:{stat.st_size}")
    return ";".join(marks)

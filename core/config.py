"""The configuration: config/weaver.yaml, training.yaml, evals.yaml and skills/*.yaml, typed, with environment overrides.

Precedence: environment (WEAVER__SECTION__KEY) > file > default. Unknown keys are refused with a suggestion. People write these
files; Weaver only reads them.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from core.errors import InvalidConfig
from core.names import is_identifier
from core.paths import Paths
from core.strict_yaml import parse_yaml

AtLeast0 = Annotated[int, Meta(ge=0)]
AtLeast1 = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Decay = Annotated[float, Meta(ge=0, lt=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ModelConfig(_Section, frozen=True):
    """One entry of `models:`. base: "builtin:tiny-qwen3" or a local folder; max_length in tokens."""

    base: str
    max_length: AtLeast1 = 1024


class IntakeConfig(_Section, frozen=True):
    """Bounds of the inbox; sizes in bytes."""

    settle_s: NotNegative = 1.0
    scan_s: Positive = 2.0
    reject_share: Share = 0.05
    max_line_bytes: AtLeast1 = 16 * 2**20
    max_file_bytes: AtLeast1 = 10 * 2**30


class GenerationConfig(_Section, frozen=True):
    """When data is generated. enabled: null means yes for the builtin base, no for any other."""

    enabled: bool | None = None
    low_water_examples: AtLeast0 = 512
    batch_examples: AtLeast1 = 512
    max_job_train_s: Positive = 60.0


class QueueConfig(_Section, frozen=True):
    """Retries per job."""

    retries: AtLeast0 = 3


class CheckpointsConfig(_Section, frozen=True):
    """How often checkpoints are made and how long they stay."""

    every_s: NotNegative = 20.0
    keep_last: AtLeast0 = 10


class DiskConfig(_Section, frozen=True):
    """Free space below which intake and training pause."""

    floor_gb: NotNegative = 5.0

    @property
    def floor_bytes(self) -> int:
        """Give the floor in bytes."""
        return int(self.floor_gb * 2**30)


class SharingConfig(_Section, frozen=True):
    """threads: auto = one each for trainer and oracle on a CPU host; a number sets it for both."""

    threads: AtLeast1 | Literal["auto"] = "auto"


class WebConfig(_Section, frozen=True):
    """Where the web process listens, which Host names it answers, how large an upload may be."""

    bind: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    max_upload_mb: AtLeast1 = 10240


class WeaverConfig(_Section, frozen=True):
    """config/weaver.yaml."""

    model: str = "tiny"
    models: dict[str, ModelConfig] = msgspec.field(default_factory=lambda: {"tiny": ModelConfig(base="builtin:tiny-qwen3")})
    intake: IntakeConfig = IntakeConfig()
    generation: GenerationConfig = GenerationConfig()
    queue: QueueConfig = QueueConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    disk: DiskConfig = DiskConfig()
    sharing: SharingConfig = SharingConfig()
    web: WebConfig = WebConfig()


class OptimizerConfig(_Section, frozen=True):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101). weight_decay applies to matrices only."""

    type: Literal["adamw"] = "adamw"
    lr: Positive = 2e-3
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: NotNegative = 0.1


class ScheduleConfig(_Section, frozen=True):
    """Warm-up in optimizer steps, then constant: the schedule of a stream without a known end."""

    type: Literal["constant_with_warmup"] = "constant_with_warmup"
    warmup_steps: AtLeast0 = 50


class ProfileConfig(_Section, frozen=True):
    """The data profile; none leaves the data untouched."""

    name: Literal["none"] = "none"


class TrainingConfig(_Section, frozen=True):
    """config/training.yaml. micro_batch in rows, ema_decay of the served average (0 = serve the raw weights)."""

    precision: Literal["fp32"] = "fp32"
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    micro_batch: AtLeast1 = 64
    batch_tokens: AtLeast1 = 8192
    accumulation: AtLeast1 = 1
    epochs: AtLeast1 = 1
    max_grad_norm: Positive = 1.0
    ema_decay: Decay = 0.98
    seed: AtLeast0 = 0
    packing: Literal["auto", "on", "off"] = "auto"
    profile: ProfileConfig = ProfileConfig()
    idle_limit_s: NotNegative = 600.0


class EvalsConfig(_Section, frozen=True):
    """config/evals.yaml: minimum effects as shares of items."""

    regression_effect: Share = 0.10
    promotion_effect: Share = 0.02
    significance: Share = 0.05
    proof_every_s: Positive = 600.0


class SkillConfig(_Section, frozen=True):
    """config/skills/<skill>.yaml."""

    enabled: bool = True
    priority: int = 1
    weight: NotNegative = 1.0
    target_level: AtLeast1 = 3


class Config(_Section, frozen=True):
    """Everything that people configured."""

    weaver: WeaverConfig = WeaverConfig()
    training: TrainingConfig = TrainingConfig()
    evals: EvalsConfig = EvalsConfig()
    skills: dict[str, SkillConfig] = msgspec.field(default_factory=dict)

    def generates(self, model: str) -> bool:
        """Say whether data is generated for a model: as configured, else only for the builtin base."""
        enabled = self.weaver.generation.enabled
        return self.weaver.models[model].base.startswith("builtin:") if enabled is None else enabled


S = TypeVar("S", bound=_Section)
_FILES = ("weaver", "training", "evals")


def load(paths: Paths, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check all configuration files. Raises InvalidConfig naming file, key and what is valid."""
    environ = os.environ if environ is None else environ
    raw = {name: _yaml(paths.config / f"{name}.yaml") for name in _FILES}
    raw["skills"] = {path.stem: _yaml(path) for path in sorted((paths.config / "skills").glob("[!.]*.yaml"))}
    where = {name: str(paths.config / (f"{name}.yaml" if name in _FILES else name)) for name in raw}
    for variable, keys, value in _environment(environ):
        name = keys.pop(0) if len(keys) > 1 and keys[0] in raw else "weaver"
        _set(variable, raw[name], keys, value)
        where[name] += f", with {variable} of the environment"
    config = Config(
        weaver=_section(WeaverConfig, raw["weaver"], where["weaver"]),
        training=_section(TrainingConfig, raw["training"], where["training"]),
        evals=_section(EvalsConfig, raw["evals"], where["evals"]),
        skills={name: _section(SkillConfig, skill, f"{where['skills']}: {name}") for name, skill in raw["skills"].items()},
    )
    _check_models(config.weaver, where["weaver"])
    return config


def _check_models(config: WeaverConfig, where: str) -> None:
    if config.model not in config.models:
        raise InvalidConfig(path=where, detail=f"model {config.model!r} is not under models: {sorted(config.models)}")
    for name, model in config.models.items():
        said = f"models.{name}.base {model.base!r}"
        if not is_identifier(name):
            raise InvalidConfig(path=where, detail=f"models: {name!r} is no name: expected a-z, 0-9, '.', '_', '-'")
        if model.base.startswith("builtin:"):
            if model.base != "builtin:tiny-qwen3":
                raise InvalidConfig(path=where, detail=f"{said}: the only builtin is builtin:tiny-qwen3")
        elif not (Path(model.base) / "config.json").is_file():
            raise InvalidConfig(path=where, detail=f"{said} is no local model folder (no config.json)")


def _yaml(path: Path) -> dict[str, Any]:
    try:
        value = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(path=str(path), detail=f"cannot be read: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidConfig(path=str(path), detail="expected keys and values at the top level")
    return value


def _environment(environ: Mapping[str, str]) -> list[tuple[str, list[str], Any]]:
    """Give (variable, keys, value) of every override. Raises InvalidConfig for a value that is not YAML."""
    found: list[tuple[str, list[str], Any]] = []
    for name in sorted(environ):
        if name.startswith("WEAVER__"):
            found.append((name, name[len("WEAVER__") :].lower().split("__"), parse_yaml(environ[name], name)))
    return found


def _set(variable: str, target: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InvalidConfig(path=variable, detail=f"{key} holds no keys")
        target = inner
    target[keys[-1]] = value


def _section(kind: type[S], raw: object, where: str) -> S:
    if not isinstance(raw, dict):
        raise InvalidConfig(path=where, detail=f"expected keys and values, got {raw!r}")
    _refuse_unknown(kind, raw, where, "")
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise InvalidConfig(path=where, detail=str(error)) from error


def _refuse_unknown(kind: Any, raw: object, path: str, prefix: str) -> None:
    """Refuse, with a suggestion, a key that no field of kind has; kind is a section, or a mapping from names to sections."""
    if not isinstance(raw, dict):
        return
    is_section = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)} if is_section else {}
    for key, value in raw.items():
        if is_section and key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(sorted(fields))}"
            raise InvalidConfig(path=path, detail=f"unknown key {prefix}{key}; {hint}")
        inner = fields[key] if is_section else next(iter(get_args(kind)[1:]), None)
        _refuse_unknown(inner, value, path, f"{prefix}{key}.")


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

"""The configuration that people write, typed: config/weaver.yaml, training.yaml, evals.yaml and skills/*.yaml.

Place in the flow: core.config_files reads the files into these sections; every program finds them in its context. Invariant:
every key has a default but the base of a model; what is no key of a section is refused, never passed over.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

AtLeast0 = Annotated[int, Meta(ge=0)]
AtLeast1 = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Decay = Annotated[float, Meta(ge=0, lt=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: a key that is no field is refused."""


class ModelConfig(Section, frozen=True):
    """One entry of `models:`. base: "builtin:tiny-qwen3" or a local folder; max_length in tokens."""

    base: str
    max_length: AtLeast1 = 1024


class IntakeConfig(Section, frozen=True):
    """Bounds of the inbox; sizes in bytes."""

    settle_s: NotNegative = 1.0
    scan_s: Positive = 2.0
    reject_share: Share = 0.05
    max_line_bytes: AtLeast1 = 16 * 2**20
    max_file_bytes: AtLeast1 = 10 * 2**30
    max_json_bytes: AtLeast1 = 512 * 2**20
    max_unpack_ratio: AtLeast1 = 200


class GenerationConfig(Section, frozen=True):
    """When data is generated. enabled: null means yes for the builtin base, no for any other."""

    enabled: bool | None = None
    low_water_examples: AtLeast0 = 512
    batch_examples: AtLeast1 = 512
    max_job_train_s: Positive = 60.0


class QueueConfig(Section, frozen=True):
    """Retries per job."""

    retries: AtLeast0 = 3


class CheckpointsConfig(Section, frozen=True):
    """How often checkpoints are made; how many hours their weights stay, and how many gigabytes (10^9 bytes) of them."""

    every_s: NotNegative = 20.0
    keep_h: NotNegative = 36.0
    keep_gb: Positive = 150.0


class DiskConfig(Section, frozen=True):
    """Free space below which intake and training pause."""

    floor_gb: NotNegative = 5.0

    @property
    def floor_bytes(self) -> int:
        """Give the floor in bytes."""
        return int(self.floor_gb * 2**30)


class SharingConfig(Section, frozen=True):
    """threads: auto = one each for trainer and oracle on a CPU host; a number sets it for both."""

    threads: AtLeast1 | Literal["auto"] = "auto"


class WebConfig(Section, frozen=True):
    """Where the web process listens, which Host names it answers, how large an upload may be."""

    bind: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    max_upload_mb: AtLeast1 = 10240


class NotifyConfig(Section, frozen=True):
    """Where notices go: http(s) URLs get a POST of JSON, every other scheme is apprise's. A URL may hold secrets."""

    urls: tuple[str, ...] = ()


class WeaverConfig(Section, frozen=True):
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
    notify: NotifyConfig = NotifyConfig()


class OptimizerConfig(Section, frozen=True):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101). weight_decay applies to matrices only."""

    type: Literal["adamw"] = "adamw"
    lr: Positive = 2e-3
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: NotNegative = 0.1


class ScheduleConfig(Section, frozen=True):
    """Warm-up in optimizer steps, then constant: the schedule of a stream without a known end."""

    type: Literal["constant_with_warmup"] = "constant_with_warmup"
    warmup_steps: AtLeast0 = 50


class ProfileConfig(Section, frozen=True):
    """The data profile; none leaves the data untouched."""

    name: Literal["none"] = "none"


class TrainingConfig(Section, frozen=True):
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


class EvalsConfig(Section, frozen=True):
    """config/evals.yaml: minimum effects as shares of items."""

    regression_effect: Share = 0.10
    promotion_effect: Share = 0.02
    significance: Share = 0.05
    proof_every_s: Positive = 600.0


class SkillConfig(Section, frozen=True):
    """config/skills/<skill>.yaml."""

    enabled: bool = True
    priority: int = 1
    weight: NotNegative = 1.0
    target_level: AtLeast1 = 3


class Config(Section, frozen=True):
    """Everything that people configured."""

    weaver: WeaverConfig = WeaverConfig()
    training: TrainingConfig = TrainingConfig()
    evals: EvalsConfig = EvalsConfig()
    skills: dict[str, SkillConfig] = msgspec.field(default_factory=dict)

    def generates(self, model: str) -> bool:
        """Say whether data is generated for a model: as configured, else only for the builtin base."""
        enabled = self.weaver.generation.enabled
        return self.weaver.models[model].base.startswith("builtin:") if enabled is None else enabled

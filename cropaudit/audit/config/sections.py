"""The sections of an audit's configuration: every key with its range and its default.

Each section is frozen and closed to unknown keys. What a key means in full is said where it acts.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from cropaudit.accounting.names import SAMPLERS, SamplerName
from cropaudit.audit.config.choices import Named, Section, SizeText

__all__ = [
    "AttackName",
    "ClaimConfig",
    "DataConfig",
    "GameConfig",
    "ReferencesConfig",
    "TrainingConfig",
    "TwoWorldConfig",
]


def _attacks() -> tuple[str, ...]:
    from cropaudit.attacks.registry import ATTACKS

    return tuple(ATTACKS)


def _queries() -> tuple[str, ...]:
    from cropaudit.attacks.registry import querying

    return tuple(querying())


AttackName = Annotated[str, Named(_attacks)]
_SLOTS = 10  # canaries of one run, at least, for attacks that guess their coins


class DataConfig(Section):
    """Which images; procedural scenes unless a folder is given."""

    kind: str = Field(default="auto", description="Layout of the folder; found by its names")
    folder: str | None = None
    images: int = Field(default=160, ge=2, description="Training photographs, at most")
    validation: int = Field(default=40, ge=1, description="Held-out photographs, at most")
    size: SizeText = Field(default="160x320", description="Of procedural scenes")
    short_side: int | None = Field(
        default=160, ge=16, description="Photographs are resized to this short side before all else"
    )
    foreground: tuple[str, ...] = Field(
        default=(), description="Classes that become one, against all others; none keeps all"
    )


class TrainingConfig(Section):
    """DP-SGD; see `DpSgdSpec` for what the keys mean."""

    model: str = Field(
        default="small-unet", description="Or your own, path/to/file.py:function of the classes"
    )
    model_sha256: str | None = Field(default=None, description="Of the file of your own model")
    norm: Literal["group", "frozen-batch"] = "group"
    weights: str | None = Field(default=None, description="File of initial weights")
    weights_sha256: str | None = None
    sampler: Annotated[SamplerName, Named(lambda: SAMPLERS)] = "poisson"
    batch: int = Field(default=32, ge=1)
    steps: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    noise_multiplier: float = Field(default=1.0, ge=0, description="0 only with claim.epsilon")
    max_grad_norm: float = Field(default=1.0, gt=0)
    learning_rate: float = Field(default=1.0, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "poly", "cosine", "steps"] = "constant"
    schedule_power: float = Field(default=0.9, gt=0, description="Of poly")
    schedule_every: int | None = Field(default=None, ge=1, description="Of steps")
    schedule_factor: float = Field(default=0.1, gt=0, le=1, description="Of steps")
    warmup: int = Field(default=0, ge=0, description="Steps of linear rise")
    physical_batch: int | None = Field(default=None, ge=1)
    grad_sample_mode: Literal["auto", "hooks", "ew", "functorch", "ghost"] | None = None
    precision: Literal["float32", "bf16"] = "float32"
    twins: tuple[Literal["no-noise", "no-crop"], ...] = Field(
        default=("no-noise",), description="Trained beside it for the table of mIoU"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("exactly one of steps and epochs must be given")
        if self.model_sha256 is not None and ".py" not in self.model:
            raise ValueError("model_sha256 needs a model of a file")
        if self.weights is None and self.weights_sha256 is not None:
            raise ValueError("weights_sha256 needs weights")
        if (self.schedule == "steps") != (self.schedule_every is not None):
            raise ValueError("schedule_every must be given for schedule steps, and for no other")
        return self


class ClaimConfig(Section):
    """What is claimed; the configured mechanism unless something else is said."""

    epsilon: float | None = Field(default=None, gt=0)
    family: Literal["mechanism", "none"] = "mechanism"
    shortcut: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.shortcut is not None and self.epsilon is not None:
            raise ValueError("a short cut brings its own epsilon: give shortcut or epsilon")
        if self.family == "none" and self.epsilon is None:
            raise ValueError("family none needs an epsilon")
        return self


class GameConfig(Section):
    """How the audit plays."""

    delta: float = Field(default=1e-5, gt=0, lt=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    probe_slots: int = Field(default=10_000, ge=200)
    control_slots: int = Field(default=2_000, ge=200)
    attacks: tuple[AttackName, ...] = Field(
        default=("probe", "white-box", "black-box"),
        description="Fixed beforehand; the level is split over them",
    )
    canary_slots: int = Field(default=96, ge=1)
    black_box_windows: int = Field(default=16, ge=1)
    resolution: float = Field(
        default=2.0, gt=1, description="Consistent needs power against this multiple of the claim"
    )

    @field_validator("attacks")
    @classmethod
    def _each_once(cls, value: tuple[AttackName, ...]) -> tuple[AttackName, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"must name each attack once, got {', '.join(value)}")
        if "probe" not in value:
            raise ValueError("must hold probe, which tells what the audit could have found")
        return value

    @model_validator(mode="after")
    def _enough_slots(self) -> Self:
        games = {"probe", "two-world", "reference"}
        if self.canary_slots < _SLOTS and set(self.attacks) - games:
            given = self.canary_slots
            raise ValueError(f"canary_slots must be at least {_SLOTS} to guess, got {given}")
        return self


class TwoWorldConfig(Section):
    """The game of many runs, half of them in either world of one slot."""

    models: int = Field(default=500, ge=20, description="Runs of each world")
    initial: Literal["level", "random"] = Field(
        default="level", description="Weights at the start: chosen by the adversary, or drawn"
    )
    adversary: Literal["known", "unknown"] = Field(
        default="known", description="Whether the other records of each batch are known"
    )
    hits: int = Field(default=4, ge=1, description="Windows tried that meet the patch")
    misses: int = Field(default=2, ge=1, description="Windows tried that miss it")
    refresh: int = Field(default=1, ge=1, description="Steps for which gradients are kept")


class ReferencesConfig(Section):
    """The black-box game with reference models trained through the same pipeline."""

    attack: Annotated[str, Named(_queries)] = "lira-online"
    targets: int = Field(default=20, ge=1, description="Runs that are attacked")
    models: int = Field(default=64, ge=0, description="Reference runs")
    windows: int = Field(default=16, ge=1, description="Crops shown of each slot")
    initial: Literal["level", "public", "random"] = Field(
        default="random",
        description="Weights at the start: chosen by the adversary, known to it, or each run's own",
    )

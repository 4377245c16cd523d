"""The sections of an audit's configuration: every key with its range and its default.

Each section is frozen and closed to unknown keys. What a key means in full is said where it acts.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    field_validator,
    model_validator,
)

from cropaudit.accounting.geometry import Size
from cropaudit.accounting.names import PadMode, SamplerName

__all__ = [
    "AttackName",
    "CanaryConfig",
    "ClaimConfig",
    "CropConfig",
    "DataConfig",
    "GameConfig",
    "ReferencesConfig",
    "Section",
    "SizeText",
    "TrainingConfig",
    "TwoWorldConfig",
]

AttackName = Literal["probe", "white-box", "black-box", "two-world", "reference"]
_SLOTS = 10  # canaries of one run, at least, for attacks that guess their coins

SizeText = Annotated[str, BeforeValidator(lambda value: str(Size.parse(value)))]


class Section(BaseModel):
    """One section."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: Any) -> Any:
        """No key is a switch, yet pydantic would read YAML's ``yes`` as the number 1."""
        if isinstance(value, bool):
            raise ValueError(f"must be a number or text, got {value}")
        return value


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


class CropConfig(Section):
    """The random crop; see `Crop` for what its keys mean."""

    size: SizeText = "64x64"
    padding: int = Field(default=0, ge=0)
    mode: PadMode = Field(default="constant", description="What padding shows")
    pad_if_needed: StrictBool = False
    horizontal_flip: float = Field(default=0.0, ge=0, le=1, description="Before the crop")
    vertical_flip: float = Field(default=0.0, ge=0, le=1, description="Before the crop")

    # Overrides the section's own check, which is of all keys: pad_if_needed is a switch.
    @field_validator("size", "padding", "mode", "horizontal_flip", "vertical_flip", mode="before")
    @classmethod
    def _no_switch(cls, value: Any) -> Any:
        return super()._no_switch(value)


class TrainingConfig(Section):
    """DP-SGD; see `DpSgdSpec` for what the keys mean."""

    model: str = "small-unet"
    norm: Literal["group", "frozen-batch"] = "group"
    weights: str | None = Field(default=None, description="File of initial weights")
    weights_sha256: str | None = None
    sampler: SamplerName = "poisson"
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
        if self.weights is None and self.weights_sha256 is not None:
            raise ValueError("weights_sha256 needs weights")
        if (self.schedule == "steps") != (self.schedule_every is not None):
            raise ValueError("schedule_every must be given for schedule steps, and for no other")
        return self


class CanaryConfig(Section):
    """What stands in the slots; see `cropaudit.training.canaries.designs`."""

    design: Literal["opposed", "label-only", "bright", "face", "plate", "real-object"] = "opposed"
    background: Literal["ignore", "sparse", "natural"] | None = None
    texture: Literal["blocks", "flat", "natural", "periodic"] | None = None
    positions: Literal["worst", "random", "stratified"] = "worst"
    per_image: int = Field(default=1, ge=1)
    records: Literal["added", "replaced"] | None = Field(
        default=None,
        description="Whether canaries stand in copies of images, which are further records, or "
        "replace a patch of the images themselves; added unless given, replaced for real-object",
    )
    craft_steps: int = Field(default=0, ge=0, description="Steps of fitting slots to the model")
    objects: tuple[str, ...] = Field(default=(), description="Of real-object: names or classes")
    objects_file: str | None = Field(default=None, description="Of real-object: boxes")

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        free = self.design in ("opposed", "label-only")
        if self.background is not None and not free:
            raise ValueError(f"background must be left out for {self.design}")
        if self.texture is not None and not (free or self.design == "bright"):
            raise ValueError(f"texture must be left out for {self.design}")
        real = self.design == "real-object"
        if real and not self.objects:
            raise ValueError("objects must name at least one kind for real-object")
        if not real and (self.objects or self.objects_file is not None):
            raise ValueError("objects belong to design real-object")
        if real and self.craft_steps:
            raise ValueError("craft_steps must be 0 for real-object")
        if real and self.records == "added":
            raise ValueError("records must be replaced for real-object, got added")
        return self

    @property
    def added(self) -> bool:
        """Whether canaries stand in records of their own."""
        return self.design != "real-object" and self.records != "replaced"


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
        if self.canary_slots < _SLOTS and {"white-box", "black-box"} & set(self.attacks):
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

    attack: Literal[
        "loss", "lira-online", "lira-offline", "rmia", "calibrated", "learned", "joint", "quantile"
    ] = "lira-online"
    targets: int = Field(default=20, ge=1, description="Runs that are attacked")
    models: int = Field(default=64, ge=0, description="Reference runs")
    windows: int = Field(default=16, ge=1, description="Crops shown of each slot")
    initial: Literal["level", "public", "random"] = Field(
        default="random",
        description="Weights at the start: chosen by the adversary, known to it, or each run's own",
    )

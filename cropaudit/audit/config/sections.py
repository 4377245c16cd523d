"""The sections of an audit's configuration: every key with its range and its default.

Each section is frozen and closed to unknown keys. What a key means in full is said where it acts.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    field_validator,
    model_validator,
)

from cropaudit.accounting.geometry.crop_laws import ResizedCrop
from cropaudit.accounting.geometry.shapes import Crop, Size
from cropaudit.accounting.names import Clipped, Interpolation, PadMode, SamplerName
from cropaudit.training.canaries.registry import DESIGNS

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


def _known_attack(name: str) -> str:
    """Checks a name against the registry, which is loaded only when a name is given."""
    from cropaudit.attacks.registry import ATTACKS

    if name not in ATTACKS:
        raise ValueError(f"must be one of {', '.join(ATTACKS)}, got {name}")
    return name


def _known_query(name: str) -> str:
    from cropaudit.attacks.registry import querying

    if name not in querying():
        raise ValueError(f"must be one of {', '.join(querying())}, got {name}")
    return name


AttackName = Annotated[str, AfterValidator(_known_attack)]
QueryName = Annotated[str, AfterValidator(_known_query)]
CropLawName = Literal["uniform", "resized"]
_OF_UNIFORM = ("padding", "mode", "pad_if_needed", "horizontal_flip", "vertical_flip")
_OF_RESIZED = ("scale", "ratio", "interpolation")
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
    """The random crops of an image; see `Crop` and `ResizedCrop` for what the keys mean."""

    law: CropLawName = Field(default="uniform", description="resized is RandomResizedCrop")
    size: SizeText = Field(default="64x64", description="What the model is shown")
    padding: int = Field(default=0, ge=0)
    mode: PadMode = Field(default="constant", description="What padding shows")
    pad_if_needed: StrictBool = False
    horizontal_flip: float = Field(default=0.0, ge=0, le=1, description="Before the crop")
    vertical_flip: float = Field(default=0.0, ge=0, le=1, description="Before the crop")
    scale: tuple[float, float] = Field(default=(0.08, 1.0), description="Of resized: area")
    ratio: tuple[float, float] = Field(default=(0.75, 4 / 3), description="Of resized: shape")
    interpolation: Interpolation = Field(default="bilinear", description="Of resized")
    per_image: int = Field(default=1, ge=1, le=64, description="Crops of an image in a step")
    clipped: Clipped = Field(
        default="together",
        description="Of several crops of an image: averaged and then clipped, or clipped apart "
        "and summed",
    )

    # Overrides the section's own check, which is of all keys: pad_if_needed is a switch.
    @field_validator(
        "size", "padding", "mode", "horizontal_flip", "vertical_flip", "per_image", mode="before"
    )
    @classmethod
    def _no_switch(cls, value: Any) -> Any:
        return super()._no_switch(value)

    @model_validator(mode="after")
    def _of_one_law(self) -> Self:
        """Refuses keys of the other law, which would be passed over in silence."""
        other = _OF_UNIFORM if self.law == "resized" else _OF_RESIZED
        for name in other:
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                raise ValueError(f"crop.{name} must be left out for law {self.law}, got {value}")
        self.crop_law()
        return self

    def crop_law(self) -> Crop | ResizedCrop:
        """Returns the law of one window."""
        size = Size.parse(self.size, "crop.size")
        if self.law == "resized":
            return ResizedCrop(size, self.scale, self.ratio, self.interpolation)
        return Crop(
            size,
            self.padding,
            mode=self.mode,
            pad_if_needed=self.pad_if_needed,
            horizontal_flip=self.horizontal_flip,
            vertical_flip=self.vertical_flip,
        )

    @property
    def words(self) -> str:
        """The crop in words, for reports."""
        words = [self.size]
        if self.law == "resized":
            ends = [f"{low:.3g} to {high:.3g}" for low, high in (self.scale, self.ratio)]
            words = [f"resized to {self.size}, scale {ends[0]}, ratio {ends[1]}"]
            words.append(self.interpolation)
        if self.mode != "constant":
            words.append(f"{self.mode} padding")
        if self.pad_if_needed:
            words.append("padded if needed")
        flips = (("horizontal", self.horizontal_flip), ("vertical", self.vertical_flip))
        words += [f"{name} flip {share:g}" for name, share in flips if share > 0]
        if self.per_image > 1:
            words.append(f"{self.per_image} an image, clipped {self.clipped}")
        return ", ".join(words)


class TrainingConfig(Section):
    """DP-SGD; see `DpSgdSpec` for what the keys mean."""

    model: str = Field(
        default="small-unet", description="Or your own, path/to/file.py:function of the classes"
    )
    model_sha256: str | None = Field(default=None, description="Of the file of your own model")
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
        if self.model_sha256 is not None and ".py" not in self.model:
            raise ValueError("model_sha256 needs a model of a file")
        if self.weights is None and self.weights_sha256 is not None:
            raise ValueError("weights_sha256 needs weights")
        if (self.schedule == "steps") != (self.schedule_every is not None):
            raise ValueError("schedule_every must be given for schedule steps, and for no other")
        return self


class CanaryConfig(Section):
    """What stands in the slots; see `cropaudit.training.canaries.designs`."""

    design: str = "opposed"
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
        if self.design not in DESIGNS:
            raise ValueError(f"design must be one of {', '.join(DESIGNS)}, got {self.design}")
        known = DESIGNS[self.design]
        for name in ("background", "texture"):
            if getattr(self, name) is not None and name not in known.takes:
                raise ValueError(f"{name} must be left out for {self.design}")
        real = known.make is None
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

    attack: QueryName = "lira-online"
    targets: int = Field(default=20, ge=1, description="Runs that are attacked")
    models: int = Field(default=64, ge=0, description="Reference runs")
    windows: int = Field(default=16, ge=1, description="Crops shown of each slot")
    initial: Literal["level", "public", "random"] = Field(
        default="random",
        description="Weights at the start: chosen by the adversary, known to it, or each run's own",
    )

"""The configuration of an audit: validated, closed to unknown keys, saved beside the result.

A configuration is a YAML file or a preset; ``--set a.b=value`` changes single keys. Every error is
one line that names the key, what is legal and what was given.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.names import PadMode
from cropaudit.errors import InputError
from cropaudit.faults import first_fault

__all__ = ["AuditConfig", "load_config", "preset_names"]

SizeText = Annotated[str, BeforeValidator(lambda value: str(Size.parse(value)))]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: Any) -> Any:
        """No key is a switch, yet pydantic would read YAML's ``yes`` as the number 1."""
        if isinstance(value, bool):
            raise ValueError(f"must be a number or text, got {value}")
        return value


class DataConfig(_Section):
    """Which images; procedural scenes unless a folder is given."""

    folder: str | None = None
    images: int = Field(default=160, ge=2, description="Training photographs, at most")
    validation: int = Field(default=40, ge=1, description="Held-out photographs, at most")
    size: SizeText = Field(default="160x320", description="Of procedural scenes")
    short_side: int | None = Field(
        default=160, ge=16, description="Photographs are resized to this short side before all else"
    )


class CropConfig(_Section):
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


class TrainingConfig(_Section):
    """DP-SGD."""

    model: str = "small-unet"
    sampler: Literal["poisson", "fixed", "shuffle"] = "poisson"
    batch: int = Field(default=32, ge=1)
    steps: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    noise_multiplier: float = Field(default=1.0, gt=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    learning_rate: float = Field(default=1.0, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("exactly one of steps and epochs must be given")
        return self


class ClaimConfig(_Section):
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


class GameConfig(_Section):
    """How the audit plays."""

    delta: float = Field(default=1e-5, gt=0, lt=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    probe_slots: int = Field(default=10_000, ge=200)
    control_slots: int = Field(default=2_000, ge=200)
    canary_slots: int = Field(default=96, ge=10)
    black_box_windows: int = Field(default=16, ge=1)
    resolution: float = Field(
        default=2.0, gt=1, description="Consistent needs power against this multiple of the claim"
    )


class AuditConfig(_Section):
    """One audit."""

    name: str = Field(default="audit", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    patch: SizeText = "16x16"
    data: DataConfig = DataConfig()
    crop: CropConfig = CropConfig()
    training: TrainingConfig
    claim: ClaimConfig = ClaimConfig()
    game: GameConfig = GameConfig()

    def crop_law(self) -> Crop:
        """Returns the crop that is configured."""
        crop = self.crop
        return Crop(
            Size.parse(crop.size, "crop.size"),
            crop.padding,
            mode=crop.mode,
            pad_if_needed=crop.pad_if_needed,
            horizontal_flip=crop.horizontal_flip,
            vertical_flip=crop.vertical_flip,
        )

    def patch_shape(self) -> Rectangle:
        """Returns the patch that is configured."""
        return Rectangle(Size.parse(self.patch, "patch"))


def preset_names() -> tuple[str, ...]:
    """Returns the names of the presets."""
    folder = files("cropaudit.audit").joinpath("presets")
    return tuple(
        sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.is_file())
    )


def load_config(name: str, changes: dict[str, Any]) -> AuditConfig:
    """Reads a preset or a YAML file and applies changes.

    Args:
        name: A preset's name, or the path of a YAML file.
        changes: Dotted keys and their values.

    Raises:
        InputError: If there is no such preset or file, it is no YAML mapping, or a key or a value
            is not legal.
    """
    values = _read(name)
    for key, value in changes.items():
        _set(values, key, value)
    try:
        return AuditConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(first_fault(error, AuditConfig)) from None


def _read(name: str) -> dict[str, Any]:
    if name in preset_names():
        text = files("cropaudit.audit").joinpath("presets", f"{name}.yaml").read_text("utf-8")
    else:
        path = Path(name)
        if not path.is_file():
            legal = ", ".join(preset_names())
            raise InputError(f"config must be a preset ({legal}) or a YAML file, got {name}")
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"config {name} must be readable text: {error}") from None
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date
        raise InputError(f"config {name} must be YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"config {name} must be a mapping of keys, got {type(values).__name__}")
    return values


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    node = values
    for part in path:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise InputError(f"key {key} must lead into a section, got a value at {part}")
    node[last] = value

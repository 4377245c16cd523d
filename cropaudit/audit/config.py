"""The configuration of an audit: validated, closed to unknown keys, saved beside the result.

A configuration is a YAML file or a preset; ``--set a.b=value`` changes single keys. Every error is
one line that names the key, what is legal and what was given.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.audit.config_sections import (
    CanaryConfig,
    ClaimConfig,
    CropConfig,
    DataConfig,
    GameConfig,
    ReferencesConfig,
    Section,
    SizeText,
    TrainingConfig,
    TwoWorldConfig,
)
from cropaudit.errors import InputError
from cropaudit.faults import first_fault
from cropaudit.yaml_text import parse_yaml

__all__ = ["AuditConfig", "ClaimConfig", "load_config", "preset_names"]

_RUNS = 20  # independent runs, at least: fewer may all hold one world


class AuditConfig(Section):
    """One audit."""

    name: str = Field(default="audit", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    patch: SizeText = "16x16"
    data: DataConfig = DataConfig()
    crop: CropConfig = CropConfig()
    training: TrainingConfig
    canary: CanaryConfig = CanaryConfig()
    claim: ClaimConfig = ClaimConfig()
    game: GameConfig = GameConfig()
    two_world: TwoWorldConfig = TwoWorldConfig()
    references: ReferencesConfig = ReferencesConfig()

    @model_validator(mode="after")
    def _playable(self) -> Self:
        """Refuses at once what a game would refuse after hours of training."""
        game, own = self.game, self.references
        if "two-world" in game.attacks and self.two_world.adversary == "known":
            sampler = self.training.sampler
            if sampler != "poisson":
                raise ValueError(f"two_world.adversary must be unknown under {sampler}, got known")
        if "reference" in game.attacks and game.canary_slots == 1:
            if own.attack == "quantile":
                raise ValueError("canary_slots must be at least 2 for quantile, got 1")
            if own.targets < _RUNS:
                words = f"references.targets must be at least {_RUNS} for one canary a run"
                raise ValueError(f"{words}, got {own.targets}")
        return self

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
    values = parse_yaml(text, f"config {name}")
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

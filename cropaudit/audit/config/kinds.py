"""What is described by its kind: crop laws and canaries, each kind with keys of its own."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool, Tag, model_validator

from cropaudit.accounting.geometry.crop_laws import ResizedCrop
from cropaudit.accounting.geometry.shapes import Crop, Size
from cropaudit.accounting.names import Clipped, Interpolation, PadMode
from cropaudit.audit.config.choices import Named, Section, SizeText, by_kind
from cropaudit.training.canaries.registry import DESIGNS

__all__ = ["CanaryConfig", "CropConfig", "ObjectCanary", "PlantedCanary", "ResizedConfig"]
__all__ += ["UniformConfig"]


def _planted() -> tuple[str, ...]:
    """Returns the designs that are planted; those of no maker are found in photographs."""
    return tuple(name for name, known in DESIGNS.items() if known.make is not None)


class _CropKeys(Section):
    """Keys of every crop law."""

    size: SizeText = Field(default="64x64", description="What the model is shown")
    per_image: int = Field(default=1, ge=1, le=64, description="Crops of an image in a step")
    clipped: Clipped = Field(
        default="together",
        description="Of several crops of an image: averaged and then clipped, or clipped apart "
        "and summed",
    )

    @property
    def shown(self) -> Size:
        """The size of what the model is shown."""
        return Size.parse(self.size, "crop.size")

    def _several(self) -> list[str]:
        return [f"{self.per_image} an image, clipped {self.clipped}"] if self.per_image > 1 else []


class UniformConfig(_CropKeys):
    """A window at a uniform place; see `Crop` for what the keys mean."""

    law: Literal["uniform"] = "uniform"
    padding: int = Field(default=0, ge=0)
    mode: PadMode = Field(default="constant", description="What padding shows")
    pad_if_needed: StrictBool = False
    horizontal_flip: float = Field(default=0.0, ge=0, le=1, description="Before the crop")
    vertical_flip: float = Field(default=0.0, ge=0, le=1, description="Before the crop")

    def crop_law(self) -> Crop:
        """Returns the law of one window."""
        return Crop(
            self.shown,
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
        if self.mode != "constant":
            words.append(f"{self.mode} padding")
        if self.pad_if_needed:
            words.append("padded if needed")
        flips = (("horizontal", self.horizontal_flip), ("vertical", self.vertical_flip))
        words += [f"{name} flip {share:g}" for name, share in flips if share > 0]
        return ", ".join(words + self._several())


class ResizedConfig(_CropKeys):
    """RandomResizedCrop; see `ResizedCrop` for what the keys mean."""

    law: Literal["resized"]
    scale: tuple[float, float] = Field(default=(0.08, 1.0), description="Share of the area")
    ratio: tuple[float, float] = Field(default=(0.75, 4 / 3), description="Width to height")
    interpolation: Interpolation = "bilinear"

    @model_validator(mode="after")
    def _legal(self) -> "ResizedConfig":
        self.crop_law()
        return self

    def crop_law(self) -> ResizedCrop:
        """Returns the law of one window."""
        return ResizedCrop(self.shown, self.scale, self.ratio, self.interpolation)

    @property
    def padding(self) -> int:
        """Nothing is padded."""
        return 0

    @property
    def words(self) -> str:
        """The crop in words, for reports."""
        ends = [f"{low:.3g} to {high:.3g}" for low, high in (self.scale, self.ratio)]
        words = [f"resized to {self.size}, scale {ends[0]}, ratio {ends[1]}", self.interpolation]
        return ", ".join(words + self._several())


CropConfig = Annotated[
    Annotated[UniformConfig, Tag("UniformConfig")] | Annotated[ResizedConfig, Tag("ResizedConfig")],
    *by_kind("law", "uniform", lambda: {"uniform": "UniformConfig", "resized": "ResizedConfig"}),
]
"""The random crops of an image."""


class _CanaryKeys(Section):
    """Keys of every design; see `cropaudit.training.canaries.designs`."""

    positions: Literal["worst", "random", "stratified"] = "worst"
    per_image: int = Field(default=1, ge=1)


class PlantedCanary(_CanaryKeys):
    """Canaries that are not in the photographs."""

    design: Annotated[str, Named(_planted)] = "opposed"
    background: Literal["ignore", "sparse", "natural"] | None = None
    texture: Literal["blocks", "flat", "natural", "periodic"] | None = None
    records: Literal["added", "replaced"] = Field(
        default="added",
        description="Whether canaries stand in copies of images, which are further records, or "
        "replace a patch of the images themselves",
    )
    craft_steps: int = Field(default=0, ge=0, description="Steps of fitting slots to the model")

    @model_validator(mode="after")
    def _taken(self) -> "PlantedCanary":
        for name in {"background", "texture"} - DESIGNS[self.design].takes:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} must be left out for {self.design}")
        return self

    @property
    def added(self) -> bool:
        """Whether canaries stand in records of their own."""
        return self.records == "added"


class ObjectCanary(_CanaryKeys):
    """An object of the photographs themselves, there in world A and taken away in world B."""

    design: Literal["real-object"]
    objects: tuple[str, ...] = Field(min_length=1, description="Names or classes")
    objects_file: Path | None = Field(default=None, description="Boxes")
    craft_steps: Literal[0] = 0
    records: Literal["replaced"] = "replaced"

    @property
    def added(self) -> bool:
        """Whether canaries stand in records of their own: they stand where they always stood."""
        return False


def _sections_of_designs() -> dict[str, str]:
    """Returns the section of every design; those of no maker are found in photographs."""
    return {
        name: "ObjectCanary" if known.make is None else "PlantedCanary"
        for name, known in DESIGNS.items()
    }


CanaryConfig = Annotated[
    Annotated[PlantedCanary, Tag("PlantedCanary")] | Annotated[ObjectCanary, Tag("ObjectCanary")],
    *by_kind("design", "opposed", _sections_of_designs),
]
"""What stands in the slots."""

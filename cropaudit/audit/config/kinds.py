"""What is described by its kind: crop laws and canaries, each kind with keys of its own."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from cropaudit.accounting.geometry.crop_laws import ResizedCrop
from cropaudit.accounting.geometry.shapes import Crop, Size
from cropaudit.accounting.names import Clipped, Interpolation, PadMode
from cropaudit.audit.config.choices import Section, SizeText, by_kind

__all__ = ["AnyCanary", "CanaryConfig", "CropConfig", "DrawnCanary", "FreeCanary", "ObjectCanary"]
__all__ += ["ResizedConfig", "TextureCanary", "UniformConfig"]


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


CropConfig = Annotated[UniformConfig | ResizedConfig, *by_kind("law", "uniform")]
"""The random crops of an image."""


class _CanaryKeys(Section):
    """Keys of every design; see `cropaudit.training.canaries.designs`."""

    positions: Literal["worst", "random", "stratified"] = "worst"
    per_image: int = Field(default=1, ge=1)


class _PlantedKeys(_CanaryKeys):
    """Keys of canaries that are not in the photographs."""

    records: Literal["added", "replaced"] = Field(
        default="added",
        description="Whether canaries stand in copies of images, which are further records, or "
        "replace a patch of the images themselves",
    )
    craft_steps: int = Field(default=0, ge=0, description="Steps of fitting slots to the model")

    @property
    def added(self) -> bool:
        """Whether canaries stand in records of their own."""
        return self.records == "added"


TextureName = Literal["blocks", "flat", "natural", "periodic"]


class FreeCanary(_PlantedKeys):
    """Labels that differ, before any background."""

    design: Literal["opposed", "label-only"] = "opposed"
    background: Literal["ignore", "sparse", "natural"] | None = None
    texture: TextureName = "blocks"


class TextureCanary(_PlantedKeys):
    """A texture that stands out."""

    design: Literal["bright"]
    texture: TextureName = "blocks"


class DrawnCanary(_PlantedKeys):
    """An object that is drawn."""

    design: Literal["face", "plate"]


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


AnyCanary = FreeCanary | TextureCanary | DrawnCanary | ObjectCanary
CanaryConfig = Annotated[AnyCanary, *by_kind("design", "opposed")]
"""What stands in the slots."""

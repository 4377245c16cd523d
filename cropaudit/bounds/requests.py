"""What a user asks of `cropaudit bound`: options and presets, read into a pipeline.

A request is the same thing as the command line's options and as a YAML preset: what the command
line does not give, the preset does. Keys are the options' names with underscores.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cropaudit.accounting.crop_laws import (
    CropLaw,
    ResizedCrop,
    WholeImage,
    refuse_content_dependent,
)
from cropaudit.accounting.geometry import Borders, Crop, Rectangle, Size
from cropaudit.accounting.image_sizes import image_sizes
from cropaudit.accounting.names import Clipped, CropName, Interpolation, PadMode, SamplerName
from cropaudit.accounting.objects import read_objects
from cropaudit.accounting.patches import parse_patch
from cropaudit.accounting.pipelines import Pipeline
from cropaudit.errors import InputError, require
from cropaudit.faults import first_fault
from cropaudit.yaml_text import parse_yaml

__all__ = ["BoundRequest", "bound_presets", "load_request"]

# Settings of which one says what the others would.
_RIVALS = ({"noise", "noise_std", "target_epsilon"}, {"steps", "epochs"})
# Settings that only one crop law has: given with another they would be ignored in silence.
_ONLY = {
    "uniform": {"padding", "padding_mode", "pad_if_needed", "flip", "vertical_flip"},
    "resized": {"scale", "ratio", "interpolation", "antialias", "cut_first"},
}


class BoundRequest(BaseModel):
    """One question to `cropaudit bound`.

    Texts are parsed where they are used, so that errors name them. ``image`` and ``patch`` may be
    several; an image may be a folder whose pictures' sizes are read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    title: str = ""
    image: tuple[str, ...] = ()
    crop: str | None = None
    crop_law: CropName = "uniform"
    padding: str = "0"
    padding_mode: PadMode = "constant"
    pad_if_needed: bool = False
    flip: float = Field(default=0.0, ge=0, le=1)
    vertical_flip: float = Field(default=0.0, ge=0, le=1)
    scale: str = "0.08:1"
    ratio: str = "0.75:1.3333333333333333"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    cut_first: bool = True
    patch: tuple[str, ...] = ()
    crops_per_image: int = Field(default=1, ge=1)
    clipped: Clipped = "together"
    augmentation_noise: float | None = Field(default=None, gt=0)
    sampler: SamplerName = "poisson"
    batch: int | None = None
    records: int | None = None
    epochs: int | None = None
    steps: int | None = None
    drop_last: bool = False
    noise: float | None = None
    noise_std: float | None = None
    clip_norm: float | None = Field(default=None, gt=0)
    target_epsilon: float | None = None
    delta: float | None = None
    group: int = Field(default=1, ge=1)
    phases: tuple[dict[str, Any], ...] = ()
    objects: str | None = None
    sweeps: tuple[str, ...] = ()
    series: str | None = None
    profile_against: tuple[SamplerName, ...] = ()

    def noise_multiplier(self) -> float | None:
        """Returns the noise multiplier, from a deviation in absolute units if that is given.

        Raises:
            InputError: If both are given, or a deviation without the clipping norm.
        """
        if self.noise_std is None:
            return self.noise
        if self.noise is not None:
            raise InputError("noise or noise-std must be given, and not both")
        require(self.clip_norm is not None, "clip-norm", "given with noise-std", None)
        return self.noise_std / float(self.clip_norm or 1.0)

    def given_delta(self) -> float:
        """Returns delta.

        Raises:
            InputError: If it is missing or out of range.
        """
        delta = float(_given("delta", self.delta))
        require(0 < delta < 1, "delta", "in (0, 1)", delta)
        return delta

    def missing(self) -> tuple[str, ...]:
        """Returns which of the solvable settings are not given."""
        uniform = self.crop_law == "uniform"
        absent = {
            "noise": self.noise_multiplier() is None,
            "steps": self.steps is None and self.epochs is None,
            "batch": self.batch is None and self.sampler != "full",
            "crop": self.crop is None and uniform,
        }
        return tuple(name for name, is_absent in absent.items() if is_absent)

    def pipeline(self, *, solving: str | None = None) -> Pipeline:
        """Returns the pipeline that is described.

        Args:
            solving: A setting that is solved for, which is then filled with 1.

        Raises:
            InputError: If something is missing, cannot be read or is out of range.
        """
        records = _given("records", self.records)
        batch = records if self.sampler == "full" and self.batch is None else self.batch
        sizes, patches = self._images_and_patches()
        return Pipeline(
            images=sizes,
            crop=self.crop_of("1" if solving == "crop" else self.crop),
            patch=patches[0] if len(patches) == 1 else patches,
            sampler=self.sampler,
            batch=1 if solving == "batch" else _given("batch", batch),
            records=records,
            steps=1 if solving == "steps" else self.steps,
            epochs=None if solving == "steps" else self.epochs,
            drop_last=self.drop_last,
            crops_per_image=self.crops_per_image,
            clipped=self.clipped,
            augmentation=self.augmentation_noise,
        )

    def with_changes(self, changes: dict[str, Any]) -> "BoundRequest":
        """Returns the request with some keys changed, and without what those displace.

        Raises:
            InputError: If a key is unknown or a value is illegal.
        """
        return _validated(_overruled(self.model_dump(exclude_unset=True), changes))

    def _images_and_patches(self) -> tuple[tuple[Size, ...], tuple[Any, ...]]:
        require(bool(self.image), "image", "given", None)
        require(bool(self.patch), "patch", "given", None)
        sizes = tuple(dict.fromkeys(size for text in self.image for size in _sizes(text)))
        patches = tuple(item for text in self.patch for item in _patches(text))
        return sizes, patches

    def crop_of(self, size: str | None) -> CropLaw:
        """Returns the law of the windows, of ``size`` as text.

        Raises:
            InputError: If a setting is illegal or is none of this law's.
        """
        if self.crop_law == "nonempty":
            refuse_content_dependent("nonempty")
        for law, keys in _ONLY.items():
            idle = sorted(keys & self.model_fields_set) if self.crop_law != law else []
            if idle:
                name = idle[0].replace("_", "-")
                raise InputError(f"{name} must be left out with crop law {self.crop_law}")
        match self.crop_law:
            case "none":
                return WholeImage()
            case "resized":
                output = Size.parse(_given("crop", size), "crop")
                return ResizedCrop(
                    output,
                    scale=_two("scale", self.scale),
                    ratio=_two("ratio", self.ratio),
                    interpolation=self.interpolation,
                    antialias=self.antialias,
                    cut_first=self.cut_first,
                )
            case _:
                return Crop(
                    Size.parse(_given("crop", size), "crop"),
                    padding=_padding(self.padding),
                    mode=self.padding_mode,
                    pad_if_needed=self.pad_if_needed,
                    horizontal_flip=self.flip,
                    vertical_flip=self.vertical_flip,
                )


def bound_presets() -> tuple[str, ...]:
    """Returns the names of the presets."""
    folder = files("cropaudit.bounds").joinpath("presets")
    names = (item.name for item in folder.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load_request(preset: str | None, given: dict[str, Any]) -> BoundRequest:
    """Returns the request of a preset or YAML file, overruled by what is given.

    Args:
        preset: Name of a preset, path of a YAML file, or none.
        given: Keys and values; some of the preset's keys give way together with those that are
            given, as ``noise`` before ``noise_std`` and ``steps`` before ``epochs``.

    Raises:
        InputError: If there is no such preset or file, or a key or value is not legal.
    """
    values = _read(preset) if preset is not None else {}
    return _validated(_overruled(values, given))


def _overruled(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns the values with those given put in, and without the rivals of the latter."""
    gone = {key for rivals in _RIVALS if rivals & given.keys() for key in rivals}
    return {**{key: value for key, value in values.items() if key not in gone}, **given}


def _read(name: str) -> dict[str, Any]:
    if name in bound_presets():
        text = files("cropaudit.bounds").joinpath("presets", f"{name}.yaml").read_text("utf-8")
    else:
        path = Path(name)
        legal = f"one of {', '.join(bound_presets())}, or a YAML file"
        require(path.is_file(), "preset", legal, name)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"preset {name} must be readable text, got {error}") from None
    values = parse_yaml(text, f"preset {name}")
    if not isinstance(values, dict):
        raise InputError(f"preset {name} must be a mapping of keys, got {type(values).__name__}")
    return values


def _validated(values: dict[str, Any]) -> BoundRequest:
    listed = {
        key: [value] if isinstance(value, str | int) and not isinstance(value, bool) else value
        for key, value in values.items()
        if key in ("image", "patch", "sweeps")
    }
    texts = {
        key: str(value)
        for key, value in values.items()
        if key in ("crop", "padding") and isinstance(value, int) and not isinstance(value, bool)
    }
    listed = {key: [str(item) for item in value] for key, value in listed.items()}
    try:
        return BoundRequest.model_validate({**values, **listed, **texts})
    except ValidationError as error:
        raise InputError(first_fault(error, BoundRequest)) from None


def _given(name: str, value: Any) -> Any:
    require(value is not None, name, "given", None)
    return value


def _sizes(text: str) -> tuple[Size, ...]:
    folder = Path(text)
    if folder.is_dir():
        return tuple(sorted(image_sizes(folder)))
    return (Size.parse(text, "image"),)


def _patches(text: str) -> tuple[Any, ...]:
    kind, _, rest = text.partition(":")
    if kind != "boxes":
        return (parse_patch(text),)
    path, _, name = rest.partition("#")
    boxes = [item for item in read_objects(path) if name in ("", item.name)]
    require(bool(boxes), "patch", f"boxes of objects in {path}", text)
    return tuple(Rectangle(size) for size in _largest({box.size for box in boxes}))


def _largest(sizes: set[Size]) -> list[Size]:
    """Returns the sizes that lie in no other: a window that meets a box meets any around it."""
    found: list[Size] = []
    for size in sorted(sizes, reverse=True):  # by falling height
        if not found or size.width > found[-1].width:
            found.append(size)
    return found


def _padding(text: str) -> int | Borders:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"padding must be 1, 2 or 4 whole numbers, got {text}") from None
    return numbers[0] if len(numbers) == 1 else Borders.of_sequence(numbers)


def _two(name: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"{name} must be LOW:HIGH, got {text}") from None
    return low, high

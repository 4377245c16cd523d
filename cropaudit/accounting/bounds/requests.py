"""What a user asks of `cropaudit bound`: options, presets and Python, read into a pipeline."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from cropaudit.accounting.bounds.settings import BoundSettings, read_settings, settings
from cropaudit.accounting.geometry.crop_laws import (
    CropLaw,
    ResizedCrop,
    WholeImage,
    refuse_content_dependent,
)
from cropaudit.accounting.geometry.image_sizes import image_sizes
from cropaudit.accounting.geometry.patches import parse_patch
from cropaudit.accounting.geometry.shapes import Borders, Crop, Patch, Rectangle, Several, Size
from cropaudit.accounting.inclusion.objects import read_objects
from cropaudit.accounting.mechanisms.pipelines import Pipeline
from cropaudit.errors import InputError, require

__all__ = ["BoundRequest", "bound_presets", "load_request"]

# Settings of which one says what the others would.
_RIVALS = ({"noise", "noise_std", "target_epsilon"}, {"steps", "epochs"})


@dataclass(frozen=True)
class BoundRequest(BoundSettings):
    """One question to `cropaudit bound`; see `load_request`."""

    def noise_multiplier(self) -> float | None:
        """Returns the noise multiplier, from a deviation in absolute units if that is given.

        Raises:
            InputError: If both are given, or a deviation without a clipping norm above 0.
        """
        if self.clip_norm is not None:
            require(self.clip_norm > 0, "clip-norm", "above 0", self.clip_norm)
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
        absent = {
            "noise": self.noise_multiplier() is None,
            "steps": self.steps is None and self.epochs is None,
            "batch": self.batch is None and self.sampler != "full",
            "crop": self.crop is None and self.crop_law == "uniform",
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
        require(bool(self.image), "image", "given", None)
        require(bool(self.patch), "patch", "given", None)
        sizes = tuple(dict.fromkeys(size for text in self.image for size in _sizes(text)))
        patches = tuple(item for text in self.patch for item in _patches(text))
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

    def with_changes(self, changes: Mapping[str, Any]) -> "BoundRequest":
        """Returns the request with some keys changed, and without what those displace.

        Raises:
            InputError: If a key is unknown or a value is illegal.
        """
        return _read({key: getattr(self, key) for key in self.given}, changes)

    def crop_of(self, size: str | None) -> CropLaw:
        """Returns the law of the windows, of ``size`` as text.

        Raises:
            InputError: If a setting is illegal or is none of this law's.
        """
        if self.crop_law == "nonempty":
            refuse_content_dependent("nonempty")
        for key, (setting, _) in settings().items():
            if key in self.given and setting.law not in ("", self.crop_law):
                name = key.replace("_", "-")
                raise InputError(f"{name} must be left out with crop law {self.crop_law}")
        match self.crop_law:
            case "none":
                return WholeImage()
            case "resized":
                return ResizedCrop(
                    Size.parse(_given("crop", size), "crop"),
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
    folder = files("cropaudit.accounting.bounds").joinpath("presets")
    names = (item.name for item in folder.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load_request(preset: str | None, given: Mapping[str, Any]) -> BoundRequest:
    """Returns the request of a preset or YAML file, overruled by what is given.

    Args:
        preset: Name of a preset, path of a YAML file, or none.
        given: Keys and values, none for what is not given; some of the preset's keys give way
            together with those that are, as ``noise`` before ``noise_std``.

    Raises:
        InputError: If there is no such preset or file, or a key or value is not legal.
    """
    given = {key: value for key, value in given.items() if value is not None}
    return _read(_preset(preset) if preset is not None else {}, given)


def _read(values: Mapping[str, Any], given: Mapping[str, Any]) -> BoundRequest:
    """Returns the values, those given put in, and without the rivals of the latter."""
    gone = {key for rivals in _RIVALS if rivals & given.keys() for key in rivals}
    kept = {key: value for key, value in values.items() if key not in gone}
    found = read_settings({**kept, **given})
    return BoundRequest(**found, given=frozenset(found))


def _preset(name: str) -> dict[str, Any]:
    from cropaudit.files.yaml_text import parse_yaml  # slow to load

    if name in bound_presets():
        path = files("cropaudit.accounting.bounds").joinpath("presets", f"{name}.yaml")
        text = path.read_text("utf-8")
    else:
        legal = f"one of {', '.join(bound_presets())}, or a YAML file"
        require(Path(name).is_file(), "preset", legal, name)
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"preset {name} must be readable text, got {error}") from None
    values = parse_yaml(text, f"preset {name}")
    if not isinstance(values, dict):
        raise InputError(f"preset {name} must be a mapping of keys, got {type(values).__name__}")
    return values


def _given(name: str, value: Any) -> Any:
    require(value is not None, name, "given", None)
    return value


def _sizes(text: str) -> tuple[Size, ...]:
    if Path(text).is_dir():
        return tuple(image_sizes(text))
    return (Size.parse(text, "image"),)


def _patches(text: str) -> Iterator[Patch | Several]:
    kind, _, rest = text.partition(":")
    if kind != "boxes":
        yield parse_patch(text)
        return
    path, _, name = rest.partition("#")
    boxes = [item for item in read_objects(path) if name in ("", item.name)]
    require(bool(boxes), "patch", f"boxes of objects in {path}", text)
    widest = 0
    # A window that meets a box meets any around it: sizes that lie in another are left out.
    for size in sorted({box.size for box in boxes}, reverse=True):  # by falling height
        if size.width > widest:
            widest = size.width
            yield Rectangle(size)


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

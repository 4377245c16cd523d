"""The settings of `cropaudit bound`, each stated once: its type, its default and its help.

The command line's options, YAML presets and keyword arguments in Python are all read from here.
Keys are the options' names with underscores; ranges are those of the objects that settings are read
into. Nothing heavy is imported, for ``--help`` reads this module.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from cropaudit.accounting.names import CROP_LAWS, SAMPLERS, Clipped, Interpolation, PadMode
from cropaudit.errors import require, shown

__all__ = ["BoundSettings", "Setting", "read_settings", "settings"]


@dataclass(frozen=True)
class Setting:
    """What is said of a setting besides its type and default.

    Attributes:
        help: One line.
        panel: Where ``--help`` shows it; empty for what only presets and Python may give.
        option: The option, if it is not the key with dashes.
        legal: The words it may be, if these are few.
        law: The one crop law that has it: given with another it would be ignored in silence.
        axis: What it is called beside a sweep over it; empty if it cannot be swept.
        whole: Whether a sweep takes whole numbers only.
    """

    help: str
    panel: str = ""
    option: str = ""
    legal: Collection[str] = ()
    law: str = ""
    axis: str = ""
    whole: bool = True


_private = partial(Setting, panel="What is private")
_runs = partial(Setting, panel="What runs")
_crop = partial(Setting, panel="The crop in detail")
_uniform, _resized = partial(_crop, law="uniform"), partial(_crop, law="resized")
_out = partial(Setting, panel="What comes out")

Texts: TypeAlias = tuple[str, ...]
Phases: TypeAlias = tuple[Mapping[str, Any], ...]
Whole: TypeAlias = int | None
Real: TypeAlias = float | None
Text: TypeAlias = str | None


@dataclass(frozen=True)
class BoundSettings:
    """What `cropaudit bound` may be told; `read_settings` checks the types."""

    title: Annotated[str, Setting("Above a picture.")] = ""
    image: Annotated[
        Texts, _private("Image size HxW, or a folder of pictures; again for other sizes.")
    ] = ()
    crop: Annotated[
        Text,
        _private("Window size, HxW (output size if resized).", axis="side of the crop, pixels"),
    ] = None
    patch: Annotated[
        Texts,
        _private(
            "Private patch: HxW, disc:R, mask:FILE.png, boxes:OBJECTS.json#NAME, or 2*HxW for two "
            "at free places; again for alternatives.",
            axis="side of the patch, pixels",
        ),
    ] = ()
    batch: Annotated[Whole, _runs("Batch size, expected under Poisson sampling.", axis="batch")] = (
        None
    )
    records: Annotated[Whole, _runs("Images in the data set.", axis="records")] = None
    delta: Annotated[Real, _runs("Target delta.")] = None
    sampler: Annotated[str, _runs("How batches are drawn.", legal=SAMPLERS)] = "poisson"
    epochs: Annotated[Whole, _runs("Epochs; or give --steps.", axis="epochs")] = None
    steps: Annotated[Whole, _runs("Optimiser steps.", axis="steps")] = None
    drop_last: Annotated[bool, _runs("The loader drops the last short batch.")] = False
    noise: Annotated[
        Real, _runs("Noise multiplier, as in Opacus.", axis="noise multiplier", whole=False)
    ] = None
    noise_std: Annotated[
        Real,
        _runs(
            "Or the noise's deviation in absolute units.",
            axis="deviation of the noise",
            whole=False,
        ),
    ] = None
    clip_norm: Annotated[Real, _runs("Clipping norm C, to check the noise's unit.")] = None
    target_epsilon: Annotated[
        Real, _runs("Epsilon to solve for the one of noise, steps, batch, crop left out.")
    ] = None
    group: Annotated[int, _runs("Images of one person, for a group bound.")] = 1
    phases: Annotated[
        Phases,
        _runs(
            "Settings of one phase, as crop=300,noise=0.8,steps=500; again for the next.",
            option="--phase",
        ),
    ] = ()
    crop_law: Annotated[
        str,
        _crop(
            "The windows: as RandomCrop, as RandomResizedCrop, or the whole image.",
            legal=(*CROP_LAWS, "nonempty"),  # the last to be refused with its reason
        ),
    ] = "uniform"
    padding: Annotated[
        str,
        _uniform(
            "Pixels around the image: 1, 2 or 4 numbers, as torchvision.", axis="padding, pixels"
        ),
    ] = "0"
    padding_mode: Annotated[PadMode, _uniform("What they show.")] = "constant"
    pad_if_needed: Annotated[bool, _uniform("Pad images smaller than the window.")] = False
    flip: Annotated[float, _uniform("Probability of a horizontal flip before the crop.")] = 0.0
    vertical_flip: Annotated[float, _uniform("Of a vertical one.")] = 0.0
    scale: Annotated[str, _resized("resized: LOW:HIGH share of the area.")] = "0.08:1"
    ratio: Annotated[str, _resized("resized: LOW:HIGH aspect ratio.")] = "0.75:1.3333333333333333"
    interpolation: Annotated[Interpolation, _resized("resized: the filter.")] = "bilinear"
    antialias: Annotated[bool, _resized("resized: whether the filter widens.")] = True
    cut_first: Annotated[
        bool, _resized("resized: whether the window is cut out before it is resized.")
    ] = True
    crops_per_image: Annotated[
        int, _crop("Crops of one image in one step.", axis="crops-per-image")
    ] = 1
    clipped: Annotated[Clipped, _crop("Those crops' gradients: averaged first, or apart.")] = (
        "together"
    )
    augmentation_noise: Annotated[
        Real,
        _crop(
            "Deviation of Gaussian noise on pixels of 0 to 255.",
            axis="deviation of the noise on the pixels",
            whole=False,
        ),
    ] = None
    objects: Annotated[Text, _out("Objects file (JSON boxes) to set beside the patch.")] = None
    sweeps: Annotated[
        Texts, _out("Vary a setting, as crop=100:700:50 or noise=1,2,4.", option="--sweep")
    ] = ()
    series: Annotated[Text, _out("A line for each of these, as noise=1,2,4.")] = None
    profile_against: Annotated[Texts, Setting("Other samplers, beside a plotted profile.")] = ()
    given: frozenset[str] = field(default=frozenset(), repr=False, compare=False)


@cache
def settings() -> dict[str, tuple[Setting, Any]]:
    """Returns every setting by its key, with its type."""
    found = {}
    for key, hint in get_type_hints(BoundSettings, include_extras=True).items():
        for setting in getattr(hint, "__metadata__", ()):
            kind = get_args(hint)[0]
            words = get_args(kind) if get_origin(kind) is Literal else ()
            found[key] = replace(setting, legal=setting.legal or words), kind
    return found


def read_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings as their types, without those that are none.

    Args:
        values: Texts of options and phases, YAML's or Python's values, by key.

    Raises:
        InputError: If a key is unknown or a value is of no such type.
    """
    found = {}
    for key, value in values.items():
        require(key in settings(), shown(key), f"a known key ({', '.join(settings())})", key)
        setting, hint = settings()[key]
        if value is not None:
            name, legal = key.replace("_", "-"), setting.legal
            found[key] = _value(name, hint, value)
            require(not legal or found[key] in legal, name, f"one of {', '.join(legal)}", value)
    return found


def _value(name: str, hint: Any, value: Any) -> Any:
    """Returns a value as the type of its setting; texts of options and phases are read."""
    if hint == Phases:
        return tuple(_phase(item) for item in ([value] if isinstance(value, str) else value))
    if hint == Texts:
        listed = value if isinstance(value, list | tuple) else [value]
        return tuple(_value(name, str, item) for item in listed)
    kinds = {bool, int, float} & {hint, *get_args(hint)}
    if bool in kinds:
        words = {"true": True, "false": False}
        require(str(value).lower() in words, name, "true or false", value)
        return words[str(value).lower()]
    if not kinds:
        require(not isinstance(value, bool | list | dict), name, "text", value)
        return str(value)
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if int in kinds:
        require(math.isfinite(number) and number == int(number), name, "a whole number", value)
        return int(number)
    require(math.isfinite(number), name, "a finite number", value)
    return number


def _phase(value: Any) -> Mapping[str, Any]:
    """Returns the settings of one phase, of a mapping or of ``KEY=VALUE,KEY=VALUE``."""
    if isinstance(value, Mapping):
        return value
    pairs = [part.partition("=") for part in str(value).split(",")]
    legal = all(key and equals and given for key, equals, given in pairs)
    require(legal, "phase", "KEY=VALUE,KEY=VALUE...", value)
    return {key.replace("-", "_"): given for key, _, given in pairs}

"""The names that settings are chosen by, and where each is described; nothing is imported.

A sampler or a crop law is one class and one line here: options, configurations and reports take the
names from these tables, and all else from the class.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

__all__ = [
    "CROP_LAWS",
    "SAMPLERS",
    "Clipped",
    "CropName",
    "Interpolation",
    "PadMode",
    "SamplerName",
    "described",
]

_MECHANISMS = "cropaudit.accounting.mechanisms.descriptions"
_GEOMETRY = "cropaudit.accounting.geometry"

SAMPLERS = {
    "poisson": f"{_MECHANISMS}:PoissonPatch",
    "fixed": f"{_MECHANISMS}:FixedSizePatch",
    "shuffle": f"{_MECHANISMS}:ShufflePatch",
    "cyclic": f"{_MECHANISMS}:CyclicPatch",
    "full": f"{_MECHANISMS}:FullBatchPatch",
}
"""Samplers that a patch-level bound exists for: their names, and where the mechanism is."""

CROP_LAWS = {
    "uniform": f"{_GEOMETRY}.shapes:Crop",
    "resized": f"{_GEOMETRY}.crop_laws:ResizedCrop",
    "none": f"{_GEOMETRY}.crop_laws:WholeImage",
}
"""Laws of windows: their names, and where the description is."""

if TYPE_CHECKING:
    SamplerName: TypeAlias = str
    CropName: TypeAlias = str
else:
    SamplerName = Literal[tuple(SAMPLERS)]
    CropName = Literal[(*CROP_LAWS, "nonempty")]  # the last to be refused with its reason
PadMode = Literal["constant", "reflect", "symmetric", "edge"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
Clipped = Literal["together", "apart"]


def described(place: str) -> Any:
    """Returns what an entry of a table names, imported only now."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)

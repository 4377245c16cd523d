"""Audit, by experiment, the patch-level privacy of vision models trained on random crops.

Everything that the command line does is here by name, and loaded when it is asked for:

>>> import cropaudit as ca
>>> pipeline = ca.Pipeline(
...     ca.Size(1000, 1000), ca.Rectangle(ca.Size(10, 10)), ca.Crop(ca.Size(100, 100)),
...     sampler="poisson", batch=50, records=1000, steps=100,
... )
>>> ca.bound(pipeline, noise_multiplier=1.0, delta=1e-5).epsilon < 1.0
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cropaudit.accounting.bounds.bound import Pipeline, bound
    from cropaudit.accounting.geometry.crop_laws import ResizedCrop
    from cropaudit.accounting.geometry.patches import Disc
    from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
    from cropaudit.conformance import assert_conforms

__version__ = "0.1.0"

# Where each public name lives. Nothing of it is imported before it is used: torch takes seconds.
_HOMES = {
    "Crop": "accounting.geometry.shapes",
    "Disc": "accounting.geometry.patches",
    "Pipeline": "accounting.bounds.bound",
    "Rectangle": "accounting.geometry.shapes",
    "ResizedCrop": "accounting.geometry.crop_laws",
    "Size": "accounting.geometry.shapes",
    "assert_conforms": "conformance",
    "bound": "accounting.bounds.bound",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

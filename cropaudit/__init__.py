"""Audit, by experiment, the patch-level privacy of vision models trained on random crops.

Everything that the command line does is here by name, and loaded when it is asked for:

>>> import cropaudit as ca
>>> pipeline = ca.Pipeline(
...     images=(ca.Size(1000, 1000),), crop=ca.Crop(ca.Size(100, 100)),
...     patch=ca.Rectangle(ca.Size(10, 10)), sampler="poisson", batch=50, records=1000, steps=100,
... )
>>> found = ca.bound(pipeline, noise=1.0, delta=1e-5)
>>> found.epsilon < found.bound.epsilon_without_crop
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cropaudit.accounting.bounds.answers import bound
    from cropaudit.accounting.geometry.crop_laws import ResizedCrop
    from cropaudit.accounting.geometry.patches import disc
    from cropaudit.accounting.geometry.shapes import Crop, PixelMask, Rectangle, Size
    from cropaudit.accounting.mechanisms.pipelines import Pipeline
    from cropaudit.accounting.mechanisms.registry import parse_mechanism
    from cropaudit.api import attack, audit, certify, conform, estimate, train
    from cropaudit.audit.config.audit_config import AuditConfig, load_config
    from cropaudit.conformance.asserting import assert_conforms
    from cropaudit.conformance.pipeline_claim import PipelineClaim
    from cropaudit.errors import InputError
    from cropaudit.reports.store import load_report

__all__ = [
    "AuditConfig",
    "Crop",
    "InputError",
    "Pipeline",
    "PipelineClaim",
    "PixelMask",
    "Rectangle",
    "ResizedCrop",
    "Size",
    "__version__",
    "assert_conforms",
    "attack",
    "audit",
    "bound",
    "certify",
    "conform",
    "disc",
    "estimate",
    "load_config",
    "load_report",
    "parse_mechanism",
    "train",
]

__version__ = "0.1.0"

# Where each public name lives. Nothing is imported before it is used: torch alone takes seconds.
_HOMES = {
    "AuditConfig": "audit.config.audit_config",
    "Crop": "accounting.geometry.shapes",
    "InputError": "errors",
    "Pipeline": "accounting.mechanisms.pipelines",
    "PipelineClaim": "conformance.pipeline_claim",
    "PixelMask": "accounting.geometry.shapes",
    "Rectangle": "accounting.geometry.shapes",
    "ResizedCrop": "accounting.geometry.crop_laws",
    "Size": "accounting.geometry.shapes",
    "assert_conforms": "conformance.asserting",
    "attack": "api",
    "bound": "accounting.bounds.answers",
    "certify": "api",
    "conform": "api",
    "disc": "accounting.geometry.patches",
    "estimate": "api",
    "load_config": "audit.config.audit_config",
    "load_report": "reports.store",
    "parse_mechanism": "accounting.mechanisms.registry",
    "train": "api",
}


def __getattr__(name: str) -> Any:
    if name == "audit":  # a package as well, which is called: see there
        return import_module(f"{__name__}.audit")
    if name == "_audit":
        return import_module(f"{__name__}.api").audit
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

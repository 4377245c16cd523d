"""All planted faults and all sound pipelines, by name."""

from cropaudit.audit.conformance.faults import (
    broken_trainers,
    claims,
    loaders,
    models,
    pipelines,
    trainers,
    transforms,
)
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.errors import require

__all__ = ["clean_pipelines", "faults", "mutant"]

_BROKEN = (transforms, loaders, pipelines, models, broken_trainers, claims)
_SOUND = (transforms, loaders, pipelines, models, trainers, claims)


def faults() -> tuple[Fault, ...]:
    """Returns the planted faults, each to be found by the check that it names."""
    return tuple(fault for module in _BROKEN for fault in module.FAULTS)


def clean_pipelines() -> tuple[Fault, ...]:
    """Returns sound pipelines, on which no check may fail."""
    return tuple(fault for module in _SOUND for fault in module.CLEAN)


def mutant(name: str) -> Fault:
    """Returns the planted fault, or sound pipeline, of this name.

    Raises:
        InputError: If there is none.
    """
    known = {fault.name: fault for fault in (*faults(), *clean_pipelines())}
    require(name in known, "mutant", f"one of {', '.join(sorted(known))}", name)
    return known[name]

"""All mutants and all sound pipelines, by name."""

from cropaudit.conformance.mutants import loaders, models, pipelines, trainers, transforms
from cropaudit.conformance.mutants.mutant import Mutant
from cropaudit.conformance.mutants.words import words
from cropaudit.errors import require

__all__ = ["clean_pipelines", "faults", "mutant"]

_MODULES = (transforms, loaders, pipelines, models, trainers)
_FOUND: dict[str, Mutant] = {
    name: item for module in _MODULES for name, item in module.MUTANTS.mutants.items()
}
_ALL = {name: _FOUND[name] for name, _, _ in words()}


def faults() -> tuple[Mutant, ...]:
    """Returns the mutants, each to be found by the check that it names."""
    return tuple(item for item in _ALL.values() if item.check)


def clean_pipelines() -> tuple[Mutant, ...]:
    """Returns sound pipelines, on which no check may fail."""
    return tuple(item for item in _ALL.values() if not item.check)


def mutant(name: str) -> Mutant:
    """Returns the mutant, or sound pipeline, of this name.

    Raises:
        InputError: If there is none.
    """
    require(name in _ALL, "mutant", f"one of {', '.join(sorted(_ALL))}", name)
    return _ALL[name]

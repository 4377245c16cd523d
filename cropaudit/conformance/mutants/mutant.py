"""Mutants: what is broken, what is claimed, and who must name it; their words are in `words`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cropaudit.conformance.mutants.words import words
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.conformance.subjects import Subjects

__all__ = ["Mutant", "Shelf"]

_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Mutant:
    """A pipeline with one fault.

    Attributes:
        name: As ``--mutant`` takes it.
        summary: What is wrong, in one sentence.
        check: The check that must fail and name the cause; empty of a sound one.
        subjects: The broken code.
        claimed: What its maker believes.
    """

    name: str
    summary: str
    check: str
    subjects: Subjects
    claimed: PipelineClaim


class Shelf:
    """The mutants of one module, each under the name by which the module gives its code."""

    def __init__(
        self,
        module: str,
        subject: str,
        claimed: PipelineClaim,
        code: Mapping[str, Any],
        claims: Mapping[str, Mapping[str, Any]] = _NONE,
        subjects: Mapping[str, Mapping[str, Any]] = _NONE,
    ) -> None:
        """Holds the mutants.

        Args:
            module: Whose ``__getattr__`` is `code`.
            subject: transform, loader, model, trainer or pipeline.
            claimed: Of all.
            code: By name of the mutant.
            claims: What is claimed else of some.
            subjects: What else is given of some.
        """
        self._code = code
        self.mutants = {
            name: Mutant(
                name,
                summary,
                check,
                Subjects(**{subject: f"{module}:{name}", **subjects.get(name, _NONE)}),
                replace(claimed, **claims.get(name, _NONE)),
            )
            for name, check, summary in words()
            if name in code
        }

    @property
    def faults(self) -> list[Mutant]:
        """Returns the broken ones."""
        return [item for item in self.mutants.values() if item.check]

    @property
    def sound(self) -> list[Mutant]:
        """Returns the sound ones."""
        return [item for item in self.mutants.values() if not item.check]

    def code(self, name: str) -> Any:
        """Returns the code of a mutant, as the attribute of its module that its name is."""
        if name not in self._code:
            raise AttributeError(name)
        return self._code[name]

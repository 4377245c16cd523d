"""The description of a mutant: what is broken, what is claimed, and who must name it."""

from dataclasses import dataclass

from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.conformance.subjects import Subjects

__all__ = ["Mutant"]


@dataclass(frozen=True)
class Mutant:
    """A pipeline with one fault.

    Attributes:
        name: As ``--mutant`` takes it.
        summary: What is wrong, in one sentence.
        check: The check that must fail and name the cause.
        subjects: The broken code.
        claimed: What its maker believes.
    """

    name: str
    summary: str
    check: str
    subjects: Subjects
    claimed: PipelineClaim

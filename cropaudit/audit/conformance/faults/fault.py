"""The description of a planted fault: what is broken, what is claimed, and who must name it."""

from dataclasses import dataclass

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.subjects import Subjects

__all__ = ["Fault"]


@dataclass(frozen=True)
class Fault:
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
    claimed: Claimed

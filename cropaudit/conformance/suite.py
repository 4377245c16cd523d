"""The suite: every check on what was seen, their level shared, and the verdict on it all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cropaudit.conformance.catalogue import CHECKS
from cropaudit.conformance.observed import Observations
from cropaudit.conformance.outcome import Finding, Outcome, Status, decide, doubtful, settled
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.conformance.process import observe
from cropaudit.conformance.subjects import Subjects
from cropaudit.errors import InputError
from cropaudit.files.notebook import Tabled

__all__ = ["LEVEL", "SuiteResult", "examine", "run_suite"]

LEVEL = 0.01


@dataclass(frozen=True)
class SuiteResult(Tabled):
    """All findings.

    Attributes:
        findings: In the order of the catalogue.
        level: Probability, at most, that any check of a sound pipeline fails.
        claimed: What was held against the code.
    """

    findings: tuple[Finding, ...]
    level: float
    claimed: PipelineClaim

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The checks that failed."""
        return self._of("fail")

    @property
    def undecided(self) -> tuple[Finding, ...]:
        """The checks that could not tell, for want of samples or as nothing could be watched."""
        return self._of("inconclusive", "not measured")

    @property
    def differing(self) -> tuple[Finding, ...]:
        """The checks that saw something else than is claimed, and no worse."""
        return self._of("differs")

    def _of(self, *statuses: Status) -> tuple[Finding, ...]:
        return tuple(item for item in self.findings if item.status in statuses)

    @property
    def verdict(self) -> Literal["fail", "inconclusive", "differs", "pass"]:
        """Fail if any check failed, else inconclusive if any could not tell, else differs."""
        if self.failed:
            return "fail"
        if self.undecided:
            return "inconclusive"
        return "differs" if self.differing else "pass"

    def finding(self, check: str) -> Finding:
        """Returns what one check found."""
        return next(item for item in self.findings if item.check == check)


def examine(
    seen: Observations,
    claimed: PipelineClaim,
    level: float = LEVEL,
    again: Callable[[], Observations] | None = None,
) -> SuiteResult:
    """Runs every check on what was seen.

    Args:
        seen: What was seen.
        claimed: What is claimed.
        level: Probability of any false alarm.
        again: Looks once more, with fresh draws: called if a check would fail by what chance might
            have done, and it fails then only if it does so again.

    Raises:
        InputError: If the level is not in (0, 1).
    """
    outcomes: Sequence[Outcome] = [check(seen, claimed) for check in CHECKS]
    if again is not None and doubtful(outcomes, level):
        fresh = again()
        outcomes = settled(outcomes, [check(fresh, claimed) for check in CHECKS], level)
    return SuiteResult(decide(outcomes, level), level, claimed)


def run_suite(
    subjects: Subjects,
    claimed: PipelineClaim,
    level: float = LEVEL,
    tick: Callable[[], None] | None = None,
) -> SuiteResult:
    """Probes the user's code in a process of its own and runs every check.

    Args:
        subjects: Whose code.
        claimed: What it is said to do.
        level: Probability of any false alarm.
        tick: Called while waiting.

    Raises:
        InputError: If there is no such file or name: that is no failed check.
    """
    seen = observe(subjects, claimed, tick)
    for trouble in seen.contract.troubles:
        if trouble.kind == "unreadable":
            raise InputError(f"{trouble.subject} cannot be read: {trouble.words}")
    return examine(seen, claimed, level, lambda: observe(subjects.reseeded(), claimed, tick))

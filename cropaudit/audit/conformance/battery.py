"""The battery: every check on what was seen, their level shared, and the verdict on it all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cropaudit.audit.conformance.catalogue import CHECKS, Check
from cropaudit.audit.conformance.checks import (
    accountant,
    batch_law,
    clipping,
    contract,
    finite_updates,
    inclusion_rate,
    independence,
    isolation,
    kept_state,
    label_alignment,
    noise,
    non_interference,
    per_sample_gradients,
    steps_and_rate,
    update,
    watched_noise,
    watched_steps,
    window_law,
)
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.outcome import (
    Finding,
    Outcome,
    Status,
    decide,
    doubtful,
    merged,
    settled,
)
from cropaudit.audit.conformance.process import observe
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.errors import InputError

__all__ = ["LEVEL", "Battery", "examine", "run_battery"]

LEVEL = 0.01

_Check = Callable[[Seen, Claimed], Outcome]

_CHECKS: dict[str, _Check] = {
    "contract": contract.check,
    "non-interference": non_interference.check,
    "window law": window_law.check,
    "independence": independence.check,
    "inclusion rate": inclusion_rate.check,
    "label alignment": label_alignment.check,
    "batch law": batch_law.check,
    "per-sample gradients": per_sample_gradients.check,
    "isolation": isolation.check,
    "clipping": clipping.check,
    "noise": noise.check,
    "steps and rate": steps_and_rate.check,
    "update": update.check,
    "finite updates": finite_updates.check,
    "kept state": kept_state.check,
    "accountant": accountant.check,
}
# Of a whole training, where its own steps tell what a part's probe tells otherwise.
_WHOLE: dict[str, _Check] = {
    "non-interference": watched_steps.check_interference,
    "window law": window_law.check,
    "independence": independence.check,
    "inclusion rate": inclusion_rate.check,
    "label alignment": watched_steps.check_labels,
    "batch law": batch_law.check,
    "isolation": watched_steps.check_isolation,
    "clipping": watched_steps.check_clipping,
    "noise": watched_noise.check,
    "steps and rate": steps_and_rate.check,
    "update": watched_steps.check_update,
}


@dataclass(frozen=True)
class Battery:
    """All findings.

    Attributes:
        findings: In the order of the catalogue.
        level: Probability, at most, that any check of a sound pipeline fails.
        claimed: What was held against the code.
    """

    findings: tuple[Finding, ...]
    level: float
    claimed: Claimed

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
    seen: Seen, claimed: Claimed, level: float = LEVEL, again: Callable[[], Seen] | None = None
) -> Battery:
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
    outcomes: Sequence[Outcome] = [_outcome(item, seen, claimed) for item in CHECKS]
    if again is not None and doubtful(outcomes, level):
        fresh = again()
        outcomes = settled(outcomes, [_outcome(item, fresh, claimed) for item in CHECKS], level)
    return Battery(decide(outcomes, level), level, claimed)


def _outcome(item: Check, seen: Seen, claimed: Claimed) -> Outcome:
    """Runs one check; what was given and broke is not called missing, nor is what is blind."""
    found = _found(item.name, seen, claimed)
    if found.skipped and item.blind_loader and seen.batches is not None and seen.batches.ours:
        return replace(found, skipped="", unmeasured=item.blind_loader)
    serious = {t.subject for t in seen.contract.troubles if t.kind != "printed"}
    broken = [subject for subject in item.needs if subject in serious]
    if found.skipped and broken:
        words = f"the {' and the '.join(broken)} could not be probed: see contract"
        return replace(found, skipped=words)
    return found


def _found(name: str, seen: Seen, claimed: Claimed) -> Outcome:
    """Runs a check on the parts that were given and on the whole pipeline, if both were."""
    parts, whole = seen.parts, seen.whole
    if name not in _WHOLE or whole is None:
        return _CHECKS[name](seen, claimed)
    found = [_WHOLE[name](whole, claimed)]
    if parts is not None:
        found.insert(0, _CHECKS[name](parts, claimed))
    return merged(found)


def run_battery(
    subjects: Subjects,
    claimed: Claimed,
    level: float = LEVEL,
    tick: Callable[[], None] | None = None,
) -> Battery:
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

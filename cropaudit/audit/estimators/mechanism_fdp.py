"""Estimator 8: the loudest member of the mechanism's own family that the counts contradict.

The game plays the mechanism's worst pair. The counts of one test are held against the composed
trade-off curve of that pair at other values of one number: the noise multiplier, or the inclusion
probability or sampling rate where the noise is known. The bound is the epsilon of the loudest
member rejected. It assumes that the delivered mechanism is in the family. (Rejecting a *stated*
curve assumes nothing about the mechanism; the verdict does that.)

A wrong sampler or crop can give rates that no member of the family allows, however little noise it
adds. The family then has no epsilon to offer, and the bound of the joint test stands in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cropaudit.audit.estimators.evidence import Counts, Found
from cropaudit.audit.estimators.family import Family, Rejected
from cropaudit.audit.estimators.joint_test import largest_rejected
from cropaudit.audit.estimators.ladder import extreme, joint_p_value
from cropaudit.audit.estimators.rate_test import TradeOff, loudest_of, p_value, rejects
from cropaudit.audit.estimators.yardstick import Yardstick, yardstick
from cropaudit.audit.result import Validity

__all__ = ["OUTSIDE", "MechanismFdp", "claim_p_value", "family_note"]

OUTSIDE = "every member is rejected: not this sampler and crop; joint test instead"


@dataclass(frozen=True)
class MechanismFdp:
    """One test against a family of mechanisms.

    Attributes:
        family: What the delivered mechanism is assumed to be in.
    """

    family: Family

    name: ClassVar[str] = "mechanism-f-dp"
    validity: ClassVar[Validity] = "model-based"
    assumes: ClassVar[str] = (
        "independent trials, a threshold or its rank fixed without these scores; and, for the "
        "value of epsilon, that the delivered mechanism is the claimed one at another value of "
        "the named number"
    )

    def epsilon(self, counts: Counts, delta: float, level: float) -> Found:
        """Returns the bound; ``delta`` must be the family's own."""
        found = self.rejected(counts, level)
        if found.outside:
            return Found(largest_rejected(counts, delta, level), OUTSIDE)
        return Found(found.epsilon, family_note(self.family, found))

    def rejected(self, counts: Counts, level: float) -> Rejected:
        """Returns the loudest member that the counts reject."""
        if counts.ranked:
            return self.family.loudest_rejected(lambda curve: rejects(counts, curve, level))
        found = [_fixed(one, counts, level) for one in self.family.in_one_order()]
        return min(found, key=lambda item: item.epsilon)

    def claim_p_value(self, counts: Counts, claim: float, delta: float, level: float) -> float:
        """Returns the p-value of "the member whose epsilon is ``claim``, or a quieter one"."""
        del delta

        def value(one: Family) -> float:
            order = None if counts.ranked else _order(one, counts, level)
            return claim_p_value(one, claim, lambda curve: p_value(counts, curve, level, order))

        return max(value(one) for one in self.family.in_one_order())

    def ladder_epsilon(self, tests: Sequence[Counts], delta: float, level: float) -> Found:
        """Returns the bound of several ranks of one game together."""
        found = [_together(one, tests, level) for one in self.family.in_one_order()]
        least = min(found, key=lambda item: item.epsilon)
        if least.outside:
            share = level / len(tests)
            return Found(max(largest_rejected(t, delta, share) for t in tests), OUTSIDE)
        return Found(least.epsilon, family_note(self.family, least))

    def ladder_p_value(
        self, tests: Sequence[Counts], claim: float, delta: float, level: float
    ) -> float:
        """Returns the p-value of the member whose epsilon is ``claim``, or a quieter one."""
        del delta

        def value(one: Family) -> float:
            needed = _needed(one, tests, _alone(one, tests, level), level)
            return claim_p_value(one, claim, lambda curve: joint_p_value(needed, curve))

        return max(value(one) for one in self.family.in_one_order())

    def best(self, tests: Sequence[Counts], delta: float, level: float) -> int:
        """Returns which of several tests rejects the loudest member."""
        del delta
        return loudest_of(tests, self.family.played, self.family.span, level)[0]


def _fixed(family: Family, counts: Counts, level: float) -> Rejected:
    """Returns the loudest member that a fixed threshold rejects, the worlds being in one order."""
    order = _order(family, counts, level)
    return family.loudest_rejected(lambda curve: p_value(counts, curve, level, order) <= level)


def _alone(family: Family, tests: Sequence[Counts], level: float) -> Rejected:
    """Returns the loudest member that some rank rejects at its share of the level."""
    share = level / len(tests)
    return family.loudest_rejected(lambda curve: any(rejects(test, curve, share) for test in tests))


def _needed(
    family: Family, tests: Sequence[Counts], alone: Rejected, level: float
) -> tuple[Counts, ...]:
    index = family.span[0] if alone.index is None else alone.index
    return extreme(tests, family.played(index)[0], level)


def _together(family: Family, tests: Sequence[Counts], level: float) -> Rejected:
    """Returns the loudest member that several ranks reject together, the worlds in one order."""
    alone = _alone(family, tests, level)
    if alone.outside:
        return alone
    needed = _needed(family, tests, alone, level)
    return family.loudest_rejected(lambda curve: joint_p_value(needed, curve) <= level)


def _order(family: Family, counts: Counts, level: float) -> Yardstick:
    """Returns one order of counts for all members."""
    limit = family.limits()[0]

    def within(curve: TradeOff) -> TradeOff:
        """The curves of the loudest members are coarse, and may lie above the limit."""
        return lambda fpr: np.minimum(curve(fpr), limit(fpr))

    def loudest(holds: Callable[[TradeOff], bool]) -> TradeOff:
        found = family.loudest_rejected(lambda curve: holds(within(curve)))
        return within(family.played(family.span[0] if found.index is None else found.index)[0])

    return yardstick(counts, level, loudest, limit)


def claim_p_value(family: Family, claim: float, p_of: Callable[[TradeOff], float]) -> float:
    """Returns the p-value of the member whose epsilon is ``claim``, in any order of the worlds."""
    index = family.index_of(claim)
    if index is None:
        return 1.0
    return max(p_of(curve) for curve in family.played(index))


def family_note(family: Family, found: Rejected) -> str:
    """Returns what the bound says about the number that varies."""
    if found.value is None:
        return "no member is rejected"
    side = "at most" if family.axis == "noise multiplier" else "at least"
    return f"{family.axis} {side} {found.value:.4g}"

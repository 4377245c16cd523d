"""Estimator 8: the loudest member of the mechanism's own family that the counts contradict.

The game plays the mechanism's worst pair. The counts are held against the composed trade-off curve
of that pair at other values of one number: the noise multiplier, or the inclusion probability or
sampling rate where the noise is known. The bound is the epsilon of the loudest member rejected. It
assumes that the delivered mechanism is in the family. (Rejecting a *stated* curve assumes nothing
about the mechanism.)

A wrong sampler or crop can give rates that no member of the family allows, however little noise it
adds. The family then has no epsilon to offer, and the bound of the joint test stands in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import ClassVar

from cropaudit.estimators.bound import Validity
from cropaudit.estimators.evidence import Counts, Found
from cropaudit.estimators.null import Null
from cropaudit.estimators.trials.family import Family, Rejected, family_found
from cropaudit.estimators.trials.joint_test import JointTest, counts_p_value, counts_rejected
from cropaudit.estimators.trials.rate_test import loudest_of

__all__ = ["MechanismFdp"]


@dataclass(frozen=True)
class MechanismFdp:
    """Counts against a family of mechanisms.

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
    together: ClassVar[bool] = True

    def found(self, tests: Sequence[Counts], delta: float, level: float) -> Found:
        """Returns the bound; ``delta`` must be the family's own."""
        least = self.rejected(tests, level)
        if least.outside:  # several ranks each at its share: their joint bound knows one order
            share = level / len(tests)
            plain = [JointTest().found([test], delta, share).epsilon for test in tests]
            return Found(max(plain), outside=True)
        return family_found(self.family, least)

    def rejected(self, tests: Sequence[Counts], level: float) -> Rejected:
        """Returns the loudest member that the counts reject, in every order of the worlds."""
        found = (counts_rejected(tests, one, level) for one in self.family.in_one_order())
        return min(found, key=lambda item: item.epsilon)

    def p_value(self, tests: Sequence[Counts], null: Null, level: float) -> float:
        """Returns the p-value of a null, in the orders of the bound."""
        orders = cycle(self.family.in_one_order())
        return max(
            counts_p_value(tests, one, curve, level)
            for curve, one in zip(null.curves, orders, strict=False)
        )

    def best(self, tests: Sequence[Counts], delta: float, level: float) -> int:
        """Returns which of several tests rejects the loudest member."""
        del delta
        return loudest_of(tests, self.family.allowed, self.family.span, level)[0]

"""(epsilon, delta) from one exact test of both error rates together.

Assumes what the Clopper-Pearson estimator assumes, independent trials and a threshold whose value
or rank was fixed beforehand, and gives more: see `rate_test`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from cropaudit.audit.estimators.evidence import Counts, Found
from cropaudit.audit.estimators.ladder import extreme, joint_p_value
from cropaudit.audit.estimators.rate_test import TradeOff, approximate_dp, loudest_of, p_value
from cropaudit.audit.estimators.yardstick import Yardstick, yardstick
from cropaudit.audit.result import Validity

__all__ = ["JointTest", "best_for_epsilon", "largest_epsilon", "largest_rejected"]

_GRID = 100  # steps of epsilon 1 on which thresholds are compared


@dataclass(frozen=True)
class JointTest:
    """The largest epsilon whose (epsilon, delta) region the counts reject."""

    name: ClassVar[str] = "joint-test"
    validity: ClassVar[Validity] = "exact"
    assumes: ClassVar[str] = (
        "independent trials in each world, a threshold or its rank fixed without these scores"
    )

    def epsilon(self, counts: Counts, delta: float, level: float) -> Found:
        """Returns the bound, by bisection from below."""
        return Found(largest_rejected(counts, delta, level))

    def claim_p_value(self, counts: Counts, claim: float, delta: float, level: float) -> float:
        """Returns the p-value of "epsilon is at most ``claim``", in the order of the bound."""
        order = _order(counts, delta, level)
        return p_value(counts, approximate_dp(claim, delta), level, order)

    def ladder_epsilon(self, tests: Sequence[Counts], delta: float, level: float) -> Found:
        """Returns the bound of several ranks of one game together, at ``level``."""
        alone, needed = _extreme(tests, delta, level)

        def rejected(epsilon: float) -> bool:
            curve = approximate_dp(epsilon, delta)
            return epsilon <= alone or joint_p_value(needed, curve) <= level

        return Found(largest_epsilon(rejected))

    def ladder_p_value(
        self, tests: Sequence[Counts], claim: float, delta: float, level: float
    ) -> float:
        """Returns the p-value of the claim by several ranks together, in the order of the bound."""
        _, needed = _extreme(tests, delta, level)
        return joint_p_value(needed, approximate_dp(claim, delta))

    def best(self, tests: Sequence[Counts], delta: float, level: float) -> int:
        """Returns which of several tests rejects the largest epsilon."""
        return best_for_epsilon(tests, delta, level)


def best_for_epsilon(tests: Sequence[Counts], delta: float, level: float) -> int:
    """Returns which of several tests rejects the largest epsilon, on a grid of hundredths."""
    span = -1, 20 * _GRID

    def curves(index: int) -> list[TradeOff]:
        return [approximate_dp(index / _GRID, delta)]

    return loudest_of(tests, curves, span, level)[0]


def largest_rejected(counts: Counts, delta: float, level: float) -> float:
    """Returns the largest epsilon that is rejected at ``level``, at least 0."""
    order = _order(counts, delta, level)
    return largest_epsilon(
        lambda epsilon: p_value(counts, approximate_dp(epsilon, delta), level, order) <= level
    )


def _extreme(
    tests: Sequence[Counts], delta: float, level: float
) -> tuple[float, tuple[Counts, ...]]:
    """Returns the bound by Bonferroni, and what is as extreme in its order."""
    alone = max(largest_rejected(test, delta, level / len(tests)) for test in tests)
    return alone, extreme(tests, approximate_dp(alone, delta), level)


def _order(counts: Counts, delta: float, level: float) -> Yardstick | None:
    """Returns one order of counts for all epsilons; a ranked test needs none."""
    if counts.ranked:
        return None

    def loudest(holds: Callable[[TradeOff], bool]) -> TradeOff:
        epsilon = largest_epsilon(lambda epsilon: holds(approximate_dp(epsilon, delta)))
        return approximate_dp(epsilon, delta)

    return yardstick(counts, level, loudest)


def largest_epsilon(rejected: Callable[[float], bool], tolerance: float = 1e-6) -> float:
    """Returns the largest epsilon that is rejected, from below; at least 0, at most about 1000."""
    if not rejected(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while high < 1e3 and rejected(high):
        low, high = high, 2 * high
    while high - low > tolerance * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low

"""Exact tests of both error rates together, against curves that grow louder step by step.

`Regions` are the (epsilon, delta) regions; a `Family` of mechanisms is ordered likewise. Either is
searched for the loudest curve that the counts of one or more thresholds reject, in one order of
counts for the whole search (see `count_ordering` and `ladder`), which is also that of p-values.

Assumes independent trials and thresholds whose values or ranks were fixed beforehand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from cropaudit.estimators.bound import Validity
from cropaudit.estimators.evidence import Counts, Found
from cropaudit.estimators.null import Null
from cropaudit.estimators.search import last_epsilon
from cropaudit.estimators.trials.count_ordering import CountOrdering, count_ordering
from cropaudit.estimators.trials.family import Rejected
from cropaudit.estimators.trials.ladder import extreme, joint_p_value
from cropaudit.estimators.trials.rate_test import TradeOff, approximate_dp, loudest_of, p_value

__all__ = ["Curves", "JointTest", "Regions", "counts_p_value", "counts_rejected"]

_GRID = 100  # steps of epsilon 1 on which thresholds are compared


class Curves(Protocol):
    """Trade-off curves from quiet to loud, the worlds being in one order."""

    def loudest_rejected(self, rejects: Callable[[TradeOff], bool]) -> Rejected:
        """Returns the loudest curve that is rejected."""

    def curve_of(self, found: Rejected) -> TradeOff:
        """Returns the curve of what was found; the quietest of all where none is rejected."""

    def limits(self) -> tuple[TradeOff, ...]:
        """Returns what no curve exceeds; none if there is no such limit."""


@dataclass(frozen=True)
class Regions:
    """The curves that (epsilon, delta)-DP allows, by epsilon.

    Attributes:
        delta: Of all of them.
    """

    delta: float

    def loudest_rejected(self, rejects: Callable[[TradeOff], bool]) -> Rejected:
        """Returns the largest epsilon whose region is rejected, at least 0."""
        epsilon = last_epsilon(lambda tried: rejects(approximate_dp(tried, self.delta)))
        return Rejected(epsilon, epsilon)

    def curve_of(self, found: Rejected) -> TradeOff:
        """Returns the region of what was found."""
        return approximate_dp(found.epsilon, self.delta)

    def limits(self) -> tuple[TradeOff, ...]:
        """Returns nothing: regions are as loud as may be."""
        return ()

    def best(self, tests: Sequence[Counts], level: float) -> int:
        """Returns which of several tests rejects the largest epsilon, on a grid of hundredths."""
        span = -1, 20 * _GRID
        curves = lambda index: [approximate_dp(index / _GRID, self.delta)]  # noqa: E731
        return loudest_of(tests, curves, span, level)[0]


def counts_rejected(tests: Sequence[Counts], curves: Curves, level: float) -> Rejected:
    """Returns the loudest curve that one threshold, or several ranks together, reject."""
    if len(tests) == 1:
        order = _order(tests[0], curves, level)
        return curves.loudest_rejected(lambda c: p_value(tests[0], c, level, order) <= level)
    alone = _alone(tests, curves, level)
    if alone.outside:
        return alone
    needed = extreme(tests, curves.curve_of(alone), level)
    return curves.loudest_rejected(lambda curve: joint_p_value(needed, curve) <= level)


def counts_p_value(
    tests: Sequence[Counts], curves: Curves, allowed: TradeOff, level: float
) -> float:
    """Returns the p-value of a curve, counts being ordered as in the search at ``level``."""
    if len(tests) == 1:
        return p_value(tests[0], allowed, level, _order(tests[0], curves, level))
    needed = extreme(tests, curves.curve_of(_alone(tests, curves, level)), level)
    return joint_p_value(needed, allowed)


def _alone(tests: Sequence[Counts], curves: Curves, level: float) -> Rejected:
    """Returns the loudest curve that some rank rejects at its share of the level."""
    share = level / len(tests)
    return curves.loudest_rejected(lambda c: any(p_value(t, c, share) <= share for t in tests))


def _order(counts: Counts, curves: Curves, level: float) -> CountOrdering | None:
    """Returns one order of counts for all curves; a ranked test needs none."""
    if counts.ranked:
        return None
    limit = next(iter(curves.limits()), None)

    def within(curve: TradeOff) -> TradeOff:
        """The curves of a family's loudest members are coarse, and may lie above the limit."""
        return curve if limit is None else lambda fpr: np.minimum(curve(fpr), limit(fpr))

    def loudest(holds: Callable[[TradeOff], bool]) -> TradeOff:
        found = curves.loudest_rejected(lambda curve: holds(within(curve)))
        return within(curves.curve_of(found))

    return count_ordering(counts, level, loudest, limit)


@dataclass(frozen=True)
class JointTest:
    """The largest epsilon whose (epsilon, delta) region the counts reject."""

    name: ClassVar[str] = "joint-test"
    validity: ClassVar[Validity] = "exact"
    assumes: ClassVar[str] = (
        "independent trials in each world, a threshold or its rank fixed without these scores"
    )
    together: ClassVar[bool] = True

    def found(self, tests: Sequence[Counts], delta: float, level: float) -> Found:
        """Returns the bound, by bisection from below."""
        return Found(counts_rejected(tests, Regions(delta), level).epsilon)

    def p_value(self, tests: Sequence[Counts], null: Null, level: float) -> float:
        """Returns the p-value of a null, in the order of the bound."""
        regions = Regions(null.delta)
        return max(counts_p_value(tests, regions, curve, level) for curve in null.curves)

    def best(self, tests: Sequence[Counts], delta: float, level: float) -> int:
        """Returns which of several tests rejects the largest epsilon."""
        return Regions(delta).best(tests, level)

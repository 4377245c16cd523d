"""Evidence that can be held against any trade-off curve: what a game measured, and at which level.

A curve is rejected where the measurement is impossible, at its level, for every test that the curve
allows. Two hypotheses about which world is which need both to be rejected.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.rank_sum import RankSum
from cropaudit.audit.estimators.rate_test import TradeOff, p_value

__all__ = ["CountsTest", "CurveTest", "RankSumTest"]


class CurveTest(Protocol):
    """A measurement with a level."""

    @property
    def level(self) -> float:
        """Probability, at most, that a true curve is rejected."""

    @property
    def words(self) -> str:
        """What was measured."""

    def rejects(self, curves: Sequence[TradeOff]) -> bool:
        """Whether each of several curves is rejected."""


@dataclass(frozen=True)
class CountsTest:
    """One threshold.

    Attributes:
        counts: What was counted.
        level: Of the test.
    """

    counts: Counts
    level: float

    @property
    def words(self) -> str:
        """What was measured."""
        seen = self.counts
        return (
            f"{seen.hits} of {seen.members} true positives at {seen.alarms} of {seen.nonmembers} "
            "false ones"
        )

    def rejects(self, curves: Sequence[TradeOff]) -> bool:
        """Whether each of several curves is rejected."""
        return all(p_value(self.counts, curve, self.level) <= self.level for curve in curves)


@dataclass(frozen=True, eq=False)
class RankSumTest:
    """A whole ROC.

    Attributes:
        test: Ranks and weights, fixed beforehand.
        statistic: Weighted hits above the ranks.
        level: Of the test.
    """

    test: RankSum
    statistic: float
    level: float

    @property
    def words(self) -> str:
        """What was measured."""
        return f"the ROC over {len(self.test.ranks)} fixed ranks"

    def rejects(self, curves: Sequence[TradeOff]) -> bool:
        """Whether each of several curves is rejected."""
        return all(self.test.rejects(self.statistic, curve, self.level) for curve in curves)

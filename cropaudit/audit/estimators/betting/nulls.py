"""What is bet against, and what is decided before the first game."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.curves import ComposedLoss
from cropaudit.errors import require

__all__ = ["Bets", "Null"]

Array = NDArray[np.float64]

_TOUCHED = np.concatenate([np.geomspace(1e-9, 0.5, 200), 1 - np.geomspace(0.49, 1e-6, 120)])
_STEEPEST = 700.0  # log slope of a line


@dataclass(frozen=True, eq=False)
class Null:
    """A set of lines that no test's rates exceed if the null is true.

    Attributes:
        epsilon: What is known to be exceeded once the null is rejected.
        slopes: Of the lines, shape (m,).
        intercepts: Their true positive rates at a false positive rate of zero, shape (m,).
    """

    epsilon: float
    slopes: Array
    intercepts: Array

    @classmethod
    def region(cls, epsilon: float, delta: float) -> "Null":
        """Returns (epsilon, delta)-DP, whatever the mechanism (Kairouz et al., 1311.0776).

        Raises:
            InputError: If epsilon is negative or infinite, or delta is not in [0, 1].
        """
        require(0 <= epsilon < math.inf, "epsilon", "at least 0 and finite", epsilon)
        require(0 <= delta <= 1, "delta", "in [0, 1]", delta)
        slopes = np.exp(np.array([epsilon, -epsilon]))
        return cls(epsilon, slopes, np.array([delta, 1 - slopes[1] * (1 - delta)]))

    @classmethod
    def under(cls, loss: ComposedLoss, epsilon: float) -> "Null":
        """Returns the trade-off curve of a composed loss, world A being its P, by its tangents.

        Args:
            loss: An upper bound; that of a curve's other part is a null of its own.
            epsilon: What is known to be exceeded once the curve is rejected.
        """
        at = np.searchsorted(-loss.log_upper_q[:-1], -np.log(_TOUCHED))
        losses = np.unique(np.append(loss.losses[np.minimum(at, len(loss.losses) - 1)], 0.0))
        losses = losses[losses < _STEEPEST]
        first = np.searchsorted(loss.losses, losses, side="right")
        cost = np.exp(np.minimum(losses + loss.log_upper_q[first], _STEEPEST))
        trivial = np.maximum(0.0, -np.expm1(np.minimum(losses, 0.0)))
        return cls(epsilon, np.exp(losses), np.clip(loss.upper_p[first] - cost, trivial, 1.0))

    def touching(self, fpr: Array) -> tuple[Array, Array]:
        """Returns slope and intercept of the lowest line at false positive rates, shape (k,)."""
        heights = self.slopes[:, None] * fpr + self.intercepts[:, None]
        lowest = np.argmin(heights, axis=0)
        return self.slopes[lowest], self.intercepts[lowest]


@dataclass(frozen=True)
class Bets:
    """What is decided before the first game.

    Attributes:
        rates: False positive rates at which the thresholds are meant to stand, falling.
        thresholds: Scores that a member should exceed, one for each rate, not falling; none if
            they are learned: then each is a quantile of the nonmember scores of earlier pairs, and
            is bet on once they are enough to tell it.
        horizons: Numbers of pairs for which the stakes are made; one alternative for each.

    Raises:
        InputError: If the rates or thresholds are not in order, or a horizon is not positive.
    """

    rates: tuple[float, ...] = (0.9, 0.7, 0.45, 0.2, 0.07, 0.02, 0.006, 0.002, 0.0006, 0.0002)
    thresholds: tuple[float, ...] | None = None
    horizons: tuple[int, ...] = (100, 1_000, 10_000, 100_000)

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.rates, (*self.rates[1:], 0.0), strict=True))
        legal = bool(self.rates) and falling and self.rates[0] < 1
        require(legal, "rates", "falling within (0, 1)", self.rates)
        horizons = bool(self.horizons) and min(self.horizons) >= 1
        require(horizons, "horizons", "at least one, each at least 1", self.horizons)
        if self.thresholds is not None:
            many = len(self.thresholds) == len(self.rates)
            rising = many and bool(np.all(np.diff(self.thresholds) >= 0))
            require(rising, "thresholds", "not falling, one for each rate", self.thresholds)

    def available(self, pairs: int) -> int:
        """Returns how many thresholds so many nonmember scores tell."""
        return int(np.sum(np.asarray(self.rates) * (pairs + 1) >= 1))

    def cuts(self, nonmember: Array) -> Array:
        """Returns the thresholds that nonmember scores tell, rising.

        A fresh score exceeds the r-th highest of n earlier ones with probability r / (n + 1), or
        less if there are ties.
        """
        rates = np.asarray(self.rates[: self.available(len(nonmember))])
        ranks = np.clip(np.rint(rates * (len(nonmember) + 1)), 1, len(nonmember)).astype(int)
        return np.asarray(np.sort(nonmember)[len(nonmember) - ranks])

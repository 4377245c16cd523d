"""What is bet against: lines that no test exceeds; and where thresholds are meant to stand."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.privacy_loss.curves import ComposedLoss
from cropaudit.errors import require

__all__ = ["RATES", "Lines", "available", "cuts"]

Array = NDArray[np.float64]

RATES = np.array([0.9, 0.7, 0.45, 0.2, 0.07, 0.02, 0.006, 0.002, 0.0006, 0.0002])
"""False positive rates at which the thresholds are meant to stand, falling."""
_TOUCHED = np.concatenate([np.geomspace(1e-9, 0.5, 200), 1 - np.geomspace(0.49, 1e-6, 120)])
_STEEPEST = 700.0  # log slope of a line


@dataclass(frozen=True, eq=False)
class Lines:
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
    def region(cls, epsilon: float, delta: float) -> "Lines":
        """Returns (epsilon, delta)-DP, whatever the mechanism (Kairouz et al., 1311.0776).

        Raises:
            InputError: If epsilon is negative or infinite, or delta is not in [0, 1].
        """
        require(0 <= epsilon < math.inf, "epsilon", "at least 0 and finite", epsilon)
        require(0 <= delta <= 1, "delta", "in [0, 1]", delta)
        slopes = np.exp(np.array([epsilon, -epsilon]))
        return cls(epsilon, slopes, np.array([delta, 1 - slopes[1] * (1 - delta)]))

    @classmethod
    def under(cls, loss: ComposedLoss, epsilon: float) -> "Lines":
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


def available(pairs: int) -> int:
    """Returns how many thresholds so many nonmember scores tell."""
    return int(np.sum(RATES * (pairs + 1) >= 1))


def cuts(nonmember: Array) -> Array:
    """Returns the thresholds that nonmember scores tell, rising.

    A fresh score exceeds the r-th highest of n earlier ones with probability r / (n + 1), or less
    if there are ties.
    """
    rates = RATES[: available(len(nonmember))]
    ranks = np.clip(np.rint(rates * (len(nonmember) + 1)), 1, len(nonmember)).astype(int)
    return np.asarray(np.sort(nonmember)[len(nonmember) - ranks])

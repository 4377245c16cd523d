"""A null hypothesis: what a claim allows, held against scores by every test alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.privacy_loss.curves import ComposedLoss, PrivacyCurve

__all__ = ["Null", "TradeOff", "approximate_dp"]

Array = NDArray[np.float64]
TradeOff = Callable[[Array], Array]
"""Largest true positive rates at an array of false positive rates: increasing and concave."""


def approximate_dp(epsilon: float, delta: float) -> TradeOff:
    """Returns what (epsilon, delta)-DP allows: min(e^eps b + delta, 1 - e^-eps (1 - delta - b)).

    Wasserman and Zhou 2010 (0811.2501); Kairouz, Oh and Viswanath 2015 (1311.0776).
    """

    def allowed(fpr: Array) -> Array:
        with np.errstate(over="ignore"):
            steep = np.exp(epsilon + np.log(np.maximum(fpr, 1e-300))) + delta
        flat = 1 - np.exp(-epsilon) * np.maximum(1 - delta - fpr, 0.0)
        return np.asarray(np.minimum(np.minimum(steep, flat), 1.0))

    return allowed


@dataclass(frozen=True, eq=False)
class Null:
    """One of several trade-off curves is true; all of them must be rejected.

    Attributes:
        epsilon: What the claim allows at ``delta``, for tests that know no curves.
        delta: See above.
        curves: One for each order of the worlds that may be true.
        losses: The same as composed losses, world A being the P of each; none for a region.
    """

    epsilon: float
    delta: float
    curves: tuple[TradeOff, ...]
    losses: Sequence[ComposedLoss] = ()

    @classmethod
    def region(cls, epsilon: float, delta: float) -> "Null":
        """Returns (epsilon, delta)-DP, whatever the mechanism."""
        return cls(epsilon, delta, (approximate_dp(epsilon, delta),))

    @classmethod
    def of(cls, curve: PrivacyCurve, epsilon: float, delta: float) -> "Null":
        """Returns a claimed curve, in either order of the worlds."""
        return cls(epsilon, delta, tuple(curve.trade_offs()), tuple(curve.parts))

"""Composed privacy losses and the questions one asks of them: epsilon, delta, trade-off.

A `ComposedLoss` holds the discrete privacy loss of a pessimistic pair: answers about epsilon and
delta are upper bounds, and the trade-off region is a superset of the true one. A `PrivacyCurve` is
the worst of several, for relations whose two directions are composed apart.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import require

__all__ = ["ComposedLoss", "PrivacyCurve"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ComposedLoss:
    """A privacy loss on an even grid.

    Attributes:
        discretization: Grid width.
        lower: Index of the first loss; losses are (lower + i) * discretization.
        probs: Probabilities under P.
        infinity: Probability under P of an infinite loss.
        slack: Zero for an upper bound. For a loss that is dominated, how much its profile may
            still lie above the truth; answers about epsilon and delta then are lower bounds.
    """

    discretization: float
    lower: int
    probs: Array = field(repr=False)
    infinity: float
    slack: float = 0.0

    @property
    def start(self) -> float:
        """The first loss."""
        return self.lower * self.discretization

    @cached_property
    def losses(self) -> Array:
        """The grid of losses, increasing."""
        return np.arange(len(self.probs), dtype=np.float64) * self.discretization + self.start

    @cached_property
    def upper_p(self) -> Array:
        """P[loss >= losses[i]], with P[loss = infinity] appended."""
        return np.append(np.cumsum(self.probs[::-1])[::-1] + self.infinity, self.infinity)

    @cached_property
    def log_upper_q(self) -> Array:
        """Log of Q[loss >= losses[i]], with -infinity appended: losses reach hundreds."""
        with np.errstate(divide="ignore"):
            logs = np.log(self.probs) - self.losses
        return np.append(np.logaddexp.accumulate(logs[::-1])[::-1], -np.inf)

    def delta(self, epsilon: float) -> float:
        """Returns the hockey-stick divergence at ``epsilon``."""
        first = int(np.searchsorted(self.losses, epsilon, side="right"))
        cost = math.exp(min(epsilon + float(self.log_upper_q[first]), 700.0))
        return min(1.0, max(0.0, float(self.upper_p[first]) - cost - self.slack))

    def epsilon(self, delta: float) -> float:
        """Returns the smallest epsilon >= 0 whose divergence is at most ``delta``, maybe inf."""
        delta += self.slack
        if self.infinity > delta:
            return math.inf
        with np.errstate(over="ignore"):
            at_loss = self.upper_p[1:] - np.exp(self.losses + self.log_upper_q[1:])
        # The divergence falls as epsilon grows: the answer lies at or before the first loss with
        # divergence at most delta, on the segment where exactly the losses from there on count.
        first = int(np.argmax(at_loss <= delta))
        excess = float(self.upper_p[first]) - delta
        if excess <= 0:
            return 0.0
        return max(0.0, math.log(excess) - float(self.log_upper_q[first]))

    def highest_tpr(self, fpr: Array) -> Array:
        """Returns the largest true positive rate at a false positive rate: 1 - f(fpr).

        Args:
            fpr: False positive rates in [0, 1], any shape.
        """
        x = np.concatenate([[0.0], np.exp(np.minimum(self.log_upper_q[::-1], 0.0)), [1.0]])
        y = np.concatenate([[self.infinity], self.upper_p[::-1], [1.0]])
        return np.asarray(np.interp(fpr, x, np.minimum(y, 1.0)))

    def highest_tpr_log(self, log_fpr: Array) -> Array:
        """Returns the same at the logs of false positive rates, which may be below e^-700."""
        x, y = self.log_upper_q[::-1], np.minimum(self.upper_p[::-1], 1.0)
        right = np.clip(np.searchsorted(x, log_fpr, side="left"), 1, len(x) - 1)
        low, high = x[right - 1], np.minimum(x[right], 0.0)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            # (e^l - e^low) / (e^high - e^low); the first segment begins at a rate of zero.
            share = np.exp(log_fpr - high) * np.expm1(low - log_fpr) / np.expm1(low - high)
        share = np.where(log_fpr == -np.inf, 0.0, np.clip(share, 0.0, 1.0))
        share = np.where(log_fpr >= high, 1.0, share)
        found = y[right - 1] + (y[right] - y[right - 1]) * share
        return np.where(log_fpr > x[-1], 1.0, found)


@dataclass(frozen=True, eq=False)
class PrivacyCurve:
    """The worst of several composed losses."""

    parts: Sequence[ComposedLoss]

    def delta(self, epsilon: float) -> float:
        """Returns the largest divergence at ``epsilon``."""
        return max(part.delta(epsilon) for part in self.parts)

    def epsilon(self, delta: float) -> float:
        """Returns the smallest epsilon that holds for every part.

        Raises:
            InputError: If delta is not in (0, 1).
        """
        require(0 < delta < 1, "delta", "in (0, 1)", delta)
        return max(part.epsilon(delta) for part in self.parts)

    def highest_tpr(self, fpr: Array) -> Array:
        """Returns the largest true positive rate that any part allows."""
        return np.asarray(np.max([part.highest_tpr(fpr) for part in self.parts], axis=0))

    def highest_tpr_log(self, log_fpr: Array) -> Array:
        """Returns the same at the logs of false positive rates."""
        found = [part.highest_tpr_log(log_fpr) for part in self.parts]
        return np.asarray(np.max(found, axis=0))

    def trade_offs(self) -> list[Callable[[Array], Array]]:
        """Returns what each part allows: true positive rates by false positive rates."""
        return [part.highest_tpr for part in self.parts]

    def rejects(self, fpr_upper: float, fnr_upper: float) -> bool:
        """Whether rates at most these contradict the curve: no test under it does as well."""
        return 1.0 - fnr_upper > float(self.highest_tpr(np.array(fpr_upper)))

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

_BLOCK = 600.0  # no exponential of more than this is taken
_LAST_DIGITS = 1e-14  # relative rounding of a loss and its logarithm


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
        offset: What is added to every loss.
    """

    discretization: float
    lower: int
    probs: Array = field(repr=False)
    infinity: float
    slack: float = 0.0
    offset: float = 0.0

    @property
    def start(self) -> float:
        """The first loss."""
        return self.lower * self.discretization + self.offset

    @cached_property
    def losses(self) -> Array:
        """The grid of losses, increasing."""
        return np.arange(len(self.probs), dtype=np.float64) * self.discretization + self.start

    @cached_property
    def upper_p(self) -> Array:
        """P[loss >= losses[i]], with P[loss = infinity] appended."""
        sums = np.cumsum(self.probs[::-1])[::-1] + self.infinity
        return np.append(sums * self._safe, self.infinity)

    @cached_property
    def log_upper_q(self) -> Array:
        """Log of Q[loss >= losses[i]], with -infinity appended: losses reach hundreds."""
        with np.errstate(divide="ignore"):
            logs = np.log(self._costs / self._safe) - self.losses
        return np.append(logs, -np.inf)

    @cached_property
    def _safe(self) -> float:
        """Factor on the safe side of all rounding below: sums of what is not negative.

        An exponential loses as many roundoffs as its exponent; beyond two blocks it is zero.
        """
        cells = len(self.probs) - 1
        sums = 4 * cells + 8 * min(_BLOCK, cells * self.discretization)
        error = float(np.finfo(np.float64).eps) * sums
        return 1 - error if self.slack > 0 else 1 + error

    @cached_property
    def _costs(self) -> Array:
        """e^losses[i] times Q[loss >= losses[i]], which is sum_j>=i probs[j] e^-(j-i) width.

        In blocks within which no exponential overflows; nothing is ever subtracted.
        """
        size, width = len(self.probs), self.discretization
        block = min(max(int(_BLOCK / width), 1), size)
        count = -(-size // block)
        falling = np.zeros(count * block)
        falling[:size] = self.probs[::-1]
        powers = np.arange(block) * width
        rows = falling.reshape(count, block)
        inner = np.cumsum(rows * np.exp(powers), axis=1) * np.exp(-powers)
        carried, decay = np.zeros(count), math.exp(-block * width)
        for row in range(1, count):
            carried[row] = inner[row - 1, -1] + decay * carried[row - 1]
        inner += carried[:, None] * np.exp(-powers - width)
        return np.asarray(inner.ravel()[:size][::-1])

    @cached_property
    def _deltas(self) -> Array:
        """The divergence at every loss: a sum of falls from one loss to the next."""
        falls = self._costs[1:] * -math.expm1(-self.discretization)
        return np.append(np.cumsum(falls[::-1])[::-1], 0.0) + self.infinity

    def delta(self, epsilon: float) -> float:
        """Returns the hockey-stick divergence at ``epsilon``."""
        first = int(np.searchsorted(self.losses, epsilon, side="right"))
        found = self.infinity
        if first < len(self.probs):
            gap = float(self.losses[first]) - epsilon
            found = float(self._deltas[first]) - float(self._costs[first]) * math.expm1(-gap)
        return min(1.0, max(0.0, found * self._safe - self.slack))

    def epsilon(self, delta: float) -> float:
        """Returns the smallest epsilon >= 0 whose divergence is at most ``delta``, maybe inf."""
        wanted = (delta + self.slack) / self._safe
        if self.infinity > wanted:
            return math.inf
        # The divergence falls as epsilon grows: the answer lies at or before the first loss with
        # divergence at most delta, on the segment where exactly the losses from there on count.
        first = int(np.argmax(self._deltas <= wanted))
        cost, excess = float(self._costs[first]), wanted - float(self._deltas[first])
        if excess >= cost:
            return 0.0
        found = float(self.losses[first]) + math.log1p(-excess / cost)
        return max(0.0, found + math.copysign(_LAST_DIGITS, self._safe - 1) * abs(found))

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

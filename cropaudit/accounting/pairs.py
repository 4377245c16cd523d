"""One DP-SGD step as a pair of Gaussian mixtures, in units of the clipping norm.

A clipped gradient projects on the worst direction into [-1, 1]; what an image can add to the noisy
sum is -1, 0 or +1 there. A step is therefore a pair (P, Q) of mixtures of N(-1, s^2), N(0, s^2) and
N(+1, s^2), whose likelihood ratio P/Q increases. With y = exp(x / s^2), k = exp(-1 / (2 s^2)) and
a_j = P_j - e^eps Q_j, the hockey-stick divergence is attained above the root of
a_1 k y^2 + a_0 y + a_-1 k = 0 (the quadratic of the closed form for Poisson sampling with crops).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from cropaudit.errors import require

__all__ = ["StepPair", "Weights"]

Weights = tuple[float, float, float]
Array = NDArray[np.float64]

_MEANS = np.array([-1.0, 0.0, 1.0])


@dataclass(frozen=True)
class StepPair:
    """Two mixtures over the means -1, 0, +1 with one deviation.

    Attributes:
        p: Weights of P on the means -1, 0, +1; they add to one.
        q: Weights of Q.
        sigma: Noise multiplier.

    Raises:
        InputError: If sigma is not positive and finite, the weights are no distributions, or P/Q is
            not increasing (then the closed form would not hold).
    """

    p: Weights
    q: Weights
    sigma: float

    def __post_init__(self) -> None:
        require(0 < self.sigma < np.inf, "noise multiplier", "positive and finite", self.sigma)
        for weights in (self.p, self.q):
            legal = min(weights) >= 0 and abs(sum(weights) - 1) < 1e-9
            require(legal, "mixture weights", "non-negative with sum 1", weights)
        crossed = [
            self.p[i] * self.q[j] > self.p[j] * self.q[i] * (1 + 1e-12)
            for i in range(3)
            for j in range(i + 1, 3)
        ]
        require(not any(crossed), "mixture weights", "of increasing ratio P/Q", (self.p, self.q))

    def mirrored(self) -> "StepPair":
        """Returns (Q, P) with the axis reversed, so that its ratio increases again."""
        return StepPair(self.q[::-1], self.p[::-1], self.sigma)

    def log_ratio(self, x: Array) -> Array:
        """Returns ln P(x)/Q(x): the privacy loss, and the best score of one step.

        Args:
            x: Observations in units of the clipping norm, any shape.
        """
        return _log_mixture(self.p, x, self.sigma) - _log_mixture(self.q, x, self.sigma)

    def delta(self, epsilon: Array) -> Array:
        """Returns the hockey-stick divergence sup_A P(A) - e^epsilon Q(A), any real epsilon."""
        epsilon = np.asarray(epsilon, dtype=np.float64)
        cut = self._threshold(epsilon)
        tails = log_ndtr((_MEANS - cut[..., None]) / self.sigma)
        with np.errstate(divide="ignore"):
            log_q = np.log(np.asarray(self.q))
        gain = np.exp(tails) @ np.asarray(self.p)
        cost = np.exp(tails + log_q + epsilon[..., None]).sum(axis=-1)
        trivial = np.maximum(0.0, -np.expm1(np.minimum(epsilon, 0.0)))
        return np.asarray(np.clip(gain - cost, trivial, 1.0))

    def quantile_range(self, tail: float) -> tuple[float, float]:
        """Returns the losses outside of which lies at most ``tail`` of P, on each side."""
        reach = 1 + self.sigma * np.sqrt(2 * np.log(1 / tail))
        low, high = self.log_ratio(np.array([-reach, reach]))
        return float(low), float(high)

    def _threshold(self, epsilon: Array) -> Array:
        """Returns the x above which P exceeds e^epsilon Q; -inf or inf where it always, never does.

        With y = v / k the equation is a_1 v^2 + a_0 v + a_-1 k^2 = 0. Each sign of a_0 takes the
        form of the positive root that does not cancel. All in logs: k^2 may underflow.
        """
        beyond = np.maximum(epsilon - 600, 0.0)  # e^-epsilon would vanish, and a_1 with it
        scale = np.exp(beyond - np.maximum(epsilon, 0.0))  # keeps e^epsilon finite
        odds = np.exp(np.minimum(epsilon, 0.0))
        low, mid, high = (p * scale - odds * q for p, q in zip(self.p, self.q, strict=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            log_k2 = -1 / self.sigma**2
            log_low, log_mid, log_high = np.log(-low), np.log(np.abs(mid)), np.log(high) - beyond
            log_root = np.logaddexp(2 * log_mid, np.log(4) + log_high + log_low + log_k2) / 2
            log_sum = np.logaddexp(log_root, log_mid)
            falling = log_sum - np.log(2) - log_high
            rising = np.log(2) + log_low + log_k2 - log_sum
        cut = self.sigma**2 * np.where(mid < 0, falling, rising) + 0.5
        never = np.maximum(np.maximum(low, mid), high) <= 0
        always = np.minimum(np.minimum(low, mid), high) >= 0
        return np.where(never, np.inf, np.where(always, -np.inf, cut))

    def masses_above(self, x: Array) -> tuple[Array, Array]:
        """Returns P[X > x] and Q[X > x]."""
        tails = ndtr((_MEANS - np.asarray(x)[..., None]) / self.sigma)
        return tails @ np.asarray(self.p), tails @ np.asarray(self.q)


def _log_mixture(weights: Weights, x: Array, sigma: float) -> Array:
    """Returns the log density up to the constant that both mixtures share."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(weights))
    x = np.asarray(x, dtype=np.float64)[..., None]
    terms = logs - (x - _MEANS) ** 2 / (2 * sigma**2)
    top = terms.max(axis=-1, keepdims=True)
    return np.asarray((top + np.log(np.exp(terms - top).sum(axis=-1, keepdims=True)))[..., 0])

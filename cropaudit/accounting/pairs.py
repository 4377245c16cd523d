"""One DP-SGD step as a pair of Gaussian mixtures, in units of the clipping norm.

A clipped gradient projects on the worst direction into [-1, 1]; what an image can add to the noisy
sum is -1, 0 or +1 there. A step is therefore a pair (P, Q) of mixtures of N(-1, s^2), N(0, s^2) and
N(+1, s^2), whose likelihood ratio P/Q increases. With y = exp(x / s^2), k = exp(-1 / (2 s^2)) and
a_j = P_j - e^eps Q_j, the hockey-stick divergence is attained above the root of
a_1 k y^2 + a_0 y + a_-1 k = 0 (the quadratic of the closed form for Poisson sampling with crops).
Without noise the worlds are the means themselves (`atoms`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from cropaudit.accounting.atoms import Atoms
from cropaudit.errors import require

__all__ = ["MixturePair", "StepPair", "Weights", "require_mixture", "require_noise"]

Weights = tuple[float, float, float]
Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_MEANS = np.array([-1.0, 0.0, 1.0])
_AXIS = 4001  # points on which a loss that rises and falls is followed
# Between, losses and their squares are numbers; a deviation below is that of no training.
_LEAST_NOISE, _MOST_NOISE = 1e-4, 1e9


@dataclass(frozen=True)
class StepPair:
    """Two mixtures over the means -1, 0, +1 with one deviation.

    Attributes:
        p: Weights of P on the means -1, 0, +1; they add to one.
        q: Weights of Q.
        sigma: Noise multiplier; 0 for none.

    Raises:
        InputError: If sigma is out of range, the weights are no distributions, or P/Q is not
            increasing (then the closed form would not hold).
    """

    p: Weights
    q: Weights
    sigma: float

    def __post_init__(self) -> None:
        require_mixture(self.sigma, self.p, self.q)
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
        if self.sigma == 0:
            return self._atoms().log_ratio(x)
        return _log_ratio(self.p, self.q, _MEANS, self.sigma, x)

    def sample(self, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draws observations of one step.

        Args:
            size: How many of each world.
            rng: Source of randomness.

        Returns:
            Those of world A (P) and of world B (Q), each of shape (size,).
        """
        return _samples(self.p, self.q, _MEANS, self.sigma, size, rng)

    def delta(self, epsilon: Array) -> Array:
        """Returns the hockey-stick divergence sup_A P(A) - e^epsilon Q(A), any real epsilon."""
        epsilon = np.asarray(epsilon, dtype=np.float64)
        if self.sigma == 0:
            return self._atoms().delta(epsilon)
        cut = self._threshold(epsilon)
        gain = np.exp(log_ndtr((_MEANS - cut[..., None]) / self.sigma)) @ np.asarray(self.p)
        cost = self._cost(epsilon, cut)
        trivial = np.maximum(0.0, -np.expm1(np.minimum(epsilon, 0.0)))
        return np.asarray(np.clip(gain - cost, trivial, 1.0))

    def slope(self, epsilon: Array) -> Array:
        """Returns -d delta / d epsilon: e^epsilon times Q's mass of the test that attains delta."""
        epsilon = np.asarray(epsilon, dtype=np.float64)
        if self.sigma == 0:
            return self._atoms().slope(epsilon)
        return self._cost(epsilon, self._threshold(epsilon))

    def infinity(self) -> float:
        """Returns the probability under P of an infinite loss, which any noise hides."""
        return self._atoms().infinity if self.sigma == 0 else 0.0

    def quantile_range(self, tail: float) -> tuple[float, float]:
        """Returns finite losses outside of which lies at most ``tail`` of P, on each side."""
        if self.sigma == 0:
            return self._atoms().reach()
        reach = 1 + self.sigma * np.sqrt(2 * np.log(1 / tail))
        low, high = self.log_ratio(np.array([-reach, reach]))
        return float(low), float(high)

    def _atoms(self) -> Atoms:
        return Atoms.of(_MEANS.tolist(), self.p, self.q)

    def _cost(self, epsilon: Array, cut: Array) -> Array:
        tails = log_ndtr((_MEANS - cut[..., None]) / self.sigma)
        with np.errstate(divide="ignore"):
            log_q = np.log(np.asarray(self.q))
        return np.asarray(np.exp(tails + log_q + epsilon[..., None]).sum(axis=-1))

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
        if self.sigma == 0:
            above = (np.asarray(x)[..., None] < _MEANS).astype(np.float64)
            return above @ np.asarray(self.p), above @ np.asarray(self.q)
        tails = ndtr((_MEANS - np.asarray(x)[..., None]) / self.sigma)
        return tails @ np.asarray(self.p), tails @ np.asarray(self.q)


def require_mixture(sigma: float, *worlds: Sequence[float]) -> None:
    """Refuses noise out of range, and weights that are no distribution.

    Raises:
        InputError: If sigma is out of range or the weights of a world are illegal.
    """
    require_noise(sigma)
    for weights in worlds:
        legal = min(weights) >= 0 and abs(sum(weights) - 1) < 1e-9
        require(legal, "mixture weights", "non-negative with sum 1", weights)


def require_noise(sigma: float) -> None:
    """Refuses a noise multiplier whose losses are no numbers.

    Raises:
        InputError: If it is neither 0 nor in the range.
    """
    legal = sigma == 0 or _LEAST_NOISE <= sigma <= _MOST_NOISE
    words = f"0 for none, or from {_LEAST_NOISE:g} to {_MOST_NOISE:g}"
    require(legal, "noise multiplier", words, sigma)


def _log_ratio(
    p: tuple[float, ...], q: tuple[float, ...], means: Array, sigma: float, x: Array
) -> Array:
    return _log_density(p, means, x, sigma) - _log_density(q, means, x, sigma)


def _log_density(weights: tuple[float, ...], means: Array, x: Array, sigma: float) -> Array:
    """Returns the log density up to the constant that both mixtures share."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(weights))
    x = np.asarray(x, dtype=np.float64)[..., None]
    terms = logs - (x - means) ** 2 / (2 * sigma**2)
    top = terms.max(axis=-1, keepdims=True)
    return np.asarray((top + np.log(np.exp(terms - top).sum(axis=-1, keepdims=True)))[..., 0])


@dataclass(frozen=True)
class MixturePair:
    """Two Gaussian mixtures over any means with one deviation; P/Q may rise and fall.

    Attributes:
        means: The means, in units of the clipping norm.
        p: Weights of P.
        q: Weights of Q.
        sigma: Noise multiplier; 0 for none.
    """

    means: tuple[float, ...]
    p: tuple[float, ...]
    q: tuple[float, ...]
    sigma: float

    def __post_init__(self) -> None:
        require_mixture(self.sigma, self.p, self.q)

    def mirrored(self) -> "MixturePair":
        """Returns (Q, P)."""
        return MixturePair(self.means, self.q, self.p, self.sigma)

    def log_ratio(self, x: Array) -> Array:
        """Returns ln P(x)/Q(x); see `StepPair.log_ratio`."""
        if self.sigma == 0:
            return self._atoms().log_ratio(x)
        return _log_ratio(self.p, self.q, np.asarray(self.means), self.sigma, x)

    def sample(self, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draws ``size`` observations of either world; see `StepPair.sample`."""
        return _samples(self.p, self.q, np.asarray(self.means), self.sigma, size, rng)

    def delta(self, epsilon: Array) -> Array:
        """Returns the hockey-stick divergence at any epsilon >= 0."""
        if self.sigma == 0:
            return self._atoms().delta(epsilon)
        gain, cost = self._best_test(epsilon)
        return np.asarray(np.clip(gain - cost, 0.0, 1.0))

    def slope(self, epsilon: Array) -> Array:
        """Returns -d delta / d epsilon: e^epsilon times Q's mass of the test that attains delta."""
        return self._atoms().slope(epsilon) if self.sigma == 0 else self._best_test(epsilon)[1]

    def infinity(self) -> float:
        """Returns the probability under P of an infinite loss; see `StepPair.infinity`."""
        return self._atoms().infinity if self.sigma == 0 else 0.0

    def quantile_range(self, tail: float) -> tuple[float, float]:
        """Returns finite losses outside of which lies at most ``tail`` of P, on each side."""
        if self.sigma == 0:
            return self._atoms().reach()
        away = self.sigma * np.sqrt(2 * np.log(1 / tail))
        loss = self.log_ratio(self._axis(away))
        return float(loss.min()), float(loss.max())

    def _atoms(self) -> Atoms:
        return Atoms.of(self.means, self.p, self.q)

    def _axis(self, away: float) -> Array:
        return np.linspace(min(self.means) - away, max(self.means) + away, _AXIS)

    def _best_test(self, epsilon: Array) -> tuple[Array, Array]:
        """Returns where P exceeds e^eps Q the mass under P, and e^eps times that under Q.

        The loss is smooth; on a fine axis it is all but straight, and each crossing is placed by
        interpolation. A crossing off by h costs only h^2, as the integrand is zero there.
        """
        epsilon = np.asarray(epsilon, dtype=np.float64)
        axis, flat = self._axis(10 * self.sigma), epsilon.ravel()
        loss = self.log_ratio(axis)
        low, high = np.minimum(loss[:-1], loss[1:]), np.maximum(loss[:-1], loss[1:])
        # Cells all of which belong to the test, from the largest loss down.
        falling = np.argsort(-low)
        mass_p, log_q = self._masses(axis[:-1][falling], axis[1:][falling])
        count = np.searchsorted(-low[falling], -flat, side="left")
        gain = np.append(0.0, np.cumsum(mass_p))[count]
        cost = np.exp(np.append(-np.inf, np.logaddexp.accumulate(log_q))[count] + flat)
        # Cells that a crossing cuts: few for each epsilon.
        cell, column = _between(low, high, flat)
        left, right = loss[cell] - flat[column], loss[cell + 1] - flat[column]
        crossing = axis[cell] + left / (left - right) * (axis[1] - axis[0])
        rising = right > 0
        start = np.where(rising, crossing, axis[cell])
        stop = np.where(rising, axis[cell + 1], crossing)
        mass_p, log_q = self._masses(start, stop)
        np.add.at(gain, column, mass_p)
        np.add.at(cost, column, np.exp(log_q + flat[column]))
        return gain.reshape(epsilon.shape), cost.reshape(epsilon.shape)

    def _masses(self, start: Array, stop: Array) -> tuple[Array, Array]:
        """Returns the mass of P and the log of that of Q in intervals."""
        ends = (np.asarray([start, stop])[..., None] - np.asarray(self.means)) / self.sigma
        logs = _log_mass(ends[0], ends[1])
        with np.errstate(divide="ignore"):
            log_q = logs + np.log(np.asarray(self.q))
        return np.exp(logs) @ np.asarray(self.p), np.logaddexp.reduce(log_q, axis=-1)


def _between(low: Array, high: Array, values: Array) -> tuple[Indices, Indices]:
    """Returns the indices of all pairs of an interval [low, high) and a value in it."""
    rank = np.argsort(values)
    first, last = (np.searchsorted(values[rank], ends, side="left") for ends in (low, high))
    many = last - first
    cell = np.repeat(np.arange(len(low)), many)
    place = np.arange(len(cell)) - np.repeat(np.cumsum(many) - many - first, many)
    return cell, rank[place]


def _log_mass(start: Array, stop: Array) -> Array:
    """Returns the log of the mass of N(0, 1) between, in the tail where it is a small number."""
    flipped = start > 0
    low, high = np.where(flipped, -stop, start), np.where(flipped, -start, stop)
    below, above = log_ndtr(low), log_ndtr(high)
    with np.errstate(divide="ignore"):
        return np.asarray(above + np.log(-np.expm1(np.minimum(below - above, 0.0))))


def _samples(
    p: tuple[float, ...],
    q: tuple[float, ...],
    means: Array,
    sigma: float,
    size: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    worlds = [
        means[rng.choice(len(means), size, p=np.asarray(weights) / sum(weights))]
        + sigma * rng.standard_normal(size)
        for weights in (p, q)
    ]
    return worlds[0], worlds[1]

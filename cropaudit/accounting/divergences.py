"""One-sided privacy profiles of a single step: H_eps(P || Q) for eps >= 0, with their slopes.

A step is described by two of them, one for each order of the worlds. Where a pair is not known to
dominate, a divergence here is an upper bound that is proved in docs/theory.md and says so. All are
convex in e^eps; the slope is what an optimistic discretisation needs: -d H / d eps, which is e^eps
times the mass under Q of the best test. That mass alone may underflow.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from cropaudit.accounting.atoms import Atoms
from cropaudit.accounting.pairs import MixturePair, StepPair, require_mixture
from cropaudit.errors import require

__all__ = ["Divergence", "Forward", "Revealed", "StepLoss", "TopShift", "Worse"]

Array = NDArray[np.float64]

_NEWTON = 60  # steps of a monotone, quadratic iteration: far more than it ever takes


class Divergence(Protocol):
    """A hockey-stick divergence of one step, as a function of epsilon >= 0."""

    def delta(self, epsilon: Array) -> Array:
        """Returns H_epsilon(P || Q), any shape."""

    def slope(self, epsilon: Array) -> Array:
        """Returns -d delta / d epsilon, which is not negative."""

    def reach(self, tail: float) -> float:
        """Returns an epsilon whose delta is at most ``tail`` above that of infinity."""

    def infinity(self) -> float:
        """Returns delta at infinity, 0 with any noise: what only world P can show."""


@dataclass(frozen=True)
class StepLoss:
    """Both orders of the worlds in one step.

    Attributes:
        up: H(P || Q).
        down: H(Q || P).
    """

    up: Divergence
    down: Divergence

    @classmethod
    def both_ways(cls, divergence: Divergence) -> "StepLoss":
        """Returns the loss that bounds either order by the same divergence."""
        return cls(divergence, divergence)

    @classmethod
    def claimed(cls, pair: StepPair) -> "StepLoss":
        """Returns the loss of a claim: an adversary may change the order in every step."""
        return cls.both_ways(Worse(Forward(pair), Forward(pair.mirrored())))

    @classmethod
    def played(cls, pair: StepPair | MixturePair) -> "StepLoss":
        """Returns the loss of a game that plays exactly this pair, in this order."""
        return cls(Forward(pair), Forward(pair.mirrored()))

    def swapped(self) -> "StepLoss":
        """Returns the loss of the worlds in the other order."""
        return StepLoss(self.down, self.up)


@dataclass(frozen=True)
class Forward:
    """The exact divergence of a pair."""

    pair: StepPair | MixturePair

    def delta(self, epsilon: Array) -> Array:
        """See `Divergence`."""
        return self.pair.delta(epsilon)

    def slope(self, epsilon: Array) -> Array:
        """See `Divergence`."""
        return self.pair.slope(epsilon)

    def reach(self, tail: float) -> float:
        """See `Divergence`."""
        return max(self.pair.quantile_range(tail)[1], 0.0)

    def infinity(self) -> float:
        """See `Divergence`."""
        return self.pair.infinity()


@dataclass(frozen=True)
class Worse:
    """The larger of two divergences, at each epsilon."""

    first: Divergence
    second: Divergence

    def delta(self, epsilon: Array) -> Array:
        """See `Divergence`."""
        return np.maximum(self.first.delta(epsilon), self.second.delta(epsilon))

    def slope(self, epsilon: Array) -> Array:
        """See `Divergence`; where both agree either slope supports the maximum."""
        wins = self.first.delta(epsilon) >= self.second.delta(epsilon)
        return np.where(wins, self.first.slope(epsilon), self.second.slope(epsilon))

    def reach(self, tail: float) -> float:
        """See `Divergence`."""
        return max(self.first.reach(tail), self.second.reach(tail))

    def infinity(self) -> float:
        """See `Divergence`."""
        return max(self.first.infinity(), self.second.infinity())


@dataclass(frozen=True)
class Revealed:
    """A mean of divergences: the worlds first draw which one it is, alike, and reveal it."""

    weights: tuple[float, ...]
    parts: tuple[Divergence, ...]

    def __post_init__(self) -> None:
        legal = min(self.weights) >= 0 and abs(sum(self.weights) - 1) < 1e-9
        require(legal, "weights", "non-negative with sum 1", self.weights)

    def delta(self, epsilon: Array) -> Array:
        """See `Divergence`."""
        found = sum(w * p.delta(epsilon) for w, p in zip(self.weights, self.parts, strict=True))
        return np.asarray(found)

    def slope(self, epsilon: Array) -> Array:
        """See `Divergence`."""
        found = sum(w * p.slope(epsilon) for w, p in zip(self.weights, self.parts, strict=True))
        return np.asarray(found)

    def reach(self, tail: float) -> float:
        """See `Divergence`."""
        return max(part.reach(tail) for part in self.parts)

    def infinity(self) -> float:
        """See `Divergence`."""
        return sum(w * p.infinity() for w, p in zip(self.weights, self.parts, strict=True))


@dataclass(frozen=True)
class TopShift:
    """A mixture one part of which moves, in world A, from ``low`` up to the largest mean.

    P = sum_v w_v N(v) + r N(top), Q = sum_v w_v N(v) + r N(low), every v and low below top. For
    epsilon >= 0 only N(top) counts for P, so the best test is a half-line, and its edge the root of
    an increasing concave function.

    Attributes:
        common: (mean, weight) of the parts that both worlds share.
        low: Mean of the part that moves, in world B.
        top: Its mean in world A, above all others.
        rate: Its weight r.
        sigma: Noise multiplier; 0 for none.
    """

    common: tuple[tuple[float, float], ...]
    low: float
    top: float
    rate: float
    sigma: float

    def __post_init__(self) -> None:
        require_mixture(self.sigma, [*(weight for _, weight in self.common), self.rate])
        below = all(mean < self.top for mean, _ in self.common) and self.low < self.top
        require(below, "means", f"below the top {self.top}", self.common)

    def delta(self, epsilon: Array) -> Array:
        """See `Divergence`."""
        epsilon = np.asarray(epsilon, dtype=np.float64)
        if self.rate == 0:
            return np.zeros_like(epsilon)
        if self.sigma == 0:
            return self._atoms().delta(epsilon)
        cut = self._threshold(epsilon)
        means, logs = self._against(epsilon)
        gain = self.rate * np.exp(log_ndtr((self.top - cut) / self.sigma))
        tails = log_ndtr((means - cut[..., None]) / self.sigma)
        return np.asarray(np.clip(gain - np.exp(logs + tails).sum(axis=-1), 0.0, 1.0))

    def slope(self, epsilon: Array) -> Array:
        """See `Divergence`."""
        epsilon = np.asarray(epsilon, dtype=np.float64)
        if self.rate == 0:
            return np.zeros_like(epsilon)
        if self.sigma == 0:
            return self._atoms().slope(epsilon)
        cut = self._threshold(epsilon)
        parts = [*self.common, (self.low, self.rate)]
        tails = [
            np.exp(log_ndtr((mean - cut) / self.sigma) + np.log(w) + epsilon)
            for mean, w in parts
            if w > 0
        ]
        return np.asarray(sum(tails))

    def reach(self, tail: float) -> float:
        """See `Divergence`."""
        if self.rate == 0:
            return 0.0
        if self.sigma == 0:
            return max(self._atoms().reach()[1], 0.0)
        x = self.top + self.sigma * np.sqrt(2 * np.log(1 / tail))
        above, below = (self._log_density(x, world) for world in (self.top, self.low))
        return max(above - below, 0.0)

    def infinity(self) -> float:
        """See `Divergence`: nothing else lies at the top."""
        return self.rate if self.sigma == 0 else 0.0

    def _atoms(self) -> Atoms:
        means = [mean for mean, _ in self.common]
        shared = [weight for _, weight in self.common]
        return Atoms.of(
            [*means, self.low, self.top], [*shared, 0.0, self.rate], [*shared, self.rate, 0.0]
        )

    def _log_density(self, x: float, moved: float) -> float:
        parts = [*self.common, (moved, self.rate)]
        terms = [np.log(w) - (x - mean) ** 2 / (2 * self.sigma**2) for mean, w in parts if w > 0]
        return float(np.logaddexp.reduce(terms))

    def _against(self, epsilon: Array) -> tuple[Array, Array]:
        """Returns the means that count for Q and the logs of their weights in e^eps Q - P."""
        means = np.array([mean for mean, _ in self.common] + [self.low])
        weights = np.array([weight for _, weight in self.common])
        with np.errstate(divide="ignore"):
            shared = np.log(weights) + epsilon[..., None] + np.log(-np.expm1(-epsilon[..., None]))
            moved = np.log(self.rate) + epsilon[..., None]
        return means, np.concatenate([shared, moved], axis=-1)

    def _threshold(self, epsilon: Array) -> Array:
        """Returns the x above which P exceeds e^eps Q.

        Let g be the log of N(top)'s share over that of all others: increasing and concave in x.
        Newton's method from a point below the root rises to it and never passes it. Each other part
        alone has its root at or below that of all together.
        """
        means, logs = self._against(epsilon)
        variance = self.sigma**2
        log_top = np.log(self.rate)
        alone = (logs - log_top) * variance / (self.top - means) + (self.top + means) / 2
        x = alone.max(axis=-1)
        for _ in range(_NEWTON):
            terms = logs + (means - self.top) * (x[..., None] - (means + self.top) / 2) / variance
            total = np.logaddexp.reduce(terms, axis=-1)
            pull = np.exp(terms - total[..., None]) @ (self.top - means) / variance
            step = (total - log_top) / pull
            x = x + np.maximum(step, 0.0)
            if not np.any(step > 1e-13 * (1 + np.abs(x))):
                break
        return np.asarray(x)

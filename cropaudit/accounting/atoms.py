"""Two worlds without noise: the same few places, each with a probability in either world.

What a mixture of Gaussians becomes when its noise is gone. A place that only world A reaches has an
infinite loss, and everything else is a finite sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Atoms"]

Array = NDArray[np.float64]

_LARGEST = 700.0  # e to a larger power would overflow; no finite loss comes near it


@dataclass(frozen=True, eq=False)
class Atoms:
    """Probabilities of P and Q at distinct places, at least one of which is not zero."""

    places: Array
    p: Array
    q: Array

    @classmethod
    def of(cls, means: Sequence[float], p: Sequence[float], q: Sequence[float]) -> "Atoms":
        """Merges means that coincide, and leaves out what neither world reaches."""
        places, at = np.unique(np.asarray(means, dtype=np.float64), return_inverse=True)
        p_at, q_at = (
            np.asarray(np.bincount(at, np.asarray(w), len(places)), dtype=np.float64)
            for w in (p, q)
        )
        held = (p_at > 0) | (q_at > 0)
        return cls(places[held], p_at[held], q_at[held])

    @property
    def losses(self) -> Array:
        """The log of P/Q at each place: infinite either way where one world never is."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.p) - np.log(self.q))

    @property
    def infinity(self) -> float:
        """Probability under P of an infinite loss."""
        return float(self.p[self.q == 0].sum())

    def reach(self) -> tuple[float, float]:
        """Returns the least and the largest finite loss; zeros if there is none."""
        finite = self.losses[np.isfinite(self.losses)]
        return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)

    def delta(self, epsilon: Array) -> Array:
        """Returns the hockey-stick divergence at any real epsilon, any shape."""
        gain, cost = self._best(epsilon)
        return np.asarray(np.clip((gain - cost).sum(axis=-1), 0.0, 1.0))

    def slope(self, epsilon: Array) -> Array:
        """Returns -d delta / d epsilon: e^epsilon times Q's mass of the best test."""
        return np.asarray(self._best(epsilon)[1].sum(axis=-1))

    def log_ratio(self, x: Array) -> Array:
        """Returns the loss of observations, each taken for the nearest place."""
        apart = np.abs(np.asarray(x, dtype=np.float64)[..., None] - self.places)
        return np.asarray(self.losses[apart.argmin(axis=-1)])

    def _best(self, epsilon: Array) -> tuple[Array, Array]:
        odds = np.exp(np.minimum(np.asarray(epsilon, dtype=np.float64), _LARGEST))[..., None]
        cost = odds * self.q
        wins = self.p > cost
        return np.where(wins, self.p, 0.0), np.where(wins, cost, 0.0)

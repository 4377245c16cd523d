"""Stakes that grow fastest where an expected alternative is true.

A stake that is not the best costs power, never validity: see `e_process`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.estimators.betting.nulls import Null

__all__ = ["Alternatives", "masses_between", "planned_stakes"]

Array = NDArray[np.float64]

_BARRIERS = np.geomspace(1e-3, 1e-8, 12)  # one Newton step each; growth of 1e-6 is of no use
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Alternatives:
    """What may be true instead: true positive rates at the planned rates.

    Attributes:
        rates: False positive rates, shape (k,).
        hits: True positive rates, shape (c, k).
        design: Which of them is expected; none if none is.
    """

    rates: Array
    hits: Array
    design: int | None

    def growth(self, null: Null) -> Array:
        """Returns about how fast the best single threshold speaks against a null, shape (c,)."""
        slopes, intercepts = null.touching(self.rates)
        allowed = np.minimum(slopes * self.rates + intercepts, 1.0)
        noise = allowed * (1 - allowed) + slopes**2 * self.rates * (1 - self.rates)
        gap = np.maximum(self.hits - allowed, 0.0)
        return np.asarray((gap**2 / (2 * noise + 2 * gap / 3 + 1e-300)).max(axis=1))

    def mixture(self, null: Null, horizons: Sequence[int]) -> dict[int, float]:
        """Returns which alternatives are bet on against a null, with their weights.

        The expected one has half the weight; the others share the rest, each being the one that
        would need about a horizon's pairs for a wealth of e^3.
        """
        speed = self.growth(null)
        able = np.flatnonzero(speed > 1e-12)
        if not len(able):
            return {int(np.argmax(self.hits.sum(axis=1))): 1.0}
        needed = np.log(2.0 / speed[able])
        picks = {int(able[np.argmin(np.abs(needed - math.log(n)))]) for n in horizons}
        expected = self.design is not None and speed[self.design] > 1e-12
        share = (0.5 if expected else 1.0) / len(picks)
        weights = dict.fromkeys(sorted(picks), share)
        if expected and self.design is not None:
            weights[self.design] = weights.get(self.design, 0.0) + 0.5
        return weights


def masses_between(tails: Array) -> Array:
    """Returns what lies between thresholds, lowest scores first, from falling tails (..., k)."""
    ends = (*tails.shape[:-1], 1)
    return -np.diff(np.concatenate([np.ones(ends), tails, np.zeros(ends)], axis=-1), axis=-1)


def planned_stakes(nulls: Sequence[Null], hits: Array, rates: Array) -> tuple[Array, Array]:
    """Returns log G and log H by cell of the score, the stakes being the best for alternatives.

    Args:
        nulls: One for each row.
        hits: True positive rates of the alternatives, shape (rows, k).
        rates: False positive rates, shape (k,).

    Returns:
        Two tables of shape (rows, k + 1), cells in the order of rising scores.
    """
    q = np.broadcast_to(masses_between(rates), (len(nulls), len(rates) + 1))
    p, nearest = masses_between(hits), np.broadcast_to(rates, hits.shape)
    best_g, best_h = np.ones(p.shape), np.ones(q.shape)
    # Each threshold takes the line that touches where the null's nearest point turned out to be.
    for _ in range(_ROUNDS):
        lines = [null.touching(at) for null, at in zip(nulls, nearest, strict=True)]
        slopes, intercepts = (np.stack(part) for part in zip(*lines, strict=True))
        g, h = _Problem(p, q, slopes, intercepts).solve()
        nearest = np.clip(np.cumsum((q / h)[:, :0:-1], axis=1)[:, ::-1], 0.0, 1.0)
        better = (p * np.log(g / best_g) + q * np.log(h / best_h)).sum(axis=1) > 0
        best_g[better], best_h[better] = g[better], h[better]
    return np.log(best_g), np.log(best_h)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Stakes (g, l_1, .., l_k) for each row that maximise sum p log G + sum q log H.

    Every point with l > 0, G > 0 and H > 0 is a valid bet, as h follows from the others.

    Attributes:
        p: Mass of the alternative's first world by cell, shape (rows, cells).
        q: Mass of its second world.
        slopes: Of the lines, shape (rows, cells - 1).
        intercepts: Of the lines.
    """

    p: Array
    q: Array
    slopes: Array
    intercepts: Array

    @cached_property
    def gains(self) -> Array:
        """G = gains @ x, shape (cells, cells)."""
        cells = self.p.shape[1]
        return np.concatenate([np.ones((cells, 1)), np.tri(cells, cells - 1, -1)], axis=1)

    @cached_property
    def costs(self) -> Array:
        """H = 2 - costs @ x, shape (rows, cells, cells)."""
        costs = np.repeat(self.gains[None], len(self.p), axis=0)
        costs[:, :, 1:] *= self.slopes[:, None]
        costs[:, :, 1:] += self.intercepts[:, None]
        return costs

    def sides(self, x: Array) -> tuple[Array, Array]:
        """Returns G and H by cell."""
        return x @ self.gains.T, 2 - (self.costs @ x[:, :, None])[:, :, 0]

    def value(self, x: Array, barrier: float) -> Array:
        """Returns what is maximised, with the barrier of the stakes; -inf outside."""
        g, h = self.sides(x)
        inside = (g > 0).all(axis=1) & (h > 0).all(axis=1) & (x[:, 1:] > 0).all(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = (self.p * np.log(g)).sum(axis=1) + (self.q * np.log(h)).sum(axis=1)
            gain += barrier * np.log(x[:, 1:]).sum(axis=1)
        return np.where(inside, gain, -np.inf)

    def newton(self, x: Array, barrier: float) -> tuple[Array, Array]:
        """Returns the Newton step, and the slope along it."""
        g, h = self.sides(x)
        rows, cells = x.shape
        slope = (self.p / g) @ self.gains - ((self.q / h)[:, None] @ self.costs)[:, 0]
        slope[:, 1:] += barrier / x[:, 1:]
        products = (self.gains[:, :, None] * self.gains[:, None, :]).reshape(cells, -1)
        bend = ((self.p / g**2) @ products).reshape(rows, cells, cells)
        weighted = self.costs * (self.q / h**2)[:, :, None]
        bend += weighted.transpose(0, 2, 1) @ self.costs
        inner = np.arange(1, cells)
        bend[:, inner, inner] += barrier / x[:, 1:] ** 2
        # Slopes range over many orders of magnitude: the system is solved with a unit diagonal.
        unit = 1 / np.sqrt(np.einsum("rii->ri", bend))
        system = bend * unit[:, :, None] * unit[:, None, :] + 1e-12 * np.eye(cells)
        step = unit * np.linalg.solve(system, (unit * slope)[..., None])[..., 0]
        return step, np.asarray((step * slope).sum(axis=1))

    def solve(self) -> tuple[Array, Array]:
        """Returns G and H by cell at the best stakes, by a falling logarithmic barrier."""
        cells = self.p.shape[1]
        x = np.empty(self.p.shape)
        x[:, 1:] = 0.02 / (self.slopes + self.intercepts) / (cells - 1)
        x[:, 0] = 1 - (x[:, 1:] * self.intercepts).sum(axis=1) / 2
        for barrier in _BARRIERS:
            step, rise = self.newton(x, barrier)
            x = x + self._length(x, step, rise, barrier)[:, None] * step
        return self.sides(x)

    def _length(self, x: Array, step: Array, rise: Array, barrier: float) -> Array:
        """Returns how far to go along a step: halved until the value rises with it."""
        start, length = self.value(x, barrier), np.ones(len(x))
        for _ in range(30):
            reached = self.value(x + length[:, None] * step, barrier)
            short = ~(reached >= start + 1e-4 * length * rise)
            if not short.any():
                return length
            length[short] /= 2
        length[short] = 0.0
        return length

"""One step's privacy loss on an even lattice, from above and from below.

Both rest on the same fact: a profile that is piecewise linear in e^eps is that of a discrete loss
which sits at the kinks. From above the kinks lie on the step's own profile, so that chords run over
it (connect the dots, Doroshenko et al. 2022, arXiv 2207.04380). From below they lie under tangents
taken between them, so that chords run under it. Either error falls as the square of the distances,
so the truth lies in a narrow bracket. Kinks lie on an even lattice, as the transform needs, but not
on all of it: a loss far from zero is rare, and may be placed as coarsely as its size allows.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.divergences import Divergence, StepLoss

__all__ = ["GridLoss", "Lattice", "from_above", "from_below"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Lattice:
    """Where the losses of a step may lie.

    Attributes:
        width: Distance of neighbouring points of the lattice.
        growth: Kinks at a loss l are at most about growth * l apart, or one width.
        tail: Probability of a step that may lie beyond the last kink.
    """

    width: float
    growth: float
    tail: float

    def kinks(self, reach: float) -> Indices:
        """Returns increasing indices from 0 to the first at or beyond ``reach``."""
        last = max(int(np.ceil(reach / self.width)), 1)
        even = min(int(1 / self.growth), last)
        count = int(np.ceil(np.log(max(last / even, 1.0)) / np.log1p(self.growth)))
        far = np.rint(even * np.exp(np.log(last / even) * np.arange(1, count + 1) / max(count, 1)))
        return np.unique(np.concatenate([np.arange(even + 1), far.astype(np.int64)]))

    def finer(self, factor: float) -> "Lattice":
        """Returns a lattice on which errors are smaller by ``factor`` squared."""
        return Lattice(self.width / factor, self.growth / factor, self.tail)


@dataclass(frozen=True, eq=False)
class GridLoss:
    """A discrete privacy loss under P.

    Attributes:
        width: Lattice width.
        index: Losses in units of the width, increasing.
        probs: Their probabilities under P.
        infinity: Probability under P of an infinite loss.
    """

    width: float
    index: Indices = field(repr=False)
    probs: Array = field(repr=False)
    infinity: float = 0.0


def from_above(loss: StepLoss, lattice: Lattice) -> GridLoss:
    """Returns a discrete loss that dominates the step."""
    up = _above(loss.up, lattice)
    down = up if loss.down is loss.up else _above(loss.down, lattice)
    return _joined(up, down, lattice.width)


def from_below(loss: StepLoss, lattice: Lattice) -> GridLoss:
    """Returns a discrete loss that the step dominates."""
    lines_up = _Tangents.of(loss.up, lattice)
    lines_down = lines_up if loss.down is loss.up else _Tangents.of(loss.down, lattice)
    start = float(min(lines_up.left[0], lines_down.left[0]))
    while True:
        up, down = lines_up.profile(start, lattice), lines_down.profile(start, lattice)
        most = _most_at_zero(up, down, lattice.width)
        if start <= most * (1 + 1e-14):
            return _joined(up, down, lattice.width)
        start = most  # which may let neighbours stick out, hence once more


@dataclass(frozen=True, eq=False)
class _Profile:
    """Delta at kinks from 0 upwards, falling and convex in e^eps."""

    index: Indices
    delta: Array


def _above(half: Divergence, lattice: Lattice) -> _Profile:
    index = lattice.kinks(half.reach(lattice.tail))
    delta = half.delta(np.asarray(index * lattice.width, dtype=np.float64))
    return _Profile(index, np.asarray(np.minimum.accumulate(delta)))


@dataclass(frozen=True, eq=False)
class _Tangents:
    """What a line below delta, the tangent in the middle of each cell, is worth at its ends."""

    index: Indices
    left: Array
    right: Array

    @classmethod
    def of(cls, half: Divergence, lattice: Lattice) -> "_Tangents":
        """Takes the tangents of a divergence."""
        index = lattice.kinks(half.reach(lattice.tail))
        ends = index * lattice.width
        middle, reach = (ends[1:] + ends[:-1]) / 2, np.diff(ends) / 2
        delta, slope = half.delta(middle), half.slope(middle)
        with np.errstate(over="ignore", invalid="ignore"):
            left, right = delta - slope * np.expm1(-reach), delta - slope * np.expm1(reach)
        # No profile follows a tangent below zero; zero itself is a line below delta as well.
        follows = right >= 0
        return cls(index, np.where(follows, left, 0.0), np.where(follows, right, 0.0))

    def profile(self, start: float, lattice: Lattice) -> _Profile:
        """Returns kinks at the lower of the two tangents that meet, then convex, zero at last."""
        inner = np.minimum(self.right[:-1], self.left[1:])
        delta = np.concatenate([[start], inner, [0.0]])
        kept = _convex(np.asarray(self.index * lattice.width, dtype=np.float64), delta)
        return _Profile(self.index[kept], delta[kept])


def _convex(at: Array, delta: Array) -> Indices:
    """Returns the points on the largest convex function of e^eps that lies below all points.

    A point above the chord of its neighbours stays above it, as neighbours can only sink: all such
    points go at once, until none is left.
    """
    kept = np.arange(len(delta))
    while len(kept) > 2:
        value, gaps = delta[kept], np.diff(at[kept])
        # Distance to the left over distance to the right, both in e^eps.
        ratio = np.exp(-gaps[1:]) * np.expm1(-gaps[:-1]) / np.expm1(-gaps[1:])
        chord = (value[:-2] + value[2:] * ratio) / (1 + ratio)
        high = value[1:-1] > chord * (1 + 1e-12)
        if not high.any():
            break
        kept = np.delete(kept, np.flatnonzero(high) + 1)
    return kept


def _most_at_zero(up: _Profile, down: _Profile, width: float) -> float:
    """Returns the largest delta at zero with which both halves together are convex in e^eps."""
    right, left = (_odds(half, width) for half in (up, down))
    total = 1 + float(up.delta[1]) * right + float(down.delta[1]) * left
    return total / (1 + right + left)


def _odds(profile: _Profile, width: float) -> float:
    """Returns 1 / (e^l - 1) for the first kink l above zero."""
    first = float(profile.index[1]) * width
    return math.exp(-first) / -math.expm1(-first)


def _joined(up: _Profile, down: _Profile, width: float) -> GridLoss:
    """Returns the loss whose profile is ``up`` at and above zero and mirrors ``down`` below.

    The loss -l has, under P, the mass of l under the other world of the mirrored pair, which is
    e^-l times its own: no small number is taken from 1.
    """
    above, below = _masses(up, width), _masses(down, width)
    centre = 1 - up.delta[0] - (up.delta[0] - up.delta[1]) * _odds(up, width)
    centre -= (down.delta[0] - down.delta[1]) * _odds(down, width)
    mirrored = below[::-1] * np.exp(-down.index[:0:-1] * width)
    return GridLoss(
        width,
        np.concatenate([-down.index[:0:-1], [0], up.index[1:]]),
        np.concatenate([mirrored, [max(float(centre), 0.0)], above]),
        float(up.delta[-1]),
    )


def _masses(profile: _Profile, width: float) -> Array:
    """Returns P's mass on every kink but the first."""
    gaps, falls = np.diff(profile.index) * width, -np.diff(profile.delta)
    with np.errstate(over="ignore"):
        after = np.append((falls / np.expm1(gaps))[1:], 0.0)
    return np.asarray(np.maximum(falls / -np.expm1(-gaps) - after, 0.0))

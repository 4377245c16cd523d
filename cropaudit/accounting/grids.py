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

_SHORT = 16  # cells: negative losses that reach less far are merged from below
_ROUNDED = 2 * float(np.finfo(np.float64).eps)  # of a tangent that ends where delta does
_FAR = 700.0  # e to a larger power would overflow


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
        offset: What is added to every finite loss.
    """

    width: float
    index: Indices = field(repr=False)
    probs: Array = field(repr=False)
    infinity: float = 0.0
    offset: float = 0.0


def from_above(loss: StepLoss, lattice: Lattice) -> GridLoss:
    """Returns a discrete loss that dominates the step."""
    up = _above(loss.up, lattice)
    down = up if loss.down is loss.up else _above(loss.down, lattice)
    return _joined(up, down, lattice.width)


def from_below(loss: StepLoss, lattice: Lattice) -> GridLoss:
    """Returns a discrete loss that the step dominates."""
    up_reach, down_reach = loss.up.reach(lattice.tail), loss.down.reach(lattice.tail)
    if down_reach < min(_SHORT * lattice.width, up_reach / 4):
        found = _one_sided(loss.up, lattice)
        if found is not None:
            return found
    lines_up = _Tangents.of(loss.up, lattice)
    lines_down = lines_up if loss.down is loss.up else _Tangents.of(loss.down, lattice)
    start = float(min(lines_up.left[0], lines_down.left[0]))
    for haste in range(64):
        up, down = lines_up.profile(start, lattice), lines_down.profile(start, lattice)
        short = start - _most_at_zero(up, down, lattice.width)
        if short <= 1e-14 * start:
            break
        # A lower start lets neighbours stick out, which are then cut: each time further down.
        start = max(start - 2**haste * short, 0.0)
    return _joined(up, down, lattice.width)


def _one_sided(half: Divergence, lattice: Lattice) -> GridLoss | None:
    """Returns a dominated loss that merges all outputs that speak for neither world, or for Q.

    A lattice that suits losses of thousands has no place for negative ones of a hundredth, and no
    law that the step dominates lies on it. So a tangent in the first cell is followed down to where
    it meets 1 - e^eps, the least any profile can be: that is the loss -s of all outputs below where
    it touches, taken as one. The lattice is moved to begin there.
    """
    touch = _touches(np.array([lattice.width]))
    cost = float(half.slope(touch)[0])
    power, false = float(half.delta(touch)[0]) + cost, cost * math.exp(-float(touch[0]))
    if not power < 1:
        return None
    low = math.log1p(-false) - math.log1p(-power)  # s
    if not 0 <= low < touch[0]:
        return None
    lines = _Tangents.of(half, lattice, -low)
    start = -math.expm1(-low)
    if lines.left[0] < start * (1 - 1e-9):  # that tangent falls below zero within its cell
        return None
    profile = lines.profile(start, lattice)
    masses = _masses(profile, lattice.width)
    beyond = (start - float(profile.delta[1])) * math.exp(low) * _odds(profile, lattice.width)
    first = math.exp(-low) * max(1 - beyond, 0.0)
    limit = float(profile.delta[-1])
    return GridLoss(lattice.width, profile.index, np.append(first, masses), limit, -low)


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
    limit: float

    @classmethod
    def of(cls, half: Divergence, lattice: Lattice, offset: float = 0.0) -> "_Tangents":
        """Takes the tangents of a divergence between kinks that begin at ``offset``."""
        index = lattice.kinks(half.reach(lattice.tail) - offset)
        ends = index * lattice.width + offset
        before = _touches(np.diff(ends))
        at, after = ends[:-1] + before, np.diff(ends) - before
        delta, slope = half.delta(at), half.slope(at)
        left, right = delta - slope * np.expm1(-before), delta - slope * np.expm1(after)
        # No profile follows a tangent below delta at infinity, which is a line below it as well.
        limit = half.infinity()
        right = np.where(np.abs(right - limit) < _ROUNDED, limit, right)
        follows = right >= limit
        lines = (np.where(follows, left, limit), np.where(follows, right, limit))
        return cls(index, *lines, limit=limit)

    def profile(self, start: float, lattice: Lattice) -> _Profile:
        """Returns kinks at the lower of two tangents that meet, made convex, its limit at last."""
        inner = np.minimum(self.right[:-1], self.left[1:])
        delta = np.minimum(np.concatenate([[start], inner, [self.limit]]), start)
        kept = _convex(np.asarray(self.index * lattice.width, dtype=np.float64), delta)
        return _Profile(self.index[kept], delta[kept])


def _touches(length: Array) -> Array:
    """Returns where in a cell its tangent is taken: the middle, but near the end of a long one.

    There a tangent, straight in e^eps, would fall below zero long before the cell ends.
    """
    return np.maximum(length / 2, length - 0.5)


def _convex(at: Array, delta: Array) -> Indices:
    """Returns the points on the largest convex function of e^eps that lies below all points.

    Points are taken from left to right; one that a later one shows to lie above a chord goes. Most
    often none does.
    """
    if len(delta) < 3 or not np.any(_above_chord(at, delta)):
        return np.arange(len(delta))
    places, values, kept = at.tolist(), delta.tolist(), [0]
    for new in range(1, len(values)):
        while len(kept) > 1:
            left, middle = kept[-2], kept[-1]
            gap = places[new] - places[middle]
            far = math.expm1(gap) if gap < _FAR else math.inf
            ratio = -math.expm1(places[left] - places[middle]) / far
            chord = (values[left] + values[new] * ratio) / (1 + ratio)
            if values[middle] <= chord * (1 + 1e-12):
                break
            kept.pop()
        kept.append(new)
    return np.asarray(kept)


def _above_chord(at: Array, delta: Array) -> NDArray[np.bool_]:
    """Returns which inner points lie above the chord of their neighbours."""
    gaps = np.minimum(np.diff(at), _FAR)
    ratio = -np.expm1(-gaps[:-1]) / np.expm1(gaps[1:])
    chord = (delta[:-2] + delta[2:] * ratio) / (1 + ratio)
    return np.asarray(delta[1:-1] > chord * (1 + 1e-12))


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

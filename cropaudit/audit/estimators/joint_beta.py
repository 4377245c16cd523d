"""Estimator 2: the epsilon whose privacy region holds a share of the joint posterior.

Zanella-Beguelin et al. 2023 (2206.05199), section 4. The false positive rate x and the false
negative rate y of one test have independent Jeffreys posteriors Beta(FP + 1/2, TN + 1/2) and
Beta(FN + 1/2, TP + 1/2). An (epsilon, delta)-DP mechanism allows (x, y) between
lo(x) = max(0, 1 - delta - e^epsilon x, e^-epsilon (1 - delta - x)) and 1 - lo(1 - x). The bound is
the epsilon whose region holds posterior mass `level`.

It is a credible bound, not a confidence bound: right on average over rates drawn from the prior.
Where the true rates stand in a corner of the region, as those of randomised response do, less of
the posterior lies within it; with 20 trials a world, delta 0 and level 5% the bound exceeds an
epsilon of 1 with probability 13% and one of 2 with 20% (computed exactly). The region of epsilon 0
and delta 0 is a line and has no mass: the bound of a fixed threshold at delta 0 is above 0 whatever
was counted.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betainc, betainccinv, betaincinv, ndtr, ndtri

from cropaudit.audit.estimators.evidence import Counts, Found
from cropaudit.audit.result import Validity
from cropaudit.errors import require

__all__ = ["JointBeta", "private_mass"]

Array = NDArray[np.float64]

_REACH = 7.75  # normal deviates integrated: 5e-15 of the mass lies beyond on either side
_MARKS = np.linspace(-_REACH, _REACH, 20)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_MOST = 700.0  # largest epsilon searched: e^700 is still a number


@dataclass(frozen=True)
class JointBeta:
    """The credible bound of one test.

    A ranked test's false positive rate is no unknown with a posterior: its threshold was drawn
    with law Beta(alarms + 1, nonmembers - alarms), exactly, and that law stands in its place. Its
    hits leave out what ties with the threshold, so that few of them are no evidence: only the edge
    of the region that many hits cross counts, the other one never.
    """

    name: ClassVar[str] = "joint-beta"
    validity: ClassVar[Validity] = "credible"
    assumes: ClassVar[str] = (
        "independent trials in each world, threshold fixed without these scores, and Jeffreys "
        "priors for both error rates: the confidence is a posterior probability"
    )

    def epsilon(self, counts: Counts, delta: float, level: float) -> Found:
        """Returns the epsilon whose region holds posterior mass ``level``.

        Args:
            counts: One test.
            delta: In [0, 1].
            level: In (0, 1).

        Raises:
            InputError: If delta or level is out of range.

        >>> round(JointBeta().epsilon(Counts(1000, 1000, 800, 100), 1e-5, 0.05).epsilon, 4)
        1.9243
        """
        require(0 < level < 1, "level", "in (0, 1)", level)
        if private_mass(counts, 0.0, delta) >= level:
            return Found(0.0)
        high = 1.0
        while private_mass(counts, high, delta) < level:
            if high >= _MOST:
                return Found(_MOST, "the largest epsilon that is searched")
            high = min(2 * high, _MOST)

        def excess(epsilon: float) -> float:
            return private_mass(counts, epsilon, delta) - level

        return Found(float(brentq(excess, 0.0, high, xtol=1e-12)))


def private_mass(counts: Counts, epsilon: float, delta: float) -> float:
    """Returns the posterior mass of the (epsilon, delta) privacy region, to 1e-9.

    Args:
        counts: One test.
        epsilon: From 0 to 700.
        delta: In [0, 1].

    Raises:
        InputError: If epsilon or delta is out of range.

    >>> round(private_mass(Counts(100, 100, 50, 50), 0.5, 0.0), 6)
    0.999068
    """
    require(0 <= epsilon <= _MOST, "epsilon", f"in [0, {_MOST:g}]", epsilon)
    require(0 <= delta <= 1, "delta", "in [0, 1]", delta)
    fpr, fnr = _laws(counts)
    outside = _below(fpr, fnr, epsilon, delta)
    if not counts.ranked:
        outside += _below(fpr.flipped(), fnr.flipped(), epsilon, delta)
    return min(1.0, max(0.0, 1 - outside))


@dataclass(frozen=True)
class _Beta:
    """The law of a rate, read in normal deviates: z stands for the quantile of level Phi(z)."""

    a: float
    b: float

    def flipped(self) -> "_Beta":
        """Returns the law of 1 minus the rate."""
        return _Beta(self.b, self.a)

    @cached_property
    def marks(self) -> Array:
        """Rates at even deviates."""
        return self.quantile(_MARKS)[0]

    def below(self, rate: Array) -> Array:
        """Returns the probability of a rate below ``rate``."""
        return np.asarray(betainc(self.a, self.b, rate))

    def quantile(self, z: Array) -> tuple[Array, Array]:
        """Returns the rate at deviates ``z`` and 1 minus it, the smaller one to full accuracy."""
        if self.a > self.b:
            rest, rate = self.flipped().quantile(-z)
            return rate, rest
        tail = ndtr(-np.abs(z))
        low, high = betaincinv(self.a, self.b, tail), betainccinv(self.a, self.b, tail)
        rate = np.where(z < 0, low, high)
        return rate, 1 - rate

    def deviates(self, rate: Array) -> Array:
        """Returns z of rates, within the reach of the integral."""
        low, high = betainc(self.a, self.b, rate), betainc(self.b, self.a, 1 - rate)
        z = np.where(low < 0.5, ndtri(low), -ndtri(high))
        return np.asarray(np.clip(z, -_REACH, _REACH))


def _laws(counts: Counts) -> tuple[_Beta, _Beta]:
    misses, rest = counts.members - counts.hits, counts.nonmembers - counts.alarms
    fnr = _Beta(misses + 0.5, counts.hits + 0.5)
    if counts.ranked:
        return _Beta(counts.alarms + 1, rest), fnr
    return _Beta(counts.alarms + 0.5, rest + 0.5), fnr


def _edge(x: Array, rest: Array, epsilon: float, delta: float) -> Array:
    """Returns lo(x), the lower edge of the region, which is its own inverse; rest is 1 - x."""
    steep, flat = 1 - delta - x * math.exp(epsilon), (rest - delta) * math.exp(-epsilon)
    return np.asarray(np.clip(np.maximum(steep, flat), 0.0, 1.0))


def _below(x: _Beta, y: _Beta, epsilon: float, delta: float) -> float:
    """Returns P[y < lo(x)], by quadrature of y's distribution function over the deviates of x.

    The segments end at even deviates of either law and at the kink of lo, so that no integrand
    changes by more than a smooth bit within one.
    """
    if delta >= 1:
        return 0.0
    kink = (1 - delta) * math.exp(-epsilon) / (1 + math.exp(-epsilon))
    cuts = x.deviates(np.append(_edge(y.marks, 1 - y.marks, epsilon, delta), kink))
    # Below the first cut y is below lo(x) all but surely, beyond the last one all but never.
    first, last = float(cuts[:-1].min()), float(cuts[:-1].max())
    ends = np.unique(np.clip(np.concatenate([cuts, _MARKS]), first, last))
    half, centre = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    z = centre + half * _NODES
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    share = y.below(_edge(*x.quantile(z), epsilon, delta))
    return float(ndtr(first)) + float(np.sum(half * _WEIGHTS * density * share))

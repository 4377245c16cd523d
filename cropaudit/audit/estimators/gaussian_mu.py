"""Estimator 4: mu of a Gaussian mechanism, then its epsilon (Nasr et al. 2023, 2302.07956).

A mechanism is mu-GDP if no test does better than one that tells N(0, 1) from N(mu, 1): its true
positive rate is at most Phi(Phi^-1(FPR) + mu) (Dong, Roth and Su 2019, 1905.02383, equation 6).
Error rates below their Clopper-Pearson limits thus give

    mu >= Phi^-1(1 - FPR_u) - Phi^-1(FNR_u),

and a mu-GDP mechanism has the privacy profile of corollary 2.13 there,

    delta(epsilon) = Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2).

That the mechanism is not mu'-GDP for any mu' below the limit is exact. That its epsilon is the one
of mu is a model: true of Gaussian mechanisms, and not of those that sample, whose trade-off curves
have another shape. There the number may lie above the true epsilon, however many trials.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import erfcx, ndtr, ndtri

from cropaudit.audit.estimators.evidence import Counts, Found
from cropaudit.audit.result import Validity
from cropaudit.errors import require

__all__ = ["GaussianMu", "gdp_delta", "gdp_epsilon", "gdp_tpr"]

_HALF = math.sqrt(0.5)


@dataclass(frozen=True)
class GaussianMu:
    """The bound of one test if the mechanism is a Gaussian one.

    Both worlds give the same limit of mu, so one box of error rates serves, each at level / 2. The
    limits of a ranked test are those of its own law; the rest is the same.
    """

    name: ClassVar[str] = "gaussian-mu"
    validity: ClassVar[Validity] = "model-based"
    assumes: ClassVar[str] = (
        "independent trials in each world, threshold fixed without these scores, and a Gaussian "
        "mechanism; not valid for subsampled mechanisms"
    )

    def epsilon(self, counts: Counts, delta: float, level: float) -> Found:
        """Returns the epsilon of the lower limit of mu.

        Args:
            counts: One test.
            delta: In [0, 1]; at 0 a Gaussian mechanism has no epsilon, and nothing is claimed.
            level: In (0, 1).

        Raises:
            InputError: If delta or level is out of range.

        >>> GaussianMu().epsilon(Counts(1000, 1000, 800, 100), 1e-5, 0.05).note
        'mu at least 1.925'
        """
        require(0 < level < 1, "level", "in (0, 1)", level)
        require(0 <= delta <= 1, "delta", "in [0, 1]", delta)
        if delta == 0:
            return Found(0.0, "a Gaussian mechanism has no epsilon at delta 0")
        mu = float(-ndtri(counts.fpr_upper(level / 2)) - ndtri(counts.fnr_upper(level / 2)))
        if mu <= 0:
            return Found(0.0, "no mu above 0")
        return Found(gdp_epsilon(mu, delta), f"mu at least {math.floor(mu * 1e3) / 1e3:g}")


def gdp_tpr(mu: float, fpr: ArrayLike) -> NDArray[np.float64]:
    """Returns the largest true positive rates that mu-GDP allows (1905.02383, equation 6).

    Args:
        mu: At least 0.
        fpr: False positive rates in [0, 1], any shape.

    >>> gdp_tpr(1.0, [0.0, 0.1, 1.0]).round(6).tolist()
    [0.0, 0.389144, 1.0]
    """
    _check_mu(mu)
    return np.asarray(ndtr(ndtri(fpr) + mu))


def gdp_delta(mu: float, epsilon: float) -> float:
    """Returns the delta of mu-GDP at ``epsilon`` (1905.02383, corollary 2.13).

    Args:
        mu: At least 0.
        epsilon: At least 0.

    >>> round(gdp_delta(1.0, 1.0), 6)
    0.126937
    """
    _check_mu(mu)
    require(0 <= epsilon < math.inf, "epsilon", "at least 0 and finite", epsilon)
    return math.exp(_log_delta(mu, epsilon)) if mu > 0 else 0.0


def gdp_epsilon(mu: float, delta: float) -> float:
    """Returns the epsilon of mu-GDP at ``delta``, rounded down by no more than 1e-12 of itself.

    Args:
        mu: At least 0.
        delta: In (0, 1].

    >>> round(gdp_epsilon(1.0, 1e-5), 6)
    4.377178
    """
    _check_mu(mu)
    require(0 < delta <= 1, "delta", "in (0, 1]", delta)
    goal = math.log(delta)
    if mu == 0 or _log_delta(mu, 0.0) <= goal:
        return 0.0
    high = mu * (mu / 2 - float(ndtri(delta)))  # there the first term alone is delta

    def excess(epsilon: float) -> float:
        return _log_delta(mu, epsilon) - goal

    found = float(brentq(excess, 0.0, high, xtol=1e-15 * high, rtol=1e-14))
    return found * (1 - 5e-13)


def _log_delta(mu: float, epsilon: float) -> float:
    """Returns ln delta, with t = epsilon / mu -+ mu / 2 and Phi(-t) = e^(-t^2/2) erfcx(t/sqrt2)/2.

    As e^epsilon e^(-high^2/2) = e^(-low^2/2), that factor comes out of both terms, and nothing
    cancels but what must.
    """
    low, high = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    second = float(erfcx(high * _HALF)) / 2
    if low > 0:
        return math.log(float(erfcx(low * _HALF)) / 2 - second) - low**2 / 2
    return math.log(float(ndtr(-low)) - second * math.exp(-(low**2) / 2))


def _check_mu(mu: float) -> None:
    require(0 <= mu < math.inf, "mu", "at least 0 and finite", mu)

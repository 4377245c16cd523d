"""Epsilon of a Gaussian mechanism, as a grid of what may be true where no mechanism is stated.

Dong, Roth and Su 2019 (1905.02383), corollary 2.13:
delta(epsilon) = Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2).
"""

import math

from scipy.optimize import brentq
from scipy.special import erfcx, ndtr, ndtri

from cropaudit.errors import require

__all__ = ["gdp_epsilon"]

_HALF = math.sqrt(0.5)


def gdp_epsilon(mu: float, delta: float) -> float:
    """Returns the epsilon of mu-GDP at ``delta``, rounded down by no more than 1e-12 of itself.

    Args:
        mu: At least 0.
        delta: In (0, 1].

    >>> round(gdp_epsilon(1.0, 1e-5), 6)
    4.377178
    """
    require(0 <= mu < math.inf, "mu", "at least 0 and finite", mu)
    require(0 < delta <= 1, "delta", "in (0, 1]", delta)
    goal = math.log(delta)
    if mu == 0 or _log_delta(mu, 0.0) <= goal:
        return 0.0
    high = mu * (mu / 2 - float(ndtri(delta)))  # there the first term alone is delta
    excess = lambda epsilon: _log_delta(mu, epsilon) - goal  # noqa: E731
    return float(brentq(excess, 0.0, high, xtol=1e-15 * high, rtol=1e-14)) * (1 - 5e-13)


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

"""Estimators that this project does not trust, kept to be studied beside those that it does.

`KatzLogRatio` (2210.08643) is asymptotic and overclaims at small counts. `JointBeta` (2206.05199,
section 4) is a posterior probability under Jeffreys' priors, above a true epsilon of 0 nearly
always. `GaussianMu` (2302.07956) and `gaussian_run_epsilon` convert to a Gaussian mechanism, which
is no bound where batches are sampled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betainc, betaincinv, ndtr, ndtri

from cropaudit.estimators.bound import Validity
from cropaudit.estimators.evidence import Counts, Found, Guesses
from cropaudit.estimators.gaussian import gdp_epsilon
from cropaudit.estimators.null import Null
from cropaudit.estimators.one_run.run_fdp import rejected
from cropaudit.estimators.search import last_epsilon
from cropaudit.estimators.trials.joint_test import Regions

__all__ = ["GaussianMu", "JointBeta", "KatzLogRatio", "gaussian_run_epsilon"]

_LEVELS = (np.arange(4000) + 0.5) / 4000  # of a rate's law, where the posterior is summed


class Alone:
    """What all three share: one test at a time, and no p-value."""

    together: ClassVar[bool] = False
    assumes: ClassVar[str] = "independent trials, threshold fixed without these scores, and a model"

    def p_value(self, tests: Sequence[Counts], null: Null, level: float) -> None:
        """Returns none."""

    def best(self, tests: Sequence[Counts], delta: float, level: float) -> int:
        """Returns which of several tests rejects the largest epsilon."""
        return Regions(delta).best(tests, level)


@dataclass(frozen=True)
class KatzLogRatio(Alone):
    """Normal interval of ln((TPR - delta) / FPR) and of its mirror image, each at level / 2."""

    name: ClassVar[str] = "katz"
    validity: ClassVar[Validity] = "asymptotic"

    def found(self, tests: Sequence[Counts], delta: float, level: float) -> Found:
        """Returns the larger of both limits.

        >>> round(KatzLogRatio().found([Counts(1000, 1000, 800, 100)], 0.0, 0.05).epsilon, 4)
        1.8909
        """
        (counts,) = tests
        deviate = float(-ndtri(level / 2))
        n, m = counts.members, counts.nonmembers + counts.ranked
        hits, alarms = counts.hits, counts.alarms + counts.ranked
        sides = ((hits, n, alarms, m), (m - alarms, m, n - hits, n))
        return Found(max(0.0, *(_log_ratio(*side, delta, deviate) for side in sides)))


def _log_ratio(
    right: int, right_of: int, wrong: int, wrong_of: int, delta: float, deviate: float
) -> float:
    """Returns a lower limit; minus infinity where nothing is wrong, for there is no interval."""
    power, error = right / right_of, wrong / wrong_of
    if wrong == 0 or power <= delta:
        return -math.inf
    variance = power * (1 - power) / (right_of * (power - delta) ** 2)
    variance += (1 - error) / (wrong_of * error)
    return math.log((power - delta) / error) - deviate * math.sqrt(variance)


@dataclass(frozen=True)
class GaussianMu(Alone):
    """The epsilon of the largest mu that the box of error rates contradicts."""

    name: ClassVar[str] = "gaussian-mu"
    validity: ClassVar[Validity] = "model-based"

    def found(self, tests: Sequence[Counts], delta: float, level: float) -> Found:
        """Returns the bound; at delta 0 a Gaussian mechanism has no epsilon."""
        (counts,) = tests
        mu = float(-ndtri(counts.fpr_upper(level / 2)) - ndtri(counts.fnr_upper(level / 2)))
        return Found(gdp_epsilon(mu, delta) if mu > 0 and delta > 0 else 0.0)


@dataclass(frozen=True)
class JointBeta(Alone):
    """The epsilon whose privacy region holds posterior mass ``level``, to about 1e-3."""

    name: ClassVar[str] = "joint-beta"
    validity: ClassVar[Validity] = "credible"

    def found(self, tests: Sequence[Counts], delta: float, level: float) -> Found:
        """Returns the bound.

        >>> round(JointBeta().found([Counts(1000, 1000, 800, 100)], 1e-5, 0.05).epsilon, 2)
        1.92
        """
        (counts,) = tests
        return Found(last_epsilon(lambda tried: _private_mass(counts, tried, delta) < level))


def _private_mass(counts: Counts, epsilon: float, delta: float) -> float:
    misses, rest = counts.members - counts.hits, counts.nonmembers - counts.alarms
    fnr = misses + 0.5, counts.hits + 0.5
    if counts.ranked:  # its rate's law is known; few hits, which leave out ties, are no evidence
        return 1 - _below((counts.alarms + 1, rest), fnr, epsilon, delta)
    fpr = counts.alarms + 0.5, rest + 0.5
    outside = _below(fpr, fnr, epsilon, delta) + _below(fpr[::-1], fnr[::-1], epsilon, delta)
    return 1 - outside


def _below(x: tuple[float, float], y: tuple[float, float], epsilon: float, delta: float) -> float:
    """Returns P[y < lo(x)], lo being the lower edge of the region."""
    rate = betaincinv(*x, _LEVELS)
    steep, flat = 1 - delta - rate * math.exp(epsilon), (1 - rate - delta) * math.exp(-epsilon)
    return float(betainc(*y, np.clip(np.maximum(steep, flat), 0.0, 1.0)).mean())


def gaussian_run_epsilon(guesses: Guesses, delta: float, level: float) -> Found:
    """Returns the bound of one run where the curve is that of a Gaussian of unknown mu."""
    mu = last_epsilon(
        lambda tried: rejected(guesses, lambda rate: float(ndtr(ndtri(rate) - tried)), level)
    )
    return Found(gdp_epsilon(mu, delta))

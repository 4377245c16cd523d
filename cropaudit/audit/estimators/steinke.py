"""Estimator 5: epsilon from one training run with many canaries (Steinke et al., 2305.08846).

Each of m canaries enters world A or B by its own fair coin, and r of them are guessed. Under
(epsilon, delta)-DP the number V of right guesses has

    P[V >= v] <= f(v) + 2 m delta max_i (f(v - i) - f(v)) / i,
    f(v) = P[Bin(r, e^epsilon / (1 + e^epsilon)) >= v]                          (theorem 5.2).

Canaries may depend on each other through the run in any way, and guesses on all that was seen; only
the coins must be fair and independent and the number of guesses fixed beforehand.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from scipy.optimize import brentq
from scipy.special import betainc, betaincinv, expit

from cropaudit.audit.estimators.evidence import Found, Guesses
from cropaudit.audit.result import Validity
from cropaudit.errors import require

__all__ = ["Steinke", "p_value"]

_XTOL = 1e-9  # of the root, absolute in epsilon


def p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """Returns the probability, at most, of so many right guesses under (epsilon, delta)-DP.

    Args:
        guesses: How many canaries, guesses and right ones.
        epsilon: Hypothesised epsilon.
        delta: Hypothesised delta.

    >>> round(p_value(Guesses(100, 10, 9), epsilon=0.0, delta=0.0), 6)
    0.010742
    """
    made, right = guesses.guesses, guesses.right
    if right == 0:
        return 1.0
    tail = _at_least(right, made, epsilon)
    if delta == 0:
        return tail
    return min(1.0, tail + 2 * guesses.canaries * delta * _steepest(right, made, epsilon))


@dataclass(frozen=True)
class Steinke:
    """One run, (epsilon, delta): theorem 5.2 of Steinke et al. (2305.08846), inverted.

    >>> round(Steinke().epsilon(Guesses(1000, 100, 75), delta=1e-4, level=0.05).epsilon, 3)
    0.673
    """

    name: ClassVar[str] = "one-run"
    validity: ClassVar[Validity] = "exact"
    assumes: ClassVar[str] = (
        "every canary's world was drawn by its own fair coin, number of guesses fixed beforehand"
    )

    def epsilon(self, guesses: Guesses, delta: float, level: float) -> Found:
        """Returns the largest epsilon rejected at ``level``, rounded down; at least 0.

        Raises:
            InputError: If delta is not in [0, 1] or level not in (0, 1).
        """
        require(0 < level < 1, "level", "in (0, 1)", level)
        require(0 <= delta <= 1, "delta", "in [0, 1]", delta)
        if p_value(guesses, 0.0, delta) > level:
            return Found(0.0)
        # Without delta the p-value is smaller, so its root, a quantile of the beta law, is above.
        # (From the law of the wrong rate: the right one may be 1 but for the last digits.)
        made, right = guesses.guesses, guesses.right
        wrong = float(betaincinv(made - right + 1, right, 1 - level))
        high = math.log1p(-wrong) - math.log(wrong) + _XTOL
        if delta > 0 and p_value(guesses, high, delta) > level:
            high = brentq(
                lambda epsilon: p_value(guesses, epsilon, delta) - level, 0.0, high, xtol=_XTOL
            )
        return Found(_rejected_below(guesses, high, delta, level))


def _at_least(right: int, made: int, epsilon: float) -> float:
    """Returns f(v), through the incomplete beta function."""
    return 1.0 if right <= 0 else float(betainc(right, made - right + 1, expit(epsilon)))


def _steepest(right: int, made: int, epsilon: float) -> float:
    """Returns the largest of (f(v - i) - f(v)) / i over i = 1..v.

    Each is the mean of the first i of the binomial masses at v - 1, v - 2, ..., 0. The masses rise
    to one peak and then fall. So do their running means: they rise as long as the next mass is
    above the mean so far; the first mass that is not is past the peak, and all later ones, being
    smaller still, are below the mean too. The largest mean is found by bisection for that place,
    from the peak on: before it masses may be too small to be told from zero.
    """
    tail = _at_least(right, made, epsilon)
    peak = math.floor((made + 1) * float(expit(epsilon)))
    low, high = min(max(right - peak, 1), right), right
    while low < high:
        middle = (low + high) // 2
        here = _at_least(right - middle, made, epsilon)
        following = _at_least(right - middle - 1, made, epsilon) - here
        low, high = (low, middle) if following * middle <= here - tail else (middle + 1, high)
    return (_at_least(right - low, made, epsilon) - tail) / low


def _rejected_below(guesses: Guesses, root: float, delta: float, level: float) -> float:
    """Steps down from an approximate root to a value that is rejected."""
    step = _XTOL
    while root > 0 and p_value(guesses, root, delta) > level:
        root, step = root - step, 2 * step
    return max(0.0, root)

"""Laws of counts, and p-values of them that hold for any number of draws.

All are exact but for the Monte Carlo ones, which are valid: Besag and Clifford 1991 (Biometrika 78)
for sequential ones, (1 + exceedances) / (1 + draws) for the rest (Phipson and Smyth 2010).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "DRAWS",
    "FOUND",
    "SMALL",
    "expected_share",
    "hypergeometric_sum",
    "log_choose",
    "monte_carlo",
    "poisson_binomial",
    "tails",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DRAWS = 9_999  # of a Monte Carlo test: its least p-value is 1e-4
_ENOUGH = 20  # exceedances after which more draws would not change the verdict
_FIRST = 256  # draws of the first round
SMALL = 1e-3  # p-value that powers are stated at: below what is left after correction
FOUND = 0.95  # probability of being found that powers are stated at


def monte_carlo(seen: float, draw: Callable[[int], Floats], draws: int = DRAWS) -> float:
    """Returns the p-value of a large ``seen`` among draws of the null, exchangeable with it.

    Args:
        seen: The statistic.
        draw: Returns so many statistics of the null.
        draws: At most.
    """
    # A statistic that is a sum in another order differs in the last digits.
    least = seen - 1e-9 * max(abs(seen), 1.0)
    done = above = 0
    while done < draws:
        # The number of draws must not depend on the present round: rounds double.
        size = min(max(_FIRST, done), draws - done)
        over = np.flatnonzero(draw(size) >= least)
        if above + len(over) >= _ENOUGH:
            return float(_ENOUGH / (done + over[_ENOUGH - above - 1] + 1))
        above += len(over)
        done += size
    return (1 + above) / (1 + draws)


def log_choose(total: int, chosen: int) -> float:
    """Returns the logarithm of a binomial coefficient.

    >>> round(log_choose(4, 2), 6) == round(math.log(6), 6)
    True
    """
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)


def poisson_binomial(chances: Sequence[float] | Floats) -> Floats:
    """Returns the law of the number of successes of independent trials, shape (trials + 1,).

    >>> poisson_binomial([0.5, 0.5]).round(9).tolist()
    [0.25, 0.5, 0.25]
    """
    law = np.ones(1)
    for chance, count in zip(*np.unique(chances, return_counts=True), strict=True):
        part = stats.binom.pmf(np.arange(count + 1), count, float(np.clip(chance, 0, 1)))
        law = np.convolve(law, part)
    return law


def hypergeometric_sum(records: int, first: Integers, second: Integers) -> Floats:
    """Returns the law of the sum of independent overlaps of random sets.

    Args:
        records: Size of the population.
        first: Sizes of the first sets, shape (n,).
        second: Sizes of those that meet them.
    """
    pairs, counts = np.unique(
        np.sort(np.stack([first, second]), axis=0), axis=1, return_counts=True
    )
    law = np.ones(1)
    for (small, large), count in zip(pairs.T, counts, strict=True):
        part = stats.hypergeom.pmf(np.arange(small + 1), records, int(large), int(small))
        law = np.convolve(law, _power(np.nan_to_num(part), int(count)))
    return law


def tails(law: Floats, seen: int) -> tuple[float, float]:
    """Returns the probabilities of at most and at least ``seen``, each at most 1."""
    lower, upper = law[: seen + 1].sum(), law[max(seen, 0) :].sum()
    return min(float(lower), 1.0), min(float(upper), 1.0)


def expected_share(trials: int, chance: float, tests: int = 1) -> float:
    """Returns the share of trials that would be found to exceed ``chance``.

    That is the success probability which, in so many trials, a one-sided binomial test at `SMALL`
    over ``tests`` finds with probability `FOUND`; 1 if none does.
    """
    if trials < 1:
        return 1.0
    critical = int(stats.binom.isf(SMALL / tests, trials, chance)) + 1
    if critical > trials:
        return 1.0
    return float(stats.beta.ppf(FOUND, critical, trials - critical + 1))


def _power(law: Floats, count: int) -> Floats:
    """Returns the law of the sum of ``count`` draws, by squaring."""
    result, square = np.ones(1), law
    while count:
        if count & 1:
            result = np.convolve(result, square)
        count >>= 1
        if count:
            square = np.convolve(square, square)
    return result

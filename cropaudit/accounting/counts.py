"""Laws of counts, from logs of gamma functions: scipy.stats takes long to load."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

__all__ = ["binomial", "hypergeometric"]

Array = NDArray[np.float64]


def binomial(counts: NDArray[np.int64], trials: int, probability: float) -> Array:
    """Returns the probabilities of so many successes.

    >>> binomial(np.arange(3), 2, 0.5).round(12).tolist()
    [0.25, 0.5, 0.25]
    """
    legal = counts <= trials
    k = np.minimum(counts, trials)
    logs = _choose(trials, k) + xlogy(k, probability) + xlog1py(trials - k, -probability)
    return np.where(legal, np.exp(logs), 0.0)


def hypergeometric(counts: NDArray[np.int64], total: int, marked: int, drawn: int) -> Array:
    """Returns the probabilities of so many marked ones among those drawn without replacement.

    >>> hypergeometric(np.arange(3), 4, 2, 2).round(12).tolist()
    [0.166666666667, 0.666666666667, 0.166666666667]
    """
    legal = (counts <= min(marked, drawn)) & (drawn - counts <= total - marked)
    k = np.where(legal, counts, max(0, drawn - total + marked))
    # C(m, k) [d]_k [t-d]_(m-k) / [t]_m: few factors, where factorials of a million lose digits.
    hits, misses, ways = (_falling(n, marked) for n in (drawn, total - drawn, total))
    logs = _choose(marked, k) + hits[k] + misses[marked - k] - ways[marked]
    return np.where(legal, np.exp(logs), 0.0)


def _falling(n: int, most: int) -> Array:
    """Returns the logs of n (n-1) ... (n-k+1) for k = 0, ..., most; beyond k = n it has no use."""
    factors = np.maximum(n - np.arange(most, dtype=np.float64), 1.0)
    return np.concatenate([[0.0], np.cumsum(np.log(factors))])


def _choose(n: int, k: NDArray[np.int64] | int) -> Array:
    return np.asarray(gammaln(n + 1.0) - gammaln(np.add(k, 1.0)) - gammaln(np.subtract(n + 1.0, k)))

"""Laws of counts, from logs of gamma functions: scipy.stats takes long to load."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

from cropaudit.errors import require

__all__ = ["Rates", "averaged", "binomial", "hypergeometric"]

Array = NDArray[np.float64]
Rates = TypeVar("Rates", float, NDArray[np.float64])


def averaged(rho: Rates, crops_per_image: int) -> Rates:
    """Returns 1 - (1 - rho)**K: the probability that one of K crops meets the patch.

    K independent crops of an image whose gradients are averaged before clipping count as one
    gradient, which may change as soon as one of them shows the patch.

    Args:
        rho: Inclusion probabilities of a single crop, in [0, 1].
        crops_per_image: The number K, at least 1.

    Raises:
        InputError: If a value is out of range.

    >>> round(averaged(0.1, 2), 6), averaged(1.0, 3), averaged(1e-20, 2)
    (0.19, 1.0, 2e-20)
    """
    require(crops_per_image >= 1, "crops per image", "at least 1", crops_per_image)
    values = np.asarray(rho, dtype=np.float64)
    legal = bool(np.all((values >= 0) & (values <= 1)))
    require(legal, "inclusion probability", "in [0, 1]", rho)
    with np.errstate(divide="ignore"):  # log 0, at rho = 1, is the limit that is meant
        found = -np.expm1(crops_per_image * np.log1p(-values))
    # One crop is the crop itself, to the last digit.
    found = np.maximum(found, values) if crops_per_image > 1 else values
    return found if isinstance(rho, np.ndarray) else float(found)


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

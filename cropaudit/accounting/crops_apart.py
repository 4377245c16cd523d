"""Several crops of one image in one step, each clipped on its own and all summed.

An image then moves the sum by up to 2K, not 2. How many of its K crops meet the patch is binomial,
and it is tempting to take the pair sum_j Bin(K, rho)(j) N(2j - K) against N(-K) as the worst case.
It is not: a search finds gradients above it, as when the missing crops cancel each other. What is
proved (docs/theory.md) is the mean, over the number j of meeting crops given that there is one, of
the divergence in which a part of weight q(1 - (1-rho)^K) moves from K - 2j to K, beside what both
worlds share: the missing crops' N(K - 2j), and N(0) or N(-K) where the record is absent.
"""

import numpy as np

from cropaudit.accounting.counts import binomial
from cropaudit.accounting.divergences import Revealed, TopShift
from cropaudit.accounting.pairs import MixturePair

__all__ = ["apart_game", "apart_loss"]


def apart_loss(crops: int, rate: float, rho: float, absent: float, sigma: float) -> Revealed:
    """Returns an upper bound on the divergence of either order of the worlds.

    Args:
        crops: Crops of one image, K.
        rate: Probability that a step uses the record, q.
        rho: Probability that one crop meets the patch.
        absent: What stands in the sum, per crop, where the record is absent: 0 or -1.
        sigma: Noise multiplier.
    """
    hits = np.arange(1, crops + 1)
    weights = binomial(hits, crops, rho)
    any_hit = float(weights.sum())
    shares = weights / any_hit if any_hit > 0 else np.eye(crops)[0]
    parts = tuple(
        TopShift(
            common=((absent * crops, 1 - rate), (crops - 2.0 * j, rate * (1 - any_hit))),
            low=crops - 2.0 * j,
            top=float(crops),
            rate=rate * any_hit,
            sigma=sigma,
        )
        for j in hits.tolist()
    )
    return Revealed(tuple(shares.tolist()), parts)


def apart_game(crops: int, rate: float, rho: float, absent: float, sigma: float) -> MixturePair:
    """Returns the worlds in which every crop that meets gives +1 or -1 and every other gives -1.

    Arguments are those of `apart_loss`. Gradients can bring this about, so it is what an attack can
    play; the bound lies above it.
    """
    hits = np.arange(crops + 1)
    means = (absent * crops, *(2.0 * hits - crops).tolist())
    p = (1 - rate, *(rate * binomial(hits, crops, rho)).tolist())
    q = (1 - rate, rate, *([0.0] * crops))
    return MixturePair(means, p, q, sigma)

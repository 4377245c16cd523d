"""Scores drawn from known laws, and the exact chance that a test of counts rejects.

A score whose ROC is a given curve may be replaced by the false positive rate at which it lies:
under world B that rate is uniform, under world A its distribution function is the curve.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom, norm

from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.estimators.scores import Scores

__all__ = [
    "curve_scores",
    "fixed_chance",
    "ranked_chance",
    "summed_scores",
]

Array = NDArray[np.float64]
TradeOff = Callable[[Array], Array]

_KNOTS = np.concatenate(
    [[0.0], np.geomspace(1e-9, 0.5, 4000), 1 - np.geomspace(0.5, 1e-9, 4000)[1:], [1.0]]
)


def curve_scores(curve: TradeOff, trials: tuple[int, int], rng: np.random.Generator) -> Scores:
    """Returns scores whose ROC is a curve; where it begins above 0 such members tie at the top."""
    heights = np.minimum(np.maximum.accumulate(curve(_KNOTS)), 1.0)
    heights[-1] = 1.0
    drawn = rng.random(trials[0])
    member = np.where(drawn <= heights[0], 0.0, np.interp(drawn, heights, _KNOTS))
    return Scores.of(-member, -rng.random(trials[1]))


def summed_scores(
    mechanism: PatchMechanism,
    trials: tuple[int, int],
    rng: np.random.Generator,
    scoring: PatchMechanism | None = None,
) -> Scores:
    """Returns summed log-likelihood ratios of games that a mechanism's pair really plays.

    Args:
        mechanism: What is played; world A is P of its pair.
        trials: Numbers of members and of nonmembers.
        rng: Source of randomness.
        scoring: Whose likelihood ratio is summed; the played mechanism's unless given.
    """
    pair, steps = mechanism.pair(), mechanism.compositions
    ratio = (scoring or mechanism).pair().log_ratio
    worlds = []
    for weights, count in zip((pair.p, pair.q), trials, strict=True):
        means = rng.choice([-1.0, 0.0, 1.0], p=weights, size=(count, steps))
        worlds.append(ratio(rng.normal(means, pair.sigma)).sum(axis=1))
    return Scores.of(*worlds)


def fixed_chance(rejects: NDArray[np.bool_], tprs: Array, fprs: Array) -> Array:
    """Returns the exact probability of rejection at operating points, shape as theirs.

    Args:
        rejects: By hits (rows) and alarms (columns), shape (members + 1, nonmembers + 1).
        tprs: True positive rates, shape (points,).
        fprs: False positive rates, shape (points,).
    """
    n, m = (size - 1 for size in rejects.shape)
    hits = binom.pmf(np.arange(n + 1), n, np.clip(tprs, 0, 1)[:, None])
    alarms = binom.pmf(np.arange(m + 1), m, fprs[:, None])
    return np.asarray(np.einsum("ph,ha,pa->p", hits, rejects.astype(float), alarms))


def ranked_chance(
    least: int, curve: TradeOff, members: int, rank: int, nonmembers: int, cells: int = 4000
) -> float:
    """Returns the probability of at least so many hits above a rank, by quadrature.

    The rate follows Beta(rank, nonmembers - rank + 1); midpoints of cells of equal deviation.
    """
    edges = np.linspace(-8.5, 8.5, cells + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    upper, law = middle > 0, beta(rank, nonmembers - rank + 1)
    mass = np.where(
        upper, norm.sf(edges[:-1]) - norm.sf(edges[1:]), norm.cdf(edges[1:]) - norm.cdf(edges[:-1])
    )
    rate = np.where(upper, law.isf(norm.sf(middle)), law.ppf(norm.cdf(middle)))
    tails = binom.sf(least - 1, members, np.clip(curve(rate), 0, 1))
    return float(mass @ tails)

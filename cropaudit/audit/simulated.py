"""Games whose true epsilon is known: the ground on which estimators are tested.

Scores are drawn straight from the mixtures of a mechanism's pair, or from randomised response, the
mechanism at which an (epsilon, delta) bound is tight. Nothing is trained.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import require

__all__ = ["pair_scores", "response_scores", "summed_scores"]

Array = NDArray[np.float64]


def summed_scores(
    mechanism: PatchMechanism, games: int, rng: np.random.Generator, *, member: bool
) -> Array:
    """Returns the best scores of one world: log-likelihood ratios of the pair, summed over steps.

    Args:
        mechanism: What is played and scored.
        games: How many scores.
        rng: Source of all randomness.
        member: Whether they are drawn in world A.
    """
    pair = mechanism.pair()
    weights = pair.p if member else pair.q
    total = np.zeros(games)
    for _ in range(mechanism.compositions):
        which = rng.random(games)
        means = np.where(which < weights[2], 1.0, np.where(which < sum(weights[1:]), 0.0, -1.0))
        total += pair.log_ratio(means + pair.sigma * rng.standard_normal(games))
    return total


def pair_scores(
    mechanism: PatchMechanism,
    trials: tuple[int, int],
    rng: np.random.Generator,
    *,
    alike: bool = False,
) -> Scores:
    """Returns scores of a game on the mechanism's pair.

    Args:
        mechanism: What is played and scored.
        trials: Numbers of members and of nonmembers.
        rng: Source of all randomness.
        alike: Whether both worlds are B, so that there is nothing to find.
    """
    member = summed_scores(mechanism, trials[0], rng, member=not alike)
    return Scores.of(member, summed_scores(mechanism, trials[1], rng, member=False))


def response_scores(epsilon: float, trials: tuple[int, int], rng: np.random.Generator) -> Scores:
    """Returns randomised responses, the worst that (epsilon, 0)-DP allows.

    Args:
        epsilon: The true epsilon.
        trials: Numbers of members and of nonmembers.
        rng: Source of all randomness.

    Raises:
        InputError: If epsilon is negative.
    """
    require(epsilon >= 0, "epsilon", "at least 0", epsilon)
    truth = 1 / (1 + math.exp(-epsilon))
    told = rng.random(trials[0]) < truth, rng.random(trials[1]) >= truth
    return Scores.of(told[0].astype(float), told[1].astype(float))

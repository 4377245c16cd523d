"""Scores of a game drawn from their exact law, so that a large study does not play every step.

A summed log-likelihood ratio has the composed trade-off curve of its pair as its ROC. A member's
score may therefore be replaced by the false positive rate at which it lies: under world B that rate
is uniform, under world A its distribution function is the curve.
"""

import numpy as np

from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.scores import Scores

__all__ = ["curve_scores"]

_KNOTS = np.concatenate(
    [[0.0], np.geomspace(1e-9, 0.5, 4000), 1 - np.geomspace(0.5, 1e-9, 4000)[1:]]
)


def curve_scores(family: Family, trials: tuple[int, int], rng: np.random.Generator) -> Scores:
    """Returns scores of the family's claimed member, best attack, world A being P of its pair."""
    knots = np.append(_KNOTS, 1.0)
    heights = np.maximum.accumulate(family.curve(0).parts[0].highest_tpr(knots))
    heights[-1] = 1.0
    member = np.interp(rng.random(trials[0]), heights, knots)
    return Scores.of(-member, -rng.random(trials[1]))

"""What an epsilon means in operation, and where in the image it holds: both rounded up."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.accountant import bracket, round_up
from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.accounting.mechanisms import Mechanism
from cropaudit.errors import require

__all__ = ["Risk", "epsilon_map", "operational_risk"]

Array = NDArray[np.float64]

_RATES = (1e-3, 1e-2)
_LEVELS = 48  # distinct inclusion probabilities of a map that get an epsilon of their own
_SPAN = 40.0
_COARSE = 5e-3  # gap of the bounds of a map, but for its worst place


@dataclass(frozen=True)
class Risk:
    """How well any attack can do at telling two neighbours apart.

    Attributes:
        advantage: Largest true positive rate less false positive rate (Bayes advantage).
        accuracy: Largest share of right answers about a fair coin.
        tpr: Largest true positive rates, at the false positive rates of ``fpr``.
        fpr: False positive rates.
    """

    advantage: float
    accuracy: float
    tpr: tuple[float, ...]
    fpr: tuple[float, ...]


def operational_risk(curve: PrivacyCurve, fpr: Sequence[float] = _RATES) -> Risk:
    """Returns what a curve allows, rounded up.

    Args:
        curve: A trade-off curve.
        fpr: False positive rates, each in [0, 1].

    Raises:
        InputError: If a rate is out of range.
    """
    for rate in fpr:
        require(0 <= rate <= 1, "false positive rate", "in [0, 1]", rate)
    advantage = min(1.0, round_up(curve.delta(0.0)))
    tpr = curve.highest_tpr(np.asarray(fpr, dtype=np.float64))
    rates = tuple(min(1.0, round_up(float(rate))) for rate in tpr)
    return Risk(advantage, min(1.0, round_up((1 + advantage) / 2)), rates, tuple(fpr))


def epsilon_map(mechanism: Mechanism, rho: Array, delta: float) -> Array:
    """Returns epsilon for a patch at every place, where the inclusion probability is rho(z).

    Args:
        mechanism: Everything but the inclusion probability.
        rho: Inclusion probabilities, any shape.
        delta: Target delta.

    Returns:
        Upper bounds of the same shape, half a percent too high at most but for the worst place; of
        very many distinct probabilities each takes the epsilon of the next higher one of 48, the
        least of which is a fortieth of the largest.
    """
    levels = np.unique(rho)
    if len(levels) > _LEVELS:
        # Even in the ratio, as epsilon is about proportional. Tiny rates cost most, and are told
        # apart by nobody; only a patch out of reach has epsilon 0.
        low = max(levels[levels > 0][0], levels[-1] / _SPAN)
        steps = np.geomspace(low, levels[-1], _LEVELS)
        steps[-1] = levels[-1]  # to the last digit
        levels = np.append(0.0, steps) if levels[0] == 0 else steps
    placed = [replace(mechanism, inclusion=float(level)) for level in levels]
    values = [bracket(one, delta, _COARSE).upper for one in placed[:-1]]
    values.append(bracket(placed[-1], delta).upper)
    at = np.searchsorted(levels, rho * (1 - 1e-12), side="left")
    return np.asarray(
        np.minimum(np.maximum.accumulate(values), values[-1])[np.minimum(at, len(levels) - 1)]
    )

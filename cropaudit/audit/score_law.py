"""The law of a probe's score, and the ROC that it therefore attains: computed, not simulated.

A score is the sum over steps of one pair's log-likelihood ratio, while the steps may follow another
pair (less noise than configured). Steps are independent, so the law in either world is a
convolution power. Where both pairs are one, the ROC is the composed trade-off curve; elsewhere it
lies below the curve of what is played, and power must be planned with it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.pairs import StepPair
from cropaudit.audit.estimators.rate_test import TradeOff

__all__ = ["attained", "score_rates"]

Array = NDArray[np.float64]

_POINTS = 40_000  # of the grid over one step's observation
_REACH = 13.0  # deviations of the score that the transform holds
_CELLS = 1 << 18  # of the transform, at most about


def attained(scoring: StepPair, played: StepPair, steps: int) -> TradeOff:
    """Returns the true positive rates of the summed score by its false positive rates.

    Args:
        scoring: The pair whose likelihood ratio is the score of a step.
        played: The pair that the steps really follow.
        steps: Steps that are summed.
    """
    _, tpr, fpr = score_rates(scoring, played, steps)
    x = np.concatenate([[0.0], fpr[::-1], [1.0]])
    y = np.concatenate([[0.0], tpr[::-1], [1.0]])

    def rates(at: Array) -> Array:
        return np.asarray(np.interp(at, x, y))

    return rates


def score_rates(scoring: StepPair, played: StepPair, steps: int) -> tuple[Array, Array, Array]:
    """Returns the law of the summed score in both worlds.

    Args:
        scoring: The pair whose likelihood ratio is the score of a step.
        played: The pair that the steps really follow.
        steps: Steps that are summed.

    Returns:
        (thresholds, true positive rates, false positive rates) of "score >= threshold", the
        thresholds increasing, shapes (cells,).
    """
    loss, masses = _one_step(scoring, played)
    start, width, size = _lattice(loss, masses, steps)
    tails = []
    for mass in masses:
        power = np.fft.irfft(np.fft.rfft(_on_lattice(loss / width, mass, size)) ** steps, size)
        law = np.maximum(np.roll(power, -(start % size)), 0.0)
        tails.append(np.minimum(np.cumsum(law[::-1])[::-1], 1.0))
    thresholds = (np.arange(size) + start - 0.5) * width
    return np.asarray(thresholds, float), tails[0], tails[1]


def _one_step(scoring: StepPair, played: StepPair) -> tuple[Array, list[Array]]:
    """Returns scores of one step on a grid, and the masses there in world A and in world B."""
    reach = 1 + 9 * played.sigma
    edges = np.linspace(-reach, reach, _POINTS + 1)
    loss = scoring.log_ratio((edges[1:] + edges[:-1]) / 2)
    tails = played.masses_above(edges)
    return loss, [-np.diff(above) / (above[0] - above[-1]) for above in tails]


def _lattice(loss: Array, masses: list[Array], steps: int) -> tuple[int, float, int]:
    """Returns first cell, width and number of cells of a lattice that holds both worlds' sums.

    The worlds' deviations may differ much, and the cells must be fine for either of them.
    """
    means = [float(mass @ loss) for mass in masses]
    deviations = [
        math.sqrt(float(mass @ (loss - mean) ** 2))
        for mass, mean in zip(masses, means, strict=True)
    ]
    spread = max(*deviations, 1e-9)
    half = _REACH * spread * math.sqrt(steps) + steps * abs(means[0] - means[1]) / 2
    half += float(loss.max() - loss.min())
    width = max(min(spread, *deviations) / 50, 2 * half / _CELLS)
    size = 1 << math.ceil(math.log2(2 * half / width + 1))
    return round(steps * sum(means) / 2 / width) - size // 2, width, size


def _on_lattice(cells: Array, mass: Array, size: int) -> Array:
    """Parts each mass between its two neighbours on the lattice, taken modulo ``size``.

    That keeps the mean: rounding to the nearest would add its bias in every step.
    """
    below = np.floor(cells)
    upper = mass * (cells - below)
    index = below.astype(np.int64) % size
    low = np.bincount(index, weights=mass - upper, minlength=size)
    high = np.bincount((index + 1) % size, weights=upper, minlength=size)
    return np.asarray(low + high)

"""Is noise drawn anew in each step, for each layer and each coordinate?

The correlation, about 0, of two independent vectors of normal noise is of Student's law, exactly,
whatever their scales. That of neighbours is normal up to 1 / (number of draws).
"""

import math

import numpy as np
from scipy.special import ndtr, stdtr

from cropaudit.audit.conformance.checks.contributions import Array, Steps
from cropaudit.audit.conformance.outcome import Tested

__all__ = ["fresh_test"]

# A correlation of two steps' noise that is worth counting; chance gives 0.1 at most.
_RELATED = 0.3


def fresh_test(steps: Steps) -> Tested:
    """Tests steps against each other, layers against each other, and neighbours in a layer."""
    rows = steps.quiet[np.any(steps.quiet != 0, axis=1)]
    layers = steps.seen.layer[steps.seen.quiet]
    # The two largest parameters, which are of one shape.
    one, other = np.sort(np.argsort(np.bincount(layers), kind="stable")[-2:])
    first, second = rows[:, layers == one], rows[:, layers == other]
    shared = min(first.shape[1], second.shape[1])
    across = _correlation(first[:, :shared].ravel(), second[:, :shared].ravel())
    near = [_neighbours(part) for part in (first, second)]
    pairs, close = _step_pairs(rows)
    found = {
        f"{close} pairs of steps add the same or nearly the same noise: seed the generator once, "
        "before training": pairs,
        "the layers get related noise: draw each from one running generator": across,
        "neighbouring coordinates get related noise: draw each by itself": min(1, 2 * min(near)),
    }
    worst = min(found, key=lambda words: found[words])
    return Tested(
        "the noise is fresh in each step, layer and coordinate",
        min(1.0, len(found) * found[worst]),
        worst,
    )


def _step_pairs(rows: Array) -> tuple[float, int]:
    """Returns the corrected p-value of the closest two steps, and how many are close."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    close = np.abs((unit @ unit.T)[np.triu_indices(len(rows), 1)])
    if not close.size:
        return 1.0, 0
    p_value = _two_sided(float(close.max()), rows.shape[1])
    return min(1.0, close.size * p_value), int(np.sum(close > _RELATED))


def _correlation(one: Array, other: Array) -> float:
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return _two_sided(float(one @ other) / scale, one.size) if scale else 1.0


def _neighbours(rows: Array) -> float:
    # Products of neighbours are uncorrelated, each of variance noise^4.
    products = rows[:, 1:] * rows[:, :-1]
    scale = float(np.mean(rows**2)) * math.sqrt(products.size)
    return 2 * float(ndtr(-abs(float(products.sum()) / scale)))


def _two_sided(r: float, size: int) -> float:
    """Returns the p-value of a correlation about 0 of ``size`` pairs, by Student's law."""
    if abs(r) >= 1:
        return 0.0
    return 2 * float(stdtr(size - 1, -abs(r) * math.sqrt((size - 1) / (1 - r * r))))

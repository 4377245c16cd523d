"""The plan of a probe game: its threshold, fixed before any score is seen, and its power.

The score of a slot is a sum of independent steps, so its law in either world is a convolution
power; both plan and power are computed from it, not simulated.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrik

from cropaudit.accounting.accountant import epsilon_at, pair_curve
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.pairs import StepPair
from cropaudit.audit.estimators.limits import Box, upper_limit

__all__ = ["choose_threshold", "detectable_epsilon", "score_rates"]

Array = NDArray[np.float64]

_POINTS = 40_000  # of the grid over one step's observation
_REACH = 13.0  # deviations of the score that the transform holds
_CELLS = 1 << 18  # of the transform, at most about


def score_rates(scoring: StepPair, played: StepPair, steps: int) -> tuple[Array, Array, Array]:
    """Returns the law of the summed score in both worlds.

    Args:
        scoring: The pair whose likelihood ratio is the score of a step.
        played: The pair that the steps really follow.
        steps: Steps that are summed.

    Returns:
        (thresholds, true positive rates, false positive rates) of "score >= threshold", the
        thresholds increasing.
    """
    reach = 1 + 9 * played.sigma
    edges = np.linspace(-reach, reach, _POINTS + 1)
    above_p, above_q = played.masses_above(edges)
    loss = scoring.log_ratio((edges[1:] + edges[:-1]) / 2)
    masses = [-np.diff(above) / (above[0] - above[-1]) for above in (above_p, above_q)]
    means = [float(mass @ loss) for mass in masses]
    deviations = [
        math.sqrt(float(mass @ (loss - mean) ** 2))
        for mass, mean in zip(masses, means, strict=True)
    ]
    spread = max(*deviations, 1e-9)
    middle = steps * sum(means) / 2
    half = _REACH * spread * math.sqrt(steps) + steps * abs(means[0] - means[1]) / 2
    half += float(loss.max() - loss.min())
    # The worlds' deviations may differ much, and the cells must be fine for either of them.
    width = max(min(spread, *deviations) / 50, 2 * half / _CELLS)
    size = 1 << math.ceil(math.log2(2 * half / width + 1))
    start = round(middle / width) - size // 2
    tails = []
    for mass in masses:
        one = _on_lattice(loss / width, mass, size)
        power = np.fft.irfft(np.fft.rfft(one) ** steps, size)
        law = np.maximum(np.roll(power, -(start % size)), 0.0)
        tails.append(np.cumsum(law[::-1])[::-1])
    thresholds = (np.arange(size) + start - 0.5) * width
    return np.asarray(thresholds, float), np.minimum(tails[0], 1.0), np.minimum(tails[1], 1.0)


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


def choose_threshold(
    mechanism: PatchMechanism, delta: float, members: int, nonmembers: int, level: float
) -> float:
    """Returns the threshold that promises the largest mechanism f-DP bound.

    Of all thresholds, the one whose expected box rejects the loudest member of the family; it
    depends on the configured mechanism and on the numbers of trials only.
    """
    pair, steps = mechanism.pair(), mechanism.compositions
    thresholds, tpr, fpr = score_rates(pair, pair, steps)
    wanted = np.geomspace(0.5, 1e-6, 160)
    picks = np.unique(np.searchsorted(-fpr, -wanted).clip(0, len(fpr) - 1))
    fpr_upper = np.array([upper_limit(nonmembers * x, nonmembers, level / 2) for x in fpr[picks]])
    fnr_upper = np.array([upper_limit(members * (1 - x), members, level / 2) for x in tpr[picks]])
    low, high = math.log(0.5), math.log(50.0)
    best = int(np.argmin(fpr_upper + fnr_upper))
    for _ in range(14):
        middle = (low + high) / 2
        noisier = mechanism.with_noise(mechanism.noise_multiplier * math.exp(middle)).pair()
        curve = pair_curve(noisier, steps, delta, agree=4e-3)
        margin = 1 - fnr_upper - curve.highest_tpr(fpr_upper)
        if margin.max() > 0:
            high, best = middle, int(np.argmax(margin))
        else:
            low = middle
    return float(thresholds[picks[best]])


def detectable_epsilon(
    mechanism: PatchMechanism,
    rejects: Callable[[Box], bool],
    threshold: float,
    members: int,
    nonmembers: int,
    level: float,
    delta: float,
    power: float = 0.9,
) -> float | None:
    """Returns the smallest true epsilon that the game finds with the wanted power.

    The truth is the configured mechanism at less noise than configured; scores and threshold stay
    those of the configured one.

    Args:
        mechanism: The configured mechanism.
        rejects: Whether a box contradicts the claim.
        threshold: The game's threshold.
        members: Trials in world A.
        nonmembers: Trials in world B.
        level: Of the box.
        delta: For epsilon.
        power: Wanted probability of a rejection.

    Returns:
        An epsilon, or none if not even a twentieth of the noise would be found.
    """
    scoring, steps = mechanism.pair(), mechanism.compositions
    slack = (1 - power) / 2  # for each of the two counts

    def found(log_factor: float) -> bool:
        played = mechanism.with_noise(mechanism.noise_multiplier * math.exp(log_factor)).pair()
        thresholds, tpr, fpr = score_rates(scoring, played, steps)
        at = min(int(np.searchsorted(thresholds, threshold)), len(thresholds) - 1)
        alarms = _high_count(nonmembers, float(fpr[at]), slack)
        misses = _high_count(members, float(1 - tpr[at]), slack)
        return rejects(
            Box(
                fpr_upper=upper_limit(alarms, nonmembers, level / 2),
                fnr_upper=upper_limit(misses, members, level / 2),
                level=level,
                members=members,
                nonmembers=nonmembers,
                true_positives=members - misses,
                false_positives=alarms,
            )
        )

    loud, quiet = math.log(1 / 20), math.log(3.0)
    if not found(loud):
        return None
    if found(quiet):
        loud = quiet
    while quiet - loud > 2e-3:
        middle = (loud + quiet) / 2
        loud, quiet = (middle, quiet) if found(middle) else (loud, middle)
    return epsilon_at(mechanism.with_noise(mechanism.noise_multiplier * math.exp(loud)), delta)


def _high_count(trials: int, rate: float, slack: float) -> int:
    """Returns a count that is exceeded with probability at most ``slack``."""
    if trials * rate <= slack:  # also where the quantile function gives NaN
        return 0
    if rate >= 1:
        return trials
    return min(trials, max(0, math.ceil(float(bdtrik(1 - slack, trials, rate)))))

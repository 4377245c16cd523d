"""The plan of a probe game: its thresholds, none chosen on the scores it is used on, and its power.

The score of a slot is a sum of independent steps, so its law in either world is a convolution
power; both plan and power are computed from it, not simulated.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrik

from cropaudit.accounting.accountant import epsilon_at, pair_curve
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.pairs import StepPair
from cropaudit.audit.estimators.limits import Box, upper_limit
from cropaudit.audit.estimators.scores import Scores

__all__ = [
    "detectable_epsilon",
    "learned_threshold",
    "planned_threshold",
    "score_rates",
    "scoring_pairs",
]

Array = NDArray[np.float64]

_POINTS = 40_000  # of the grid over one step's observation
_FACTORS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.05)  # of the configured noise
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


def scoring_pairs(mechanism: PatchMechanism) -> tuple[StepPair, ...]:
    """Returns the pairs by which slots are scored: the configured one, and ones with less noise.

    A score that expects the configured noise is a poor one where noise is missing; the learned
    threshold picks among all of these.
    """
    noise = mechanism.noise_multiplier
    return tuple(mechanism.with_noise(noise * factor).pair() for factor in _FACTORS)


def planned_threshold(
    mechanism: PatchMechanism, delta: float, members: int, nonmembers: int, level: float
) -> float:
    """Returns the threshold that promises the largest mechanism f-DP bound.

    It depends on the configured mechanism and on the numbers of trials only. It is the best where
    the pipeline is as configured, and far from it where it is not: less noise moves the whole law
    of the score. So a game uses `learned_threshold` beside it.
    """
    pair = mechanism.pair()
    cuts, tpr, fpr = score_rates(pair, pair, mechanism.compositions)
    picks = np.unique(np.searchsorted(-fpr, -np.geomspace(0.5, 1e-6, 160)).clip(0, len(fpr) - 1))
    limits = _limits(tpr[picks], fpr[picks], members, nonmembers, level)
    at, _ = _loudest(mechanism, delta, *limits)
    return float(cuts[picks[at]])


def learned_threshold(
    scores: Sequence[Scores], mechanism: PatchMechanism, delta: float, level: float
) -> tuple[int, float]:
    """Returns which of several scores, at which threshold, has the largest mechanism f-DP bound.

    Valid for other slots only: split them, learn on one part, test on the other.
    """
    found = [_learned(item, mechanism, delta, level) for item in scores]
    best = min(range(len(found)), key=lambda i: found[i][0])
    return best, found[best][1]


def _learned(
    scores: Scores, mechanism: PatchMechanism, delta: float, level: float
) -> tuple[float, float]:
    """Returns the smallest rejected log noise factor, and the threshold that rejects it."""
    cuts = np.unique(np.concatenate([scores.member, scores.nonmember]))
    cuts = cuts[np.unique(np.linspace(0, len(cuts) - 1, 300).astype(int))]
    n, m = len(scores.member), len(scores.nonmember)
    tpr = 1 - np.searchsorted(np.sort(scores.member), cuts) / n
    fpr = 1 - np.searchsorted(np.sort(scores.nonmember), cuts) / m
    at, factor = _loudest(mechanism, delta, *_limits(tpr, fpr, n, m, level))
    return factor, float(cuts[at])


def _limits(
    tpr: Array, fpr: Array, members: int, nonmembers: int, level: float
) -> tuple[Array, Array]:
    """Returns upper limits of false positive and of false negative rates at expected counts."""
    fpr_upper = [upper_limit(nonmembers * float(x), nonmembers, level / 2) for x in fpr]
    fnr_upper = [upper_limit(members * (1 - float(x)), members, level / 2) for x in tpr]
    return np.array(fpr_upper), np.array(fnr_upper)


def _loudest(
    mechanism: PatchMechanism, delta: float, fpr_upper: Array, fnr_upper: Array
) -> tuple[int, float]:
    """Returns which box rejects the loudest member of the family, and its log noise factor."""
    best = int(np.argmin(fpr_upper + fnr_upper))
    low, high = math.log(1 / 50), math.log(50)
    while high - low > 1e-3:
        middle = (low + high) / 2
        other = mechanism.with_noise(mechanism.noise_multiplier * math.exp(middle)).pair()
        curve = pair_curve(other, mechanism.compositions, delta, agree=4e-3)
        margin = 1 - fnr_upper - curve.highest_tpr(fpr_upper)
        if margin.max() > 0:
            high, best = middle, int(np.argmax(margin))
        else:
            low = middle
    return best, high


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

    The truth is the configured mechanism at less noise than configured. The game has
    two boxes at half the level each: all trials at the planned threshold, and half of the trials at
    the threshold learned on the others; here that is the best one there is, which the learned one
    comes near as its merit is flat around the best.

    Args:
        mechanism: The configured mechanism.
        rejects: Whether a box contradicts the claim.
        threshold: The planned threshold.
        members: Trials in world A.
        nonmembers: Trials in world B.
        level: Of the whole game.
        delta: For epsilon.
        power: Wanted probability of a rejection.

    Returns:
        An epsilon such that any noise that is lower still, down to a twentieth of the configured
        one, is found as well; none if even that is missed.
    """
    slack = (1 - power) / 2  # for each of the two counts

    def box(trials: tuple[int, int], tpr: float, fpr: float) -> Box:
        alarms = _high_count(trials[1], fpr, slack)
        misses = _high_count(trials[0], 1 - tpr, slack)
        return _expected_box(*trials, alarms, misses, level / 2)

    def found(log_factor: float) -> bool:
        played = mechanism.with_noise(mechanism.noise_multiplier * math.exp(log_factor)).pair()
        half = (members // 2, nonmembers // 2)
        for number, scoring in enumerate(scoring_pairs(mechanism)):
            cuts, tpr, fpr = score_rates(scoring, played, mechanism.compositions)
            at = min(int(np.searchsorted(cuts, threshold)), len(cuts) - 1)
            if number == 0 and rejects(box((members, nonmembers), float(tpr[at]), float(fpr[at]))):
                return True
            picks = np.searchsorted(-fpr, -np.geomspace(0.9, 1e-6, 60)).clip(0, len(fpr) - 1)
            if any(rejects(box(half, float(tpr[i]), float(fpr[i]))) for i in np.unique(picks)):
                return True
        return False

    loud, quiet = math.log(1 / 20), math.log(1 / 20)
    if not found(loud):
        return None
    while quiet < math.log(3.0):  # in steps: a gap in what is found must not be jumped over
        quiet = loud + 0.15
        if not found(quiet):
            break
        loud = quiet
    while quiet - loud > 2e-3:
        middle = (loud + quiet) / 2
        loud, quiet = (middle, quiet) if found(middle) else (loud, middle)
    return epsilon_at(mechanism.with_noise(mechanism.noise_multiplier * math.exp(loud)), delta)


def _expected_box(members: int, nonmembers: int, alarms: int, misses: int, level: float) -> Box:
    return Box(
        fpr_upper=upper_limit(alarms, nonmembers, level / 2),
        fnr_upper=upper_limit(misses, members, level / 2),
        level=level,
        members=members,
        nonmembers=nonmembers,
        true_positives=members - misses,
        false_positives=alarms,
    )


def _high_count(trials: int, rate: float, slack: float) -> int:
    """Returns a count that is exceeded with probability at most ``slack``."""
    if trials * rate <= slack:  # also where the quantile function gives NaN
        return 0
    if rate >= 1:
        return trials
    return min(trials, max(0, math.ceil(float(bdtrik(1 - slack, trials, rate)))))

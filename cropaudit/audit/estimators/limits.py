"""Exact binomial limits, and the box of error rates that they give.

Clopper and Pearson (1934), through the inverse of the regularised incomplete beta function.
"""

import math
from dataclasses import dataclass

from scipy.special import betaincinv

from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import require

__all__ = ["Box", "measured_box", "round_down", "upper_limit"]


def upper_limit(count: float, trials: int, level: float) -> float:
    """Returns the one-sided Clopper-Pearson upper limit of a rate.

    Args:
        count: Events seen; a fraction gives the limit at an expected count.
        trials: Independent trials.
        level: Probability that the true rate exceeds the limit.

    >>> round(upper_limit(0, 100, 0.05), 6)
    0.029513
    """
    return 1.0 if count >= trials else float(betaincinv(count + 1, trials - count, 1 - level))


@dataclass(frozen=True)
class Box:
    """Upper limits of both error rates of one test, jointly true with the confidence.

    Attributes:
        fpr_upper: Upper limit of the false positive rate.
        fnr_upper: Upper limit of the false negative rate.
        level: Probability that one of them is exceeded.
        members: Trials in world A.
        nonmembers: Trials in world B.
        true_positives: Trials of world A at or above the threshold.
        false_positives: Trials of world B at or above the threshold.
    """

    fpr_upper: float
    fnr_upper: float
    level: float
    members: int
    nonmembers: int
    true_positives: int
    false_positives: int


def measured_box(scores: Scores, threshold: float, level: float) -> Box:
    """Returns the box of "score >= threshold" for a threshold fixed without these scores.

    Raises:
        InputError: If level is not in (0, 1).
    """
    require(0 < level < 1, "level", "in (0, 1)", level)
    hits, alarms = scores.counts(threshold)
    n, m = len(scores.member), len(scores.nonmember)
    return Box(
        fpr_upper=upper_limit(alarms, m, level / 2),
        fnr_upper=upper_limit(n - hits, n, level / 2),
        level=level,
        members=n,
        nonmembers=m,
        true_positives=hits,
        false_positives=alarms,
    )


def round_down(value: float, digits: int = 6) -> float:
    """Rounds a lower bound down to so many significant digits, and to 0 if it is negative.

    >>> round_down(7.4500009), round_down(-1.0)
    (7.45, 0.0)
    """
    if not value > 1e-300 or math.isinf(value):
        return value if value > 1 else 0.0
    scale = 10.0 ** (digits - 1 - math.floor(math.log10(value)))
    rounded = math.floor(value * scale) / scale
    return rounded if rounded <= value else math.nextafter(rounded, 0.0)
